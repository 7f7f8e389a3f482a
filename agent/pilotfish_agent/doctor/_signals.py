"""Every collector of one scope is run once; each of its metrics works, or has a reason and a remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pilotfish_agent.doctor._finding import Finding
from pilotfish_agent.hardware import _runner
from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_core import registry
from pilotfish_core.metrics import Reason, Sample, Unavailable

WORDS: Mapping[Reason, str] = {
    "permission": "we may not read it",
    "not_supported": "the kernel, or this target, does not give it",
    "no_data": "there is nothing to read",
    "failed": "reading it failed",
    "disabled": "it is switched off",
    "not_installed": "what gives it is not here",
}
ENABLE: Mapping[Reason, str] = {
    "permission": "tier 1 or 2 of the rights above",
    "failed": "`pilotfish attach` tells the error in its log (collector_failed)",
    "disabled": "the configuration switches it on",
}
"""What helps where a collector's own ``ENABLE`` does not say."""


def findings(context: HardwareContext | HostContext) -> Iterator[Finding]:
    """One finding a metric of the context's scope."""
    runner = Runner(context)
    try:
        readings = runner.collect()
    finally:
        runner.close()
    seen = {r.metric.name for r in readings if isinstance(r, Sample)}
    gaps = [r for r in readings if isinstance(r, Unavailable)]
    for collector, part in registry.parts(_runner.PACKAGE):
        if _runner.scope(part) != context.scope:
            continue
        own = {gap.signal: gap.reason for gap in gaps if gap.collector == collector}
        # A collector that gives nothing at all may say why once.
        nothing = seen.isdisjoint(metric.name for metric in part.METRICS)
        for_all: Reason | None = next(iter(own.values()), "no_data") if nothing else None
        for metric in part.METRICS:
            if metric.name in seen:
                yield Finding(metric.name, "works", words=collector)
                continue
            reason = own.get(metric.name) or for_all
            if reason is None:
                yield Finding(metric.name, "works", words=f"{collector}: none so far")  # as errors of a healthy GPU
                continue
            enable = getattr(part, "ENABLE", {}).get(reason) or ENABLE.get(reason, "")
            yield Finding(metric.name, "missing", reason, f"{collector}: {WORDS[reason]}", enable)
