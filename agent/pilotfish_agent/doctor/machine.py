"""The signals of the machine: what its own collectors can read, its GPUs and its energy among it."""

from __future__ import annotations

from collections.abc import Iterator

from pilotfish_agent.doctor import _signals
from pilotfish_agent.doctor._finding import Finding, Situation

TITLE = "Signals of the machine"
ORDER = 3


def check(situation: Situation) -> Iterator[Finding]:
    """One finding a metric."""
    return _signals.findings(situation.machine)
