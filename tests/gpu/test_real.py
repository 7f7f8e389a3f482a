"""The run on a real GPU, as far as a machine without one can tell: its load, what it reads, what it compares.

Nothing here is a measurement of a GPU: `nvidia-smi`, CUDA and NVML are stand-ins.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bars import Result
from benchmarks.hardware import cuda_load, gpu_real, smi
from benchmarks.hardware.gpu_real import Run
from benchmarks.hardware.smi import MIB, Told
from tests.gpu import fake

UUID = "GPU-00000000-fake"
ROWS = {name: row for name, row in vars(gpu_real).items() if hasattr(row, "__bar__")}


@pytest.fixture(scope="module")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stand-in for libcuda.so.1."""
    folder = tmp_path_factory.mktemp("cuda")
    source = Path(__file__).with_name("fake_cuda.c")
    words = ("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", folder / "libcuda.so.1", source)
    subprocess.run(words, check=True)
    return folder


@fake.NEEDS_COMPILER
def test_the_load_calls_the_driver_as_its_api_wants(cuda: Path, tmp_path: Path) -> None:
    """Memory is taken and touched, all multiprocessors get work, the copy knows its halves; phases are told."""
    notes = tmp_path / "notes"
    environ = {**os.environ, "LD_LIBRARY_PATH": str(cuda), "FAKE_CUDA": str(notes)}
    words = (sys.executable, cuda_load.__file__, "0.5", "idle=0.01", "spin=0.1", "half=0.1", "tensor=0.1", "copy=0.1")
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["idle", "spin", "half", "tensor", "copy", "end"]
    size = 2**29
    told = {tuple(line.split()[:3]) for line in notes.read_text().splitlines()}
    at = str(0x7F0000000000)
    assert ("alloc", str(size), "0") in told
    assert ("set", at, "1") in told
    for kernel in ("spin", "tensor", "copy"):
        assert (kernel, str(8 * 132 * 1000 + 256), at) in told
    assert f"copy {8 * 132 * 1000 + 256} {at} {size // 2}" in notes.read_text()


@fake.NEEDS_COMPILER
def test_a_gpu_without_the_tensor_instruction_waits_instead(cuda: Path, tmp_path: Path) -> None:
    """Volta and Turing have tensor cores, but not this form of the instruction."""
    notes = tmp_path / "notes"
    environ = {**os.environ, "LD_LIBRARY_PATH": str(cuda), "FAKE_CUDA": str(notes), "FAKE_CUDA_MAJOR": "7"}
    words = (sys.executable, cuda_load.__file__, "0.01", "tensor=0.05")
    subprocess.run(words, env=environ, capture_output=True, check=True)
    assert "tensor" not in notes.read_text()


