"""The machine around the model: read beside the kernel's own files, and what is said where it cannot be read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.hardware import _context, _runner, host
from pilotfish_agent.hardware._context import HostContext
from pilotfish_agent.hardware._host_cpu import parse_cpu
from pilotfish_agent.hardware._runner import PACKAGE, Runner
from pilotfish_agent.hardware.host import SLOW_EVERY
from pilotfish_agent.target.pressure import parse_pressure
from pilotfish_agent.target.procfs import CLOCK_TICKS
from pilotfish_core import registry
from pilotfish_core.clock import ManualClock, SystemClock
from pilotfish_core.metrics import Reading, Sample, Unavailable

NAMES = tuple(name for name, part in registry.parts(PACKAGE) if _runner.scope(part) == _context.HOST)
PRESSURE = "some avg10=0.00 avg60=0.00 avg300=0.00 total={some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n"
MEMINFO = "MemTotal:        8000 kB\nMemFree:          100 kB\nMemAvailable:    6000 kB\n"
CLOCK = "devices/system/clocksource/clocksource0"
numbers = st.integers(0, 2**62)


class Machine:
    """A frozen machine, and its collector."""

    def __init__(self, folder: Path, *, state: str | None = None) -> None:
        self.clock = ManualClock()
        self.proc, self.sys = folder / "proc", folder / "sys"
        (self.proc / "pressure").mkdir(parents=True)
        (self.sys / CLOCK).mkdir(parents=True)
        self.cpu(1, 2, 3, 4, 5, 6, 7, 8)
        for at, resource in enumerate(("cpu", "memory", "io"), 1):
            (self.proc / "pressure" / resource).write_text(PRESSURE.format(some=at * 1_500_000, full=at * 500_000))
        (self.proc / "meminfo").write_text(MEMINFO)
        self.source("tsc")
        self.collector = host.make(HostContext(self.clock, str(self.proc), str(self.sys), state))

    def cpu(self, *ticks: int) -> None:
        """The first line of `/proc/stat`."""
        (self.proc / "stat").write_text(f"cpu  {' '.join(map(str, ticks))} 0 0\ncpu0 1 2 3\nbtime 1\n")

    def source(self, name: str) -> None:
        """The kernel's clock source."""
        (self.sys / CLOCK / "current_clocksource").write_text(f"{name}\n")

    def read(self) -> dict[tuple[str, str | None], float]:
        """Value by metric without prefix and label."""
        return values(self.collector.collect())


def values(readings: Iterable[Reading]) -> dict[tuple[str, str | None], float]:
    """Value by metric without prefix and label."""
    return {
        (r.metric.name.removeprefix("pilotfish_"), r.labels[0] if r.labels else None): r.value
        for r in readings
        if isinstance(r, Sample) and isinstance(r.value, float)
    }


def gaps(readings: Iterable[Reading]) -> dict[str, str]:
    """Reason by metric without prefix."""
    return {r.signal.removeprefix("pilotfish_"): r.reason for r in readings if isinstance(r, Unavailable)}


def test_a_frozen_machine(tmp_path: Path) -> None:
    """Every number of it; `full` of the CPUs is 0 by definition of the kernel and is left out."""
    found = Machine(tmp_path, state=str(tmp_path)).read()
    disk = {key: found.pop((key, None)) for key in ("state_disk_free_bytes", "state_disk_size_bytes")}
    assert 0 < disk["state_disk_free_bytes"] < disk["state_disk_size_bytes"]
    assert found == {
        ("host_cpu_seconds_total", "busy"): (1 + 2 + 3 + 6 + 7) / CLOCK_TICKS,
        ("host_cpu_seconds_total", "idle"): 4 / CLOCK_TICKS,
        ("host_cpu_seconds_total", "iowait"): 5 / CLOCK_TICKS,
        ("host_cpu_seconds_total", "steal"): 8 / CLOCK_TICKS,
        ("host_pressure_waiting_seconds_total", "cpu"): 1.5,
        ("host_pressure_waiting_seconds_total", "memory"): 3.0,
        ("host_pressure_waiting_seconds_total", "io"): 4.5,
        ("host_pressure_stalled_seconds_total", "memory"): 1.0,
        ("host_pressure_stalled_seconds_total", "io"): 1.5,
        ("host_memory_total_bytes", None): 8000 * 1024,
        ("host_memory_available_bytes", None): 6000 * 1024,
        ("host_clock_source_info", "tsc"): 1.0,
        ("host_clock_source_changes_total", None): 0.0,
    }


def test_it_is_read_every_five_seconds(tmp_path: Path) -> None:
    """In between the runner says what was read last, its success and duration, too."""
    machine = Machine(tmp_path)
    runner = Runner(HostContext(machine.clock, str(machine.proc), str(machine.sys)), ["host"])
    first = runner.collect()
    (machine.proc / "meminfo").write_text(MEMINFO.replace("6000", "5000"))
    for _ in range(4):
        machine.clock.advance(1.0)
        assert runner.collect() == first
    machine.clock.advance(1.0)
    assert values(runner.collect())["host_memory_available_bytes", None] == 5_000 * 1_024.0
    runner.close()


def test_no_counter_falls(tmp_path: Path) -> None:
    """The kernel's iowait and idle may: then they stand."""
    machine = Machine(tmp_path)
    machine.cpu(10, 0, 0, 500, 300, 0, 0, 0)
    before = machine.read()
    machine.cpu(11, 0, 0, 490, 200, 0, 0, 0)
    after = machine.read()
    assert all(after[key] >= value for key, value in before.items())
    assert after["host_cpu_seconds_total", "iowait"] == 300 / CLOCK_TICKS
    assert after["host_cpu_seconds_total", "busy"] == 11 / CLOCK_TICKS


