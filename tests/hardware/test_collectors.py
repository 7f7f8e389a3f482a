"""Every registered collector: what it exports over frozen trees, and what it says where it cannot read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pilotfish_agent.hardware import _context, _runner
from pilotfish_agent.hardware._context import HardwareContext
from pilotfish_agent.hardware._runner import PACKAGE, Runner
from pilotfish_agent.target.procfs import ProcessFiles
from pilotfish_core import registry
from pilotfish_core.clock import ManualClock
from pilotfish_core.errors import ConfigError
from pilotfish_core.events import Events
from pilotfish_core.metrics import Reading, Sample, Unavailable
from tests.hardware.fake_proc import GOLDEN, FakeProc, context, frozen

NAMES = tuple(name for name, part in registry.parts(PACKAGE) if _runner.scope(part) == _context.TARGET)
OURS = {m.name for m in _runner.METRICS}
OF_PROCESSES = ("cpu", "faults", "files", "io", "memory", "scheduling", "tree")
"""The collectors that read the members' own files."""


def text(readings: Iterable[Reading]) -> str:
    """Readings as an exposition would show them, sorted."""
    lines = []
    for reading in readings:
        if isinstance(reading, Unavailable):
            lines.append(f"# {reading.signal} absent: {reading.reason} ({reading.collector})")
        elif reading.metric.name not in OURS:
            labels = ",".join(f'{k}="{v}"' for k, v in zip(reading.metric.labels, reading.labels, strict=True))
            lines.append(f"{reading.metric.name}{{{labels}}} {reading.value:.9g}")
    return "\n".join(sorted(lines)) + "\n"


def collect(name: str, surroundings: HardwareContext) -> list[Reading]:
    """One collector's readings after a scan, as the runner takes them, without the runner's catch."""
    surroundings.tree.scan()
    surroundings.group.refresh()
    return list(registry.load(PACKAGE, name).make(surroundings).collect())


def test_a_prefork_server_gives_the_golden_text(tmp_path: Path) -> None:
    """A captured tree of three processes, one ended child, threads, and commands with parentheses."""
    runner = Runner(context(frozen("prefork", tmp_path)), OF_PROCESSES)
    assert text(runner.collect()) == (GOLDEN / "prefork.txt").read_text()
    runner.close()


def test_a_target_that_is_not_there_gives_the_golden_text(tmp_path: Path) -> None:
    """Nothing is 0 that was not measured: gauges are absent, counters stand at what they are."""
    runner = Runner(context(frozen("prefork", tmp_path), pid=7), OF_PROCESSES)
    assert text(runner.collect()) == (GOLDEN / "gone.txt").read_text()
    runner.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pid", [4100, 7])
def test_every_collector_keeps_the_contract(name: str, pid: int, tmp_path: Path) -> None:
    """All declared metrics, and only those, are given or absent with a reason; labels fit; numbers are finite."""
    part = registry.load(PACKAGE, name)
    readings = collect(name, context(frozen("prefork", tmp_path), pid=pid))
    told = {r.metric.name if isinstance(r, Sample) else r.signal for r in readings}
    without_gpu = {"pilotfish_process_gpu_attribution_info"}  # told once, not by each signal of a GPU that is not there
    assert told == (without_gpu if name == "gpu_process" else {m.name for m in part.METRICS})
    samples = [r for r in readings if isinstance(r, Sample)]
    assert len({(s.metric.name, s.labels) for s in samples}) == len(samples), "a series twice"
    for sample in samples:
        assert sample.metric in part.METRICS
        assert sample.metric.labels[0] == "target"
        assert sample.labels[0] == "serve"
        assert len(sample.labels) == len(sample.metric.labels)
        assert isinstance(sample.value, float | int)
        assert math.isfinite(sample.value)
        assert sample.value >= 0
    assert all(r.collector == name for r in readings if isinstance(r, Unavailable))


