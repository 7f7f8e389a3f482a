"""Page faults of the process tree."""

from __future__ import annotations

from collections.abc import Iterable

from pilotfish_agent.hardware._context import Collector, HardwareContext
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
        self._tree = context.tree
        self._minor = (context.target, "minor")
        self._major = (context.target, "major")

    def collect(self) -> Iterable[Reading]:
        *_, minor, major = self._tree.used
        return Sample(FAULTS, self._minor, float(minor)), Sample(FAULTS, self._major, float(major))


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Faults(context)
