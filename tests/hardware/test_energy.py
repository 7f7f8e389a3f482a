"""Energy: RAPL's counters through wraparounds and refusals, and the tree's share of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.gpu.report import Gpu, GpuProcess, GpuReport, GpuValue
from pilotfish_agent.hardware import energy, host_energy
from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.hardware._gpu_use import INITIAL
from pilotfish_agent.hardware._kept import KeptFile
from pilotfish_agent.hardware._rapl import AGAIN, MOST_WATTS, grown, packages
from pilotfish_agent.hardware._runner import Runner
from pilotfish_core.clock import ManualClock
from pilotfish_core.metrics import Reading, Sample, Unavailable
from tests.hardware.fake_proc import FakeProc, context
from tests.hardware.powercap import RANGE, PowerCap


def values(readings: Iterable[Reading]) -> dict[str | None, object]:
    """Value by the last label."""
    return {r.labels[-1]: r.value for r in readings if isinstance(r, Sample)}


def reasons(readings: Iterable[Reading]) -> set[str]:
    """Why signals are absent."""
    return {r.reason for r in readings if isinstance(r, Unavailable)}


def test_each_domain_counts_from_the_first_look_on(tmp_path: Path) -> None:
    """Two packages, their parts and the platform; parts of the same name are one domain, mmio is no second package."""
    zones = {"0": "package-0", "0_0": "core", "0_1": "dram", "1": "package-1", "1_0": "core", "2": "psys"}
    cap = PowerCap(tmp_path, **zones)
    twin = tmp_path / "class" / "powercap" / "intel-rapl-mmio:0"
    twin.mkdir()
    (twin / "name").write_text("package-0\n")
    for zone in zones:
        cap.set(zone, 7_000_000)
    collector = host_energy.make(HostContext(ManualClock(), sys=str(tmp_path)))
    assert set(values(collector.collect()).values()) == {0.0}
    for joules, zone in enumerate(zones, 1):
        cap.use(zone, joules)
    assert values(collector.collect()) == {
        "package-0": 1.0,
        "core": 2.0 + 5.0,
        "dram": 3.0,
        "package-1": 4.0,
        "psys": 6.0,
    }


def test_the_packages_are_the_sum_of_whole_processors() -> None:
    """Cores are in them already, the platform holds them, memory is apart; dies of one package are packages, too."""
    found = {"package-0-die-0": 1.0, "package-0-die-1": 2.0, "package-1": 4.0, "core": 8.0, "dram": 16.0, "psys": 32.0}
    assert packages(found) == 7.0


@given(
    start=st.integers(0, RANGE),
    steps=st.lists(st.tuples(st.floats(0.1, 3600), st.floats(0, 1)), max_size=30),
)
def test_a_counter_that_wraps_loses_nothing(start: int, steps: list[tuple[float, float]]) -> None:
    """Whatever it took, as long as it is less than a whole range and no more than a zone can take."""
    raw, found, wanted = start, 0, 0
    for seconds, part in steps:
        taken = int(part * min(RANGE, MOST_WATTS * seconds * 1e6))
        before, raw = raw, (raw + taken) % (RANGE + 1)
        found += grown(before, raw, RANGE, seconds)
        wanted += taken
    # The kernel names the largest value, not the number of values: a unit of 61 microjoules is lost in each turn.
    assert wanted - 61 * len(steps) <= found <= wanted


@given(st.integers(0, RANGE), st.integers(0, RANGE), st.none() | st.just(RANGE), st.floats(1, 3600))
def test_no_two_readings_make_a_counter_fall(before: int, now: int, limit: int | None, seconds: float) -> None:
    """Nor do they make more of it than a zone can take, or than it shows."""
    assert 0 <= grown(before, now, limit, seconds) <= max(now, MOST_WATTS * seconds * 1e6)


def test_a_counter_that_was_set_back_is_no_wraparound() -> None:
    """From 1 kJ to 0 within a second, as after a resume: that would be 261 kW."""
    assert grown(1_000_000_000, 5, RANGE, 1.0) == 5
    assert grown(RANGE - 10, 5, RANGE, 1.0) == 15
    assert grown(RANGE - 10, 5, None, 1.0) == 5


def test_no_rapl_is_not_supported(tmp_path: Path) -> None:
    """A virtual machine, and a folder without zones: absent, and looked for again after a minute."""
    clock = ManualClock()
    collector = host_energy.make(HostContext(clock, sys=str(tmp_path)))
    assert reasons(collector.collect()) == {"not_supported"}
    PowerCap(tmp_path)
    assert reasons(collector.collect()) == {"not_supported"}
    clock.advance(AGAIN)
    assert values(collector.collect()) == {"package-0": 0.0}


def test_a_counter_that_may_not_be_read_says_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's alone since CVE-2020-8694; the totals stand where they stood, and go on when the right comes back."""
    clock, cap = ManualClock(), PowerCap(tmp_path)
    surroundings = HostContext(clock, sys=str(tmp_path))
    collector = host_energy.make(surroundings)
    collector.collect()
    cap.use("0", 3)
    assert values(collector.collect()) == {"package-0": 3.0}
    with monkeypatch.context() as patch:
        patch.setattr(KeptFile, "read", _refuse)
        assert reasons(collector.collect()) == {"permission"}
        assert reasons(host_energy.make(surroundings).collect()) == {"permission"}
    cap.use("0", 4)
    clock.advance(AGAIN)
    assert values(collector.collect()) == {"package-0": 7.0}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else for a moment")