@pytest.mark.parametrize("name", OF_PROCESSES)
@pytest.mark.parametrize(
    ("error", "reason"), [(PermissionError("no"), "permission"), (FileNotFoundError("no"), "not_supported")]
)
def test_what_cannot_be_read_is_absent_with_its_reason(
    name: str, error: OSError, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's `io` and `fd`, or a kernel without a file: no number is made up, and nothing raises."""
    surroundings = context(frozen("prefork", tmp_path))
    surroundings.tree.scan()
    collector = registry.load(PACKAGE, name).make(surroundings)
    assert isinstance(surroundings.clock, ManualClock)
    usual = text(collector.collect())
    surroundings.clock.advance(60)  # what is kept for a while is read again
    needs_more = usual != text(_with_refusals(collector.collect, error, monkeypatch))
    absent = [r for r in _with_refusals(collector.collect, error, monkeypatch) if isinstance(r, Unavailable)]
    assert {r.reason for r in absent} == ({reason} if needs_more else set())
    assert needs_more == (name in {"files", "io", "memory", "scheduling"}), "the others read `stat` only"


def _with_refusals(
    collect_again: Callable[[], Iterable[Reading]], error: OSError, monkeypatch: pytest.MonkeyPatch
) -> list[Reading]:
    real = ProcessFiles.read_list

    def read_list(files: ProcessFiles, name: str, *, keep: bool = True) -> bytes:
        if name != "stat":
            raise error
        return real(files, name, keep=keep)

    def refuse(files: ProcessFiles, name: str) -> int:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ProcessFiles, "read_list", read_list)
        patch.setattr(ProcessFiles, "open", refuse)
        patch.setattr(ProcessFiles, "folder", refuse)
        return list(collect_again())


@pytest.mark.parametrize("name", OF_PROCESSES)
def test_a_process_that_vanishes_between_scan_and_read_is_left_out(name: str, tmp_path: Path) -> None:
    """The rest of the tree is still told."""
    proc = frozen("prefork", tmp_path)
    surroundings = context(proc)
    surroundings.tree.scan()
    for file in (proc / "4102").rglob("*"):
        if file.is_file():
            file.write_text("")
    samples = [r for r in registry.load(PACKAGE, name).make(surroundings).collect() if isinstance(r, Sample)]
    assert samples


def test_counters_hold_when_workers_end(tmp_path: Path) -> None:
    """A worker that ends, waited for or not, never lowers the CPU of the tree."""
    proc = FakeProc(tmp_path)
    proc.spawn(10, 1, 100, cpu=(100, 10))
    proc.spawn(11, 10, 101, cpu=(500, 50))
    proc.spawn(12, 10, 102, cpu=(300, 30))
    runner = Runner(context(tmp_path, pid=10), ["cpu"])
    before = _cpu(runner)
    assert before == pytest.approx({"user": 9.0, "system": 0.9})
    proc.reap(11)  # nobody waited for it
    assert _cpu(runner) == pytest.approx(before)
    proc.reap(12)
    proc.set(10, ppid=1, start_time=100, cpu=(100, 10), waited=(800, 80))  # and now both are inherited
    assert _cpu(runner) == pytest.approx(before)
    runner.close()


def _cpu(runner: Runner) -> dict[str | None, object]:
    return {r.labels[1]: r.value for r in runner.collect() if isinstance(r, Sample) and r.metric.labels[-1] == "mode"}


def test_the_roles_sum_is_the_trees(tmp_path: Path) -> None:
    """What a process used counts for the role that it has then, and stays; what nobody saw is other."""
    proc = FakeProc(tmp_path)
    proc.spawn(10, 1, 100, cpu=(100, 0))
    proc.spawn(11, 10, 101, cpu=(500, 0))
    runner = Runner(context(tmp_path, pid=10), ["cpu"])
    assert _by_role(runner, "cpu_seconds_total") == {"main": 1, "worker": 5, "other": 0}
    proc.set(11, ppid=10, start_time=101, comm="VLLM::EngineCor", cpu=(700, 0))
    assert _by_role(runner, "cpu_seconds_total") == {"main": 1, "worker": 5, "engine": 2, "other": 0}
    proc.reap(11)
    proc.set(10, ppid=1, start_time=100, cpu=(100, 0), waited=(900, 0))
    assert _by_role(runner, "cpu_seconds_total") == {"main": 1, "worker": 5, "engine": 2, "other": 2}
    assert _cpu(runner) == {"user": 10, "system": 0}
    runner.close()


def _by_role(runner: Runner, what: str) -> dict[str | None, object]:
    name = f"pilotfish_process_role_{what}"
    return {r.labels[1]: r.value for r in runner.collect() if isinstance(r, Sample) and r.metric.name == name}


