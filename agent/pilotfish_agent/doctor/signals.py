"""The signals of the process tree: every collector is run once on the target, and what it cannot read says why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pilotfish_agent.doctor._finding import Finding, Situation
from pilotfish_agent.hardware import _runner
from pilotfish_agent.hardware._context import TARGET, HardwareContext, HostContext
from pilotfish_agent.hardware._group import ControlGroup
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.hardware._tree import ProcessTree
from pilotfish_core import registry
from pilotfish_core.clock import SystemClock
from pilotfish_core.metrics import Reason, Sample, Unavailable

TITLE = "Signals of the process tree"
ORDER = 2
WORDS: Mapping[Reason, str] = {
    "permission": "we may not read it",
    "not_supported": "the kernel, or this target, does not give it",
    "no_data": "there is nothing to read",
    "failed": "reading it failed",
    "disabled": "it is switched off",
    "not_installed": "a library is missing",
}
ENABLE: Mapping[Reason, str] = {
    "permission": "tier 1 or 2 of the rights above",
    "failed": "`pilotfish attach` tells the error in its log (collector_failed)",
    "disabled": "the configuration switches it on",
}
"""What helps where a collector's own ``ENABLE`` does not say."""


def check(situation: Situation) -> Iterator[Finding]:
    """One finding a metric."""
    if situation.pid is None:
        yield Finding("all of them", "missing", "no_data", "the process was not found, see above")
        return
    clock = SystemClock()
    tree = ProcessTree(situation.pid, None, clock=clock)
    runner = Runner(HardwareContext(HostContext(clock), tree, "target", ControlGroup(tree)))
    try:
        readings = runner.collect()
    finally:
        runner.close()
    seen = {r.metric.name for r in readings if isinstance(r, Sample)}
    missing = {r.signal: r for r in readings if isinstance(r, Unavailable)}
    for collector, part in registry.parts(_runner.PACKAGE):
        if _runner.scope(part) != TARGET:
            continue
        for metric in part.METRICS:
            if metric.name in seen:
                yield Finding(metric.name, "works", words=collector)
                continue
            gap = missing.get(metric.name)
            reason: Reason = gap.reason if gap is not None else "no_data"
            enable = getattr(part, "ENABLE", {}).get(reason) or ENABLE.get(reason, "")
            yield Finding(metric.name, "missing", reason, f"{collector}: {WORDS[reason]}", enable)