def test_an_error_of_the_driver_is_told(tmp_path: Path) -> None:
    """Without a driver the load ends with what failed, not with a load that is none."""
    words = (sys.executable, cuda_load.__file__, "1", "spin=1")
    done = subprocess.run(words, env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "libcuda.so.1" in done.stderr


@pytest.mark.skipif(shutil.which("ptxas") is None, reason="ptxas is not installed: pip install nvidia-cuda-nvcc-cu12")
@pytest.mark.parametrize(
    ("source", "gpu"), [("PTX", "sm_75"), ("PTX", "sm_90"), ("TENSOR_PTX", "sm_80"), ("TENSOR_PTX", "sm_90")]
)
def test_the_kernels_are_assembled(source: str, gpu: str, tmp_path: Path) -> None:
    """By NVIDIA's own assembler."""
    (tmp_path / "a.ptx").write_text(getattr(cuda_load, source))
    subprocess.run(("ptxas", "-arch", gpu, "-o", tmp_path / "a.bin", tmp_path / "a.ptx"), check=True)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_without_a_gpu_every_row_is_absent(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing pretends."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert ROWS[name]() == Result("absent: no NVIDIA driver here", None)


def test_there_is_a_row_for_each_promise() -> None:
    """Memory, utilization, energy, the model's part, activity."""
    names = " ".join(row.__bar__.name for row in ROWS.values())
    for word in ("memory in use", "utilization", "energy", "by PID", "SM share", "SM activity", "tensor", "DRAM"):
        assert word in names


# -- what nvidia-smi prints


def test_the_gpus_own_numbers_are_read() -> None:
    """In per cent, MiB and W; what a card has not is no number."""
    told = Told()
    take = smi.of_gpu(told)
    take(1.0, "87, 2048, 311.5")
    take(2.0, "[N/A], 2048, [Not Supported]")
    assert told.points == {
        "utilization": [(1.0, 0.87)],
        "memory": [(1.0, 2048 * MIB), (2.0, 2048 * MIB)],
        "power": [(1.0, 311.5)],
    }


def test_processes_are_read_of_this_gpu_only() -> None:
    """A program on another GPU is not beside the model."""
    told = Told()
    take = smi.of_apps(told, UUID)
    take(1.0, f"4242, {UUID}, 2560")
    take(1.0, "4242, GPU-other, 9999")
    take(1.0, f"77, {UUID}, [N/A]")
    assert told.points == {"memory of 4242": [(1.0, 2560 * MIB)]}


def test_pmon_is_read_by_its_columns() -> None:
    """As of driver 580 and as of 470, which has two columns less; no process, and one that ran nothing."""
    told = Told()
    take = smi.of_processes(told)
    for line in (
        "# gpu         pid   type     sm    mem    enc    dec    jpg    ofa    command",
        "# Idx           #    C/G      %      %      %      %      %      %    name",
        "    0       4242     C     61     20      -      -      -      -    python3",
        "    0         77     C      -      -      -      -      -      -    python3",
        "    0          -     -      -      -      -      -      -      -    -",
    ):
        take(1.0, line)
    assert told.points == {"sm of 4242": [(1.0, 0.61)], "sm of 77": [(1.0, 0.0)]}


def test_dmon_has_the_activities_last() -> None:
    """Whatever columns come before, and whatever these are called."""
    told = Told()
    take = smi.of_gpm(told)
    for line in (
        "# gpu    pwr  gtemp  mtemp     sm    mem    enc    dec    jpg    ofa   mclk   pclk  smutil mmaact   dram",
        "# Idx      W      C      C      %      %      %      %      %      %    MHz    MHz      %      %      %",
        "    0    612     55     60     99     31      0      0      0      0   3201   1980  98.00  55.00   1.00",
        "    0    612     55     60     99     31      0      0      0      0   3201   1980      -      -      -",
    ):
        take(1.0, line)
    assert told.points == {
        "gpu_sm_active_ratio": [(1.0, 0.98)],
        "gpu_tensor_active_ratio": [(1.0, 0.55)],
        "gpu_dram_active_ratio": [(1.0, 0.01)],
    }


@given(st.lists(st.text(max_size=60), max_size=20))
def test_no_line_breaks_a_reader(lines: list[str]) -> None:
    """Errors of nvidia-smi come on the same stream; only numbers are taken."""
    told = Told()
    for take in (smi.of_gpu(told), smi.of_apps(told, UUID), smi.of_processes(told), smi.of_gpm(told)):
        for line in lines:
            take(0.0, line)
    assert all(isinstance(value, float) for points in told.points.values() for _, value in points)


def test_power_is_integrated() -> None:
    """100 W for 2 s, then 300 W, with the ends in the middle of a step."""
    points = [(0.0, 100.0), (2.0, 100.0), (2.0, 300.0), (4.0, 300.0)]
    assert smi.integral(points, 1.0, 3.0) == pytest.approx(400.0)
    assert smi.integral(points, -1.0, 5.0) == pytest.approx(1200.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1000)), min_size=2, max_size=20), st.floats(0, 100))