def test_kinds_of_memory_are_read_now_and_then(tmp_path: Path) -> None:
    """In between each process counts with its last; who is new counts at once, who has gone no longer."""
    proc = FakeProc(tmp_path)
    surroundings = context(tmp_path, pid=10)
    for pid, ppid in ((10, 1), (11, 10)):
        proc.spawn(pid, ppid, pid)
        _anonymous(tmp_path, pid, 100)
    runner = Runner(surroundings, ["memory"])

    def told() -> object:
        found = [r for r in runner.collect() if isinstance(r, Sample) and r.labels[-1] == "anonymous"]
        return [r.value for r in found]

    assert told() == [200 * 1024]
    _anonymous(tmp_path, 10, 150)
    assert told() == [200 * 1024], "kept"
    proc.spawn(12, 10, 12)
    _anonymous(tmp_path, 12, 7)
    assert told() == [207 * 1024]
    proc.reap(11)
    assert told() == [107 * 1024]
    assert isinstance(surroundings.clock, ManualClock)
    surroundings.clock.advance(5)
    assert told() == [157 * 1024]
    runner.close()


def _anonymous(proc: Path, pid: int, kibibytes: int) -> None:
    (proc / str(pid) / "status").write_text(f"RssAnon:\t{kibibytes} kB\n")


def test_limits_are_read_again_after_a_minute(tmp_path: Path) -> None:
    """A limit raised by prlimit shows up."""
    surroundings = context(frozen("prefork", tmp_path))
    surroundings.tree.scan()
    collector = registry.load(PACKAGE, "files").make(surroundings)

    def usage() -> object:
        return next(r.value for r in collector.collect() if isinstance(r, Sample) and "ratio" in r.metric.name)

    assert usage() == 8 / 20_000
    for pid in ("4100", "4101", "4102"):
        (tmp_path / pid / "limits").write_text(
            "Max open files            40                   40                   files\n"
        )
    assert usage() == 8 / 20_000
    assert isinstance(surroundings.clock, ManualClock)
    surroundings.clock.advance(61)
    assert usage() == 8 / 40


def test_too_many_threads_are_not_read_one_by_one(tmp_path: Path) -> None:
    """Without taskstats a tree of 257 threads has no run delay rather than a dear or a wrong one."""
    proc = FakeProc(tmp_path)
    proc.spawn(10, 1, 100, threads=257)
    readings = collect("scheduling", context(tmp_path, pid=10))
    assert {r.reason for r in readings if isinstance(r, Unavailable)} == {"not_supported"}
    assert not [r for r in readings if isinstance(r, Sample)]


class _Broken:
    def collect(self) -> Iterable[Reading]:
        raise RuntimeError("a fault of ours")


def test_a_failing_collector_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    """Its success is 0, its signals are absent as failed, one event is counted; the others are as ever."""
    surroundings = context(frozen("prefork", tmp_path))
    events = Events(surroundings.clock)
    runner = Runner(surroundings, OF_PROCESSES, events=events)
    runner._collectors["io"] = _Broken()
    readings = runner.collect()
    success = {r.labels[0]: r.value for r in readings if isinstance(r, Sample) and r.metric is _runner.SUCCESS}
    assert success == {name: float(name != "io") for name in OF_PROCESSES}
    assert [(r.signal, r.reason) for r in readings if isinstance(r, Unavailable)] == [
        ("pilotfish_process_io_bytes_total", "failed")
    ]
    assert [(s.labels, s.value) for s in events.samples()] == [(("collector_failed", "warning"), 1.0)]
    runner.close()


def test_an_unknown_collector_is_refused(tmp_path: Path) -> None:
    """By name, with the names there are."""
    with pytest.raises(ConfigError, match="cpu"):
        Runner(context(tmp_path), ["cpus"])


def test_every_metric_is_in_the_documentation() -> None:
    """docs/hardware.md, or a page that it links, names each signal."""
    page = Path("docs/hardware.md").read_text()
    linked = [Path("docs", name) for name in re.findall(r"\]\(([a-z-]+\.md)", page)]
    text = page + "".join(path.read_text() for path in linked)
    for name in NAMES:
        for metric in registry.load(PACKAGE, name).METRICS:
            assert metric.name.removeprefix("pilotfish_") in text


def test_private_names_are_no_collectors() -> None:
    """Files that start with an underscore are not in the registry."""
    assert set(OF_PROCESSES) < set(NAMES)
    assert not [name for name in NAMES if name.startswith("_")]
    assert _context.absent("x", (), "failed") == ()
    assert os.path.basename(_runner.__file__).startswith("_")
