"""The signals of the process tree: every collector is run once on the target, and what it cannot read says why."""

from __future__ import annotations

from collections.abc import Iterator

from pilotfish_agent.doctor import _signals
from pilotfish_agent.doctor._finding import Finding, Situation
from pilotfish_agent.hardware._context import HardwareContext
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.tree import ProcessTree

TITLE = "Signals of the process tree"
ORDER = 2


def check(situation: Situation) -> Iterator[Finding]:
    """One finding a metric."""
    if situation.pid is None:
        yield Finding("all of them", "missing", "no_data", "the process was not found, see above")
        return
    machine = situation.machine
    tree = ProcessTree(situation.pid, None, clock=machine.clock)
    yield from _signals.findings(HardwareContext(machine, tree, "target", ControlGroup(tree, machine.sys)))
