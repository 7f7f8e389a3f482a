"""Energy of the process tree: its share of what the processors and the GPUs took, by a method that is named.

CPU: what the packages took, by CPU time. In each interval the tree gets the part of the packages' energy that its CPU
time has in all busy CPU time of the machine. So idle power is shared, too, by those who computed: over all processes of
the machine the parts add up to the packages' energy, no joule is lost and none counted twice. Kepler shares the active
part only and leaves the idle part to nobody; docs/energy.md compares the two.

GPU: what each GPU took, divided as `gpu.attribution.energy` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pilotfish_agent.gpu import attribution
from pilotfish_agent.gpu.report import Gpu
from pilotfish_agent.hardware._context import Collector, HardwareContext, absent
from pilotfish_agent.hardware._gpu_use import GpuUse
from pilotfish_agent.hardware._host_cpu import parse_cpu
from pilotfish_agent.hardware._kept import KeptFile, reason
from pilotfish_agent.hardware._rapl import Rapl, packages
from pilotfish_agent.target.ledger import Key
from pilotfish_agent.target.procfs import CLOCK_TICKS
from pilotfish_core.metrics import Metric, Reading, Reason, Sample

ENERGY = Metric(
    "pilotfish_process_energy_joules_total",
    "counter",
    "Energy attributed to the model's process tree, by processors and GPUs; its rate is watts.",
    ("target", "source"),
)
ATTRIBUTION = Metric(
    "pilotfish_process_energy_attribution_info",
    "gauge",
    "How the model's share of the energy was found; without a source its energy is not in the sum.",
    ("target", "source", "method"),
)
METRICS = (ENERGY, ATTRIBUTION)
ENABLE = {
    "permission": "RAPL is root's alone (CVE-2020-8694): CAP_DAC_READ_SEARCH, or let a group read the energy_uj files",
    "not_supported": "a real machine with RAPL (host_energy_joules_total), or a GPU that counts its energy",
}
CPU_TIME_SHARE: Final = "cpu_time_share"
LEAST_BUSY: Final = 0.1
"""Busy CPU seconds of the machine that end an interval: `/proc/stat` counts in ticks of 10 ms, so shares of less are
mostly rounding. On an idle machine an interval takes longer, and loses nothing."""


def share(joules: float, tree: float, busy: float) -> float:
    """The tree's part of an interval's energy.

    Args:
        joules: what the packages took.
        tree: CPU seconds of the tree.
        busy: CPU seconds of all that ran on the machine, the tree included; more than 0.
    """
    # The two are counted in different ways (exactly, and by ticks), so the tree may seem to have more than all.
    return joules * min(tree / busy, 1.0)


class _Processors:
    """The CPU's part."""

    def __init__(self, context: HardwareContext) -> None:
        self._tree = context.tree
        self._rapl = Rapl(context.host.sys, context.clock)
        self._stat = KeptFile(f"{context.proc}/stat")
        self._root: Key | None = None
        self._before: tuple[float, float, float] | None = None
        self._total = 0.0

    def joules(self) -> float:
        """Since the agent started.

        Raises:
            OSError: there is no RAPL, or it is not for us.
        """
        joules = packages(self._rapl.read())
        user, system, *_ = self._tree.used
        now = joules, (user + system) / CLOCK_TICKS, parse_cpu(self._stat.read()).busy
        root = self._tree.root
        if root is not None and root.key != self._root:
            # What it used before it was watched is in its CPU time now, and belongs to no interval of ours.
            self._root, self._before = root.key, None
        if self._before is None:
            self._before = now
            return self._total
        joules, tree, busy = (new - old for new, old in zip(now, self._before, strict=True))
        if busy >= LEAST_BUSY:
            self._total += share(joules, tree, busy)
            self._before = now
        return self._total

    def close(self) -> None:
        self._rapl.close()
        self._stat.close()


class _Gpus:
    """The GPUs' part."""

    def __init__(self, context: HardwareContext) -> None:
        self._use = GpuUse(context)
        self._before: dict[str, float] = {}  # UUID -> joules of the whole GPU
        self._total: float | None = None

    def joules(self) -> tuple[float | None, frozenset[str]]:
        """Since the agent started, None as long as no GPU could be divided; and the methods that are in use now."""
        uses = self._use.now()
        grown = self._grown(uses.report.gpus)
        methods = set()
        for gpu, use in uses.gpus:
            part = attribution.energy(grown[gpu.uuid], use) if gpu.uuid in grown else None
            if part is not None:
                self._total = (self._total or 0.0) + part[0]
                methods.add(part[1])
        return self._total, frozenset(methods)

    def _grown(self, gpus: Iterable[Gpu]) -> dict[str, float]:
        """Joules since the last reading; of every GPU, lest one that the model takes later pays for the time before."""
        grown: dict[str, float] = {}
        before, self._before = self._before, {}
        for gpu in gpus:
            now = _energy(gpu)
            last = before.get(gpu.uuid, now)
            if now is not None and last is not None:
                grown[gpu.uuid] = now - last if now >= last else now  # the driver's counter began anew: a reload
            if (kept := last if now is None else now) is not None:  # one that is lost may come back
                self._before[gpu.uuid] = kept
        return grown


def _energy(gpu: Gpu) -> float | None:
    return next((v.value for v in gpu.values if v.name == "gpu_energy_joules_total"), None) if gpu.up else None


class _Energy:
    def __init__(self, context: HardwareContext) -> None:
        self._target = context.target
        self._processors = _Processors(context)
        self._gpus = _Gpus(context)
        self.close = self._processors.close

    def collect(self) -> Iterable[Reading]:
        readings: list[Reading] = []
        why: Reason | None = None
        try:
            joules = self._processors.joules()
        except OSError as error:
            why = reason(error)
        else:
            readings += self._readings("cpu", joules, (CPU_TIME_SHARE,))
        taken, methods = self._gpus.joules()
        if taken is not None:
            readings += self._readings("gpu", taken, sorted(methods))
        return readings or absent("energy", METRICS, why or "no_data")

    def _readings(self, source: str, joules: float, methods: Iterable[str]) -> list[Reading]:
        found: list[Reading] = [Sample(ENERGY, (self._target, source), joules)]
        return found + [Sample(ATTRIBUTION, (self._target, source, method), 1.0) for method in methods]


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Energy(context)