def test_the_kernel_refuses_it_to_others() -> None:
    """The files as they are since Linux 5.10, looked at by uid nobody; and as an administrator may open them."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="pilotfish-test-") as folder:
        os.chmod(folder, 0o755)
        file = PowerCap(Path(folder)).file("0")
        clock = ManualClock()
        collector = host_energy.make(HostContext(clock, sys=folder))
        file.chmod(0o400)
        os.seteuid(65534)
        try:
            assert reasons(collector.collect()) == {"permission"}
            os.seteuid(0)
            file.chmod(0o444)
            os.seteuid(65534)
            clock.advance(AGAIN)
            assert values(collector.collect()) == {"package-0": 0.0}
        finally:
            os.seteuid(0)


def _refuse(_: object) -> bytes:
    raise PermissionError(13, "denied")


seconds = st.floats(0, 1e6, allow_nan=False)


@given(st.floats(0, 1e9, allow_nan=False), st.lists(seconds, min_size=1, max_size=20), seconds)
def test_all_processes_together_never_have_more_than_the_packages(
    joules: float, trees: list[float], others: float
) -> None:
    """Whatever runs beside them; and when nobody else runs, they have all of it."""
    busy = sum(trees) + others
    if busy <= 0:
        return
    shares = [energy.share(joules, tree, busy) for tree in trees]
    assert all(0 <= part <= joules for part in shares)
    assert sum(shares) <= joules * (1 + 1e-9)
    if not others:
        assert sum(shares) == pytest.approx(joules)


@given(st.floats(0, 1e9, allow_nan=False), seconds, st.floats(1e-3, 1e6))
def test_a_tree_that_seems_to_have_more_than_all_has_all(joules: float, tree: float, busy: float) -> None:
    """Its CPU time is exact, the machine's is counted in ticks."""
    assert energy.share(joules, tree, busy) <= joules


class Machine:
    """A frozen machine with one package, and a tree of one process."""

    def __init__(self, folder: Path, **zones: str) -> None:
        self.proc = FakeProc(folder)
        self.cap = PowerCap(folder / "sys", **zones)
        self.stat(0)
        self.proc.spawn(10, 1, 100)
        self.surroundings = context(folder, pid=10)
        self.runner = Runner(self.surroundings, ["energy"])

    def stat(self, busy: int) -> None:
        """Busy ticks of the machine."""
        line = f"cpu  {busy} 0 0 90000 0 0 0 0 0 0\nbtime 1700000000\n"
        (self.proc.folder / "stat").write_text(line)

    def step(self, *, joules: float, tree: int, busy: int) -> float:
        """An interval in which the package takes energy; ticks of the tree and of all as they are now."""
        clock = self.surroundings.clock
        assert isinstance(clock, ManualClock)
        clock.advance(1.0)
        self.cap.use("0", joules)
        self.proc.set(10, ppid=1, start_time=100, cpu=(tree, 0))
        self.stat(busy)
        return self.read()

    def read(self) -> float:
        """What is attributed now."""
        found = [r for r in self.runner.collect() if isinstance(r, Sample) and r.metric is energy.ENERGY]
        assert isinstance(found[0].value, float)
        return found[0].value


def test_the_tree_has_its_share_of_each_interval(tmp_path: Path) -> None:
    """Half of 40 J, then all of 10 J; idle power is in it."""
    machine = Machine(tmp_path)
    assert machine.read() == 0.0
    assert machine.step(joules=40, tree=50, busy=100) == pytest.approx(20)
    assert machine.step(joules=10, tree=100, busy=150) == pytest.approx(30)
    assert machine.step(joules=100, tree=100, busy=350) == pytest.approx(30)


def test_an_idle_moment_waits_for_the_next(tmp_path: Path) -> None:
    """A tenth of a busy second ends an interval: shares of less are rounding, and its energy goes with the next."""
    machine = Machine(tmp_path)
    machine.read()
    assert machine.step(joules=5, tree=0, busy=0) == 0.0
    assert machine.step(joules=5, tree=4, busy=8) == 0.0
    assert machine.step(joules=10, tree=10, busy=20) == pytest.approx(10)


def test_a_process_found_late_does_not_pay_for_what_it_used_before(tmp_path: Path) -> None:
    """`attach` finds one that has run for hours: its first interval begins then."""
    machine = Machine(tmp_path)
    machine.proc.set(10, ppid=1, start_time=100, cpu=(360_000, 0))
    machine.stat(400_000)
    assert machine.read() == 0.0
    machine.proc.spawn(20, 1, 200, cpu=(360_000, 0))
    machine.surroundings.tree.follow(20, 200)
    assert machine.step(joules=50, tree=360_000, busy=400_100) == 0.0


