"""Energy: RAPL's counters on frozen trees through wraparounds, the trees' shares of them, and the real ones here."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.bars import Result, bar
from pilotfish_agent.hardware import energy, host_energy
from pilotfish_agent.hardware._context import Collector, HardwareContext, HostContext
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.procfs import CLOCK_TICKS
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import ManualClock, SystemClock
from pilotfish_core.metrics import Metric, Sample, Unavailable
from tests.hardware.fake_proc import FakeProc
from tests.hardware.powercap import RANGE, PowerCap

SEED: Final = 7401
STEPS: Final = 2_000
TREES: Final = 4
ZONES: Final = {"0": "package-0", "0_0": "core", "0_1": "dram", "1": "package-1", "2": "psys"}
UNIT: Final = 61e-6
"""Joules lost in a wraparound: the kernel names a counter's largest value, not how many values it has."""


def values(collector: Collector, metric: Metric) -> dict[str | None, float]:
    """A metric by its last label."""
    found = {r.labels[-1]: r.value for r in collector.collect() if isinstance(r, Sample) and r.metric is metric}
    return {label: float(value) for label, value in found.items() if isinstance(value, float)}


class Frozen:
    """A machine with two packages, on which nothing runs but four models."""

    def __init__(self, folder: Path) -> None:
        self.rng = random.Random(SEED)
        self.clock = ManualClock()
        self.proc, self.cap = FakeProc(folder), PowerCap(folder / "sys", **ZONES)
        self.used = [0] * TREES  # clock ticks of the models
        self.joules = dict.fromkeys(ZONES, 0.0)
        self.wraps = 0
        self._counters = {zone: int(RANGE * self.rng.random()) for zone in ZONES}
        for zone, value in self._counters.items():
            self.cap.set(zone, value)
        for number in range(TREES):
            self.proc.spawn(10 + number, 1, 100)
        self._write()
        host = HostContext(self.clock, str(folder), str(folder / "sys"))
        self.host = host_energy.make(host)
        self.trees = [ProcessTree(10 + n, 100, str(folder), clock=self.clock) for n in range(TREES)]
        self.models = [energy.make(HardwareContext(host, tree, "m", ControlGroup(tree))) for tree in self.trees]

    def _write(self) -> None:
        (self.proc.folder / "stat").write_text(f"cpu  {sum(self.used)} 0 0 0 0 0 0 0 0 0\nbtime 1700000000\n")
        for number in range(TREES):
            self.proc.set(10 + number, ppid=1, start_time=100, cpu=(self.used[number], 0))

    def step(self, *, least: int = 0) -> None:
        """Some time passes: every zone takes up to 400 W, everybody computes a little, ``least`` ticks or more."""
        seconds = self.rng.choice([0.5, 1.0, 1.0, 60.0, 600.0])
        self.clock.advance(seconds)
        for zone in ZONES:
            taken = round(self.rng.random() * 400 * seconds * 1e6)
            self.joules[zone] += taken / 1e6
            self.wraps += self._counters[zone] + taken > RANGE
            self._counters[zone] = (self._counters[zone] + taken) % (RANGE + 1)
            self.cap.set(zone, self._counters[zone])
        for at in range(TREES):
            self.used[at] += least + int(self.rng.random() ** 3 * 2 * CLOCK_TICKS * seconds)
        self._write()

    def read(self) -> tuple[dict[str | None, float], list[float]]:
        """What the machine took by domain, and what is attributed to each model."""
        for tree in self.trees:
            tree.scan()
        shares = [values(model, energy.ENERGY).get("cpu", 0.0) for model in self.models]
        return values(self.host, host_energy.ENERGY), shares


@bar(
    "energy: RAPL through wraparounds, and the trees' shares (frozen /sys and /proc)",
    "every joule counted but 61 uJ a wraparound; nothing falls; the shares of all trees add up to the packages' energy",
)
def frozen() -> Result:
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder:
        machine = Frozen(Path(folder))
        found, shares = machine.read()
        fell = 0
        for number in range(STEPS):
            before, had = found, shares
            machine.step(least=CLOCK_TICKS if number == STEPS - 1 else 0)  # the last one ends an interval
            found, shares = machine.read()
            fell += any(found[domain] < value for domain, value in before.items())
            fell += any(now < then for now, then in zip(shares, had, strict=True))
    off = max(machine.joules[zone] - found[domain] for zone, domain in ZONES.items())
    over = max(found[domain] - machine.joules[zone] for zone, domain in ZONES.items())
    packages = found["package-0"] + found["package-1"]
    measured = (
        f"frozen: {STEPS} samples, {machine.wraps} wraparounds; off by {off:.2g} J of {packages / 1e6:.3g} MJ, fell "
        f"{fell} times; {TREES} trees, {min(shares) / packages:.1%} to {max(shares) / packages:.1%} each, have all but "
        f"{1 - sum(shares) / packages:.1e} of it, seed {SEED}"
    )
    exact = over < 1e-3 and off <= machine.wraps * UNIT + 1e-3
    complete = abs(1 - sum(shares) / packages) <= 1e-9
    return Result(measured, exact and not fell and machine.wraps > 0 and complete)


@bar("energy: RAPL of this machine", "0.1 to 1,000 W a package under load")
def real() -> Result:
    clock = SystemClock()
    collector = host_energy.make(HostContext(clock))
    gaps = [r for r in collector.collect() if isinstance(r, Unavailable)]
    if gaps:
        return Result(f"{gaps[0].reason}: no RAPL can be read here (a virtual machine has none)", None)
    before, began = values(collector, host_energy.ENERGY), clock.monotonic()
    while clock.monotonic() < began + 2.0:
        os.getppid()
    seconds = clock.monotonic() - began
    watts = {d: (now - before[str(d)]) / seconds for d, now in values(collector, host_energy.ENERGY).items()}
    packages = [value for domain, value in watts.items() if str(domain).startswith("package")]
    text = ", ".join(f"{domain} {value:.1f} W" for domain, value in watts.items())
    return Result(text, all(0.1 <= value <= 1000 for value in packages))