def test_another_clock_source_is_counted(tmp_path: Path) -> None:
    """Looked at every ten seconds; the info series names the present one alone."""
    machine = Machine(tmp_path)
    machine.read()
    machine.source("hpet")
    assert machine.read()["host_clock_source_changes_total", None] == 0
    machine.clock.advance(SLOW_EVERY)
    found = machine.read()
    assert found["host_clock_source_changes_total", None] == 1
    assert [label for name, label in found if name == "host_clock_source_info"] == ["hpet"]


def test_what_is_not_there_has_its_reason(tmp_path: Path) -> None:
    """A machine without any of it; an agent without a state folder; a folder that is gone."""
    context = HostContext(ManualClock(), str(tmp_path), str(tmp_path))
    found = gaps(host.make(context).collect())
    assert {name for name, why in found.items() if why == "disabled"} == {
        "state_disk_free_bytes",
        "state_disk_size_bytes",
    }
    assert set(found.values()) == {"disabled", "not_supported"}
    assert {f"pilotfish_{name}" for name in found} == {metric.name for metric in host.METRICS}
    gone = Machine(tmp_path, state=str(tmp_path / "gone"))
    assert gaps(gone.collector.collect()) == {"state_disk_free_bytes": "no_data", "state_disk_size_bytes": "no_data"}


def test_a_kernel_without_pressure(tmp_path: Path) -> None:
    """psi=0: the rest is there."""
    machine = Machine(tmp_path)
    for file in (machine.proc / "pressure").iterdir():
        file.unlink()
    found = list(machine.collector.collect())
    assert gaps(found)["host_pressure_waiting_seconds_total"] == "not_supported"
    assert ("host_cpu_seconds_total", "steal") in values(found)


@given(st.lists(numbers, min_size=8, max_size=12))
def test_any_times_of_the_cpus_parse(ticks: list[int]) -> None:
    """Guests are in user and nice already; newer kernels may have more columns."""
    found = parse_cpu(b"cpu  " + " ".join(map(str, ticks)).encode() + b"\ncpu0 1\n")
    assert found.busy == pytest.approx(sum((*ticks[:3], *ticks[5:7])) / CLOCK_TICKS)
    assert (found.idle, found.iowait, found.steal) == tuple(ticks[i] / CLOCK_TICKS for i in (3, 4, 7))


@given(st.binary(max_size=100))
def test_no_bytes_break_the_parsers(data: bytes) -> None:
    """Whatever stands there is a value or a ValueError, no other error and no zeros."""
    with contextlib.suppress(ValueError):
        assert parse_cpu(data).busy >= 0
    with contextlib.suppress(ValueError):
        assert parse_pressure(data)


@given(numbers, st.none() | numbers)
def test_any_pressure_parses(some: int, full: int | None) -> None:
    """In microseconds; the line `full` came with Linux 5.13 for the CPUs."""
    lines = PRESSURE.format(some=some, full=full).splitlines()
    text = "\n".join(lines[: 1 + (full is not None)]).encode() + b"\n"
    assert parse_pressure(text) == (some / 1e6, None if full is None else full / 1e6)


def test_it_agrees_with_the_kernel(tmp_path: Path) -> None:
    """On this machine: between two readings of the kernel's files lies ours."""

    def read() -> list[float]:
        stat = [int(word) / CLOCK_TICKS for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        return [stat[0] + stat[1] + stat[2] + stat[5] + stat[6], stat[7]]

    context = HostContext(SystemClock(), state=str(tmp_path))
    before = read()
    found = values(host.make(context).collect())
    after = read()
    ours = [found["host_cpu_seconds_total", mode] for mode in ("busy", "steal")]
    assert all(a - 1e-9 <= x <= b + 1e-9 for a, x, b in zip(before, ours, after, strict=True))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert found["host_memory_total_bytes", None] == pytest.approx(pages, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_every_collector_of_the_machine_keeps_the_contract(name: str, tmp_path: Path) -> None:
    """Only declared metrics are given, or absent with a reason; labels fit, none is `target`."""
    part = registry.load(PACKAGE, name)
    for context in (
        HostContext(SystemClock(), state=str(tmp_path)),
        HostContext(ManualClock(), str(tmp_path), str(tmp_path)),
    ):
        readings = list(part.make(context).collect())
        told = {r.metric.name if isinstance(r, Sample) else r.signal for r in readings}
        assert told
        assert told <= {m.name for m in part.METRICS}
        samples = [r for r in readings if isinstance(r, Sample)]
        assert len({(s.metric.name, s.labels) for s in samples}) == len(samples), "a series twice"
        assert all(len(s.labels) == len(s.metric.labels) and "target" not in s.metric.labels for s in samples)
        assert all(r.collector == name for r in readings if isinstance(r, Unavailable))


def test_descriptors_are_kept_and_closed(tmp_path: Path) -> None:
    """A second sample opens nothing; closing leaves nothing."""
    before = len(os.listdir("/proc/self/fd"))
    runner = Runner(HostContext(SystemClock(), state=str(tmp_path)), ["host"])
    runner.collect()
    kept = len(os.listdir("/proc/self/fd"))
    runner.collect()
    assert len(os.listdir("/proc/self/fd")) == kept > before
    runner.close()
    assert len(os.listdir("/proc/self/fd")) == before