def test_the_method_is_named_and_memory_is_not_shared(tmp_path: Path) -> None:
    """Of the whole packages; what dram and the platform took is the host's."""
    machine = Machine(tmp_path, **{"0": "package-0", "0_0": "dram", "1": "psys"})
    machine.read()
    machine.cap.use("0_0", 1000)
    machine.cap.use("1", 1000)
    assert machine.step(joules=40, tree=100, busy=100) == pytest.approx(40)
    labels = [r.labels for r in machine.runner.collect() if isinstance(r, Sample) and r.metric is energy.ATTRIBUTION]
    assert labels == [("serve", "cpu", energy.CPU_TIME_SHARE)]


def test_without_any_source_the_energy_is_absent(tmp_path: Path) -> None:
    """Never 0."""
    FakeProc(tmp_path).spawn(10, 1, 100)
    surroundings: HardwareContext = context(tmp_path, pid=10)
    surroundings.tree.scan()
    readings = list(energy.make(surroundings).collect())
    assert reasons(readings) == {"not_supported"}
    assert not values(readings)


@dataclass
class Card:
    """A GPU of two processes, and who reports it."""

    joules: float = 1000.0
    up: bool = True
    uuid: str = "GPU-1"
    processes: tuple[GpuProcess, ...] = (GpuProcess(10, 3 << 30, 0.3), GpuProcess(99, 1 << 30, 0.1))

    @property
    def report(self) -> GpuReport:
        """The last report."""
        values = (GpuValue("gpu_energy_joules_total", self.joules),) if self.up else ()
        return GpuReport((Gpu(self.uuid, "0", "H200", "580", self.up, values, (), self.processes),), reason=None)


def with_card(folder: Path, card: Card) -> tuple[HardwareContext, Callable[[], dict[object, object]]]:
    """The model is process 10; there is no RAPL."""
    FakeProc(folder).spawn(10, 1, 100)
    (folder / "self" / "ns").mkdir(parents=True)
    (folder / "self" / "ns" / "pid").symlink_to(INITIAL)
    plain = context(folder, pid=10)
    surroundings = replace(plain, host=replace(plain.host, gpus=card))
    surroundings.tree.scan()
    collector = energy.make(surroundings)

    def read() -> dict[object, object]:
        found = [r for r in collector.collect() if isinstance(r, Sample)]
        return {r.labels[1:]: r.value for r in found}

    return surroundings, read


def test_a_gpu_is_divided_by_whose_kernels_ran(tmp_path: Path) -> None:
    """Three quarters of 100 J; while nothing runs by memory; nothing of what it took before it was watched."""
    card = Card()
    _, read = with_card(tmp_path, card)
    assert read() == {("gpu",): 0.0, ("gpu", "sm"): 1.0}
    card.joules = 1100.0
    assert read() == {("gpu",): pytest.approx(75.0), ("gpu", "sm"): 1.0}
    assert read() == {("gpu",): pytest.approx(75.0), ("gpu", "sm"): 1.0}
    card.joules, card.processes = 1140.0, (GpuProcess(10, 1 << 30, 0.0), GpuProcess(99, 1 << 30, 0.0))
    assert read() == {("gpu",): pytest.approx(95.0), ("gpu", "memory"): 1.0}


def test_a_gpu_that_the_model_takes_later_charges_nothing_for_before(tmp_path: Path) -> None:
    """Nor does one that was lost and comes back with its counter at 0 take anything away."""
    card = Card(processes=(GpuProcess(99, 1 << 30, 0.5),))
    _, read = with_card(tmp_path, card)
    assert read() == {}
    card.joules = 9000.0
    assert read() == {}
    card.joules, card.processes = 9010.0, (GpuProcess(10, 1 << 30, 0.5),)
    assert read()["gpu",] == pytest.approx(10.0)
    card.up = False
    assert read() == {("gpu",): pytest.approx(10.0)}
    card.up, card.joules = True, 4.0
    assert read()["gpu",] == pytest.approx(14.0)


def test_gpus_long_gone_are_forgotten(tmp_path: Path) -> None:
    """Of which the report speaks no more; the sum stays."""
    card = Card()
    surroundings, _ = with_card(tmp_path, card)
    collector = energy.make(surroundings)
    for number in range(100):
        card.uuid, card.joules = f"GPU-{number // 2}", 1000.0 + 100.0 * (number % 2)
        found = values(collector.collect())
    assert found["gpu"] == pytest.approx(50 * 75.0)
    assert collector._gpus._before == {"GPU-49": 1100.0}  # type: ignore[attr-defined]


def test_closing_leaves_no_descriptor(tmp_path: Path) -> None:
    """Of the counters, and of `/proc/stat`."""
    machine = Machine(tmp_path, **{"0": "package-0", "1": "package-1"})
    before = len(os.listdir("/proc/self/fd"))
    machine.read()
    assert len(os.listdir("/proc/self/fd")) > before + 2
    machine.runner.close()
    assert len(os.listdir("/proc/self/fd")) == before