def test_an_integral_is_the_sum_of_its_parts(points: list[tuple[float, float]], middle: float) -> None:
    """And lies between the lowest and the highest power."""
    points = sorted(points)
    whole = smi.integral(points, 0.0, 100.0)
    parts = smi.integral(points, 0.0, middle) + smi.integral(points, middle, 100.0)
    powers = [value for _, value in points]
    assert 100 * min(powers) - 1e-6 <= whole <= 100 * max(powers) + 1e-6
    if len({at for at, _ in points}) == len(points):
        assert parts == pytest.approx(whole, rel=1e-6, abs=1e-6)


# -- what is compared


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run in which both sides say the same."""
    seen = Run(UUID, "Fake", model=4242, methods={"pid"})
    at = 0.0
    for phase in gpu_real.ORDER:
        seconds = gpu_real.PHASES[phase]
        seen.phases.append((phase, at, at + seconds))
        busy, tensor, dram = {
            "idle": (0.0, 0.0, 0.0),
            "half": (0.5, 0.0, 0.0),
            "tensor": (1.0, 0.5, 0.0),
            "copy": (1.0, 0.0, 0.8),
        }.get(phase, (1.0, 0.0, 0.0))
        for second in range(seconds):
            now = at + second
            for told in (seen.ours, seen.theirs):
                told.add("gpu_sm_active_ratio", now, busy)
                told.add("gpu_tensor_active_ratio", now, tensor)
                told.add("gpu_dram_active_ratio", now, dram)
            seen.ours.add("gpu_utilization_ratio", now, busy)
            seen.theirs.add("utilization", now, busy)
            seen.ours.add("process_gpu_sm_utilization_ratio", now, busy)
            seen.theirs.add("sm of 4242", now, busy)
            seen.ours.add("gpu_memory_used_bytes", now, 4000.0 * MIB)
            seen.theirs.add("memory", now, 4000.0 * MIB)
            seen.ours.add("process_gpu_memory_bytes", now, 2500.0 * MIB)
            seen.theirs.add("memory of 4242", now, 2500.0 * MIB)
            seen.ours.add("gpu_energy_joules_total", now, 5000.0 + 300.0 * now)
            seen.theirs.add("power", now, 300.0)
        at += seconds
    monkeypatch.setattr(gpu_real, "missing", lambda: None)
    monkeypatch.setattr(gpu_real, "measured", lambda: seen)
    monkeypatch.setattr(smi, "version", lambda: "nvidia-smi 580")
    return seen


def holds(name: str) -> bool | None:
    result: Result = ROWS[name]()
    return result.holds


def scale(told: Told, name: str, by: float) -> None:
    told.points[name] = [(at, value * by) for at, value in told.points[name]]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_holds_when_both_sides_agree(name: str, run: Run) -> None:
    """And says on what it was measured."""
    result = ROWS[name]()
    assert result.holds, result
    assert run.gpu in result.versions
    assert "nvidia-smi 580" in result.versions


@pytest.mark.parametrize(
    ("name", "ours", "by"),
    [
        ("utilization", "gpu_utilization_ratio", 0.8),
        ("memory", "gpu_memory_used_bytes", 1.02),
        ("energy", "gpu_energy_joules_total", 1.12),
        ("energy", "gpu_energy_joules_total", 0.001),  # in the wrong unit
        ("attribution", "process_gpu_memory_bytes", 1.4),  # the other program's is in it
        ("sm_share", "process_gpu_sm_utilization_ratio", 0.5),
        ("sm_active", "gpu_sm_active_ratio", 0.01),  # per cent as a ratio
        ("tensor_active", "gpu_tensor_active_ratio", 0.5),
        ("dram_active", "gpu_dram_active_ratio", 0.5),
    ],
)
def test_a_row_is_short_when_ours_is_wrong(name: str, ours: str, by: float, run: Run) -> None:
    """By a fifth, by a unit, or absent."""
    assert holds(name)
    scale(run.ours, ours, by)
    assert holds(name) is False
    del run.ours.points[ours]
    assert not holds(name)


def test_another_way_of_attribution_is_short(run: Run) -> None:
    """On a host the list says it by PID."""
    run.methods = {"device"}
    assert holds("attribution") is False


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("utilization", "utilization"),
        ("energy", "power"),
        ("attribution", "memory of 4242"),
        ("sm_share", "sm of 4242"),
        ("sm_active", "gpu_sm_active_ratio"),
    ],
)
def test_a_row_is_absent_where_nvidia_smi_says_nothing(name: str, theirs: str, run: Run) -> None:
    """An older GPU has no activities; some containers list no processes: nothing to compare with."""
    del run.theirs.points[theirs]
    assert holds(name) is None


# -- all of it, on stand-ins

SCRIPT = """#!/bin/sh
case "$*" in
*name*) echo "%(uuid)s, Fake H100";;
*driver_version*) echo 580.00;;
*-L*) echo "GPU 0: Fake";;
*query-gpu*) while :; do echo "37, 1024, 350.00"; sleep 0.2; done;;
*compute-apps*) while :; do echo "$(cat %(pid)s), %(uuid)s, 2560"; sleep 0.2; done;;
*pmon*) echo "# gpu pid type sm mem command"; while :; do echo "0 $(cat %(pid)s) C 55 20 python"; sleep 0.2; done;;
*dmon*) echo "# gpu pwr smutil mmaact dram"; while :; do echo "0 350 12 15 20"; sleep 0.2; done;;
esac
"""


@fake.NEEDS_COMPILER
def test_the_whole_run_on_stand_ins(cuda: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real agent on a played driver, beside a played `nvidia-smi`: phases, both sides, and rows that hold."""
    pid = tmp_path / "pid"
    pid.write_text("1\n")
    state = fake.Gpus(tmp_path / "gpus", {"count": 1, "tick_ms": 1000, "memory_used": 1024 * MIB})
    uuid = _uuid_of_the_fake(state)
    script = tmp_path / "nvidia-smi"
    script.write_text(SCRIPT % {"uuid": uuid, "pid": pid})
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ours = {"LD_LIBRARY_PATH": str(cuda), "PILOTFISH_GPU_DRIVER_LIBRARY": str(fake.driver_library()), **state.environ}
    monkeypatch.setattr(gpu_real, "LOAD_ENVIRONMENT", os.environ | ours)
    monkeypatch.setattr(gpu_real, "ORDER", ("idle", "spin"))
    monkeypatch.setattr(gpu_real, "PHASES", {"idle": 4, "spin": 5})
    monkeypatch.setattr(gpu_real, "SETTLE", 0.0)
    real = gpu_real.scrape

    def scrape(address: str, run: Run) -> None:
        real(address, run)
        if run.model and pid.read_text() != f"{run.model}\n":
            pid.write_text(f"{run.model}\n")
            state.set(**{"pid.0": run.model, "memory.0": 2560 * MIB, "sm.0": 55})

    monkeypatch.setattr(gpu_real, "scrape", scrape)
    run = gpu_real.measured.__wrapped__()
    monkeypatch.setattr(gpu_real, "missing", lambda: None)
    monkeypatch.setattr(gpu_real, "measured", lambda: run)
    results = {name: row() for name, row in ROWS.items()}
    assert run.methods == {"pid"}
    for name in ("memory", "attribution", "utilization", "sm_share", "sm_active", "tensor_active", "dram_active"):
        assert results[name].holds, (name, results[name])


def _uuid_of_the_fake(state: fake.Gpus) -> str:
    code = (
        "import sys; from pilotfish_agent.gpu import nvml\n"
        "backend = nvml.make(sys.argv[1]); backend.open(); print(backend.read()[0].uuid)"
    )
    words = (sys.executable, "-c", code, str(fake.driver_library()))
    done = subprocess.run(words, env={**os.environ, **state.environ}, capture_output=True, text=True, check=True)
    return done.stdout.strip()
