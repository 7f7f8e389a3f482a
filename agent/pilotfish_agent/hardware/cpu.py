"""CPU of the whole process tree: live members, the children they waited for, and those nobody waited for."""

from __future__ import annotations

from collections.abc import Iterable

from pilotfish_agent.hardware._context import Collector, HardwareContext
from pilotfish_agent.hardware._ledger import Ledger
from pilotfish_agent.hardware._procfs import CLOCK_TICKS
from pilotfish_core.metrics import Metric, Reading, Sample

CPU = Metric(
    "pilotfish_process_cpu_seconds_total",
    "counter",
    "CPU time of the model's process tree, ended children included; its rate is the number of cores in use.",
    ("target", "mode"),
)
METRICS = (CPU,)


class _Cpu:
    def __init__(self, context: HardwareContext) -> None:
        self._context = context
        self._ledger = Ledger(2)

    def collect(self) -> Iterable[Reading]:
        tree = self._context.tree
        readings = {m.key: (_seconds(m.stat.cpu), _seconds(m.stat.child_cpu)) for m in tree.members}
        user, system = self._ledger.update(tree.alive, readings)
        yield Sample(CPU, (self._context.target, "user"), user)
        yield Sample(CPU, (self._context.target, "system"), system)


def _seconds(ticks: tuple[int, int]) -> tuple[float, float]:
    return ticks[0] / CLOCK_TICKS, ticks[1] / CLOCK_TICKS


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Cpu(context)
