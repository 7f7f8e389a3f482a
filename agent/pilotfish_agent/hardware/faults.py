"""Page faults of the process tree."""

from __future__ import annotations

from collections.abc import Iterable

from pilotfish_agent.hardware._context import Collector, HardwareContext
from pilotfish_agent.hardware._ledger import Ledger
from pilotfish_core.metrics import Metric, Reading, Sample

FAULTS = Metric(
    "pilotfish_process_page_faults_total",
    "counter",
    "Page faults of the model's process tree; major ones waited for storage: it swaps or reloads weights.",
    ("target", "kind"),
)
METRICS = (FAULTS,)


class _Faults:
    def __init__(self, context: HardwareContext) -> None:
        self._context = context
        self._ledger = Ledger(2)

    def collect(self) -> Iterable[Reading]:
        tree = self._context.tree
        readings = {m.key: (m.stat.faults, m.stat.child_faults) for m in tree.members}
        minor, major = self._ledger.update(tree.alive, readings)
        yield Sample(FAULTS, (self._context.target, "minor"), minor)
        yield Sample(FAULTS, (self._context.target, "major"), major)


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Faults(context)
