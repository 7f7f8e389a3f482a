"""The model's part of each GPU: over frozen process trees, on the host and in containers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.gpu.report import Gpu, GpuProcess, GpuReport, GpuValue
from pilotfish_agent.hardware import _gpu_use, gpu_process
from pilotfish_agent.hardware._context import HardwareContext
from pilotfish_agent.hardware._gpu_use import INITIAL, GpuUse
from pilotfish_agent.target.procfs import ProcessFiles
from pilotfish_core.clock import ManualClock
from pilotfish_core.metrics import PREFIX, Reason, Sample, Unavailable
from tests.hardware.fake_proc import FakeProc, context

GIB = 2**30
A = Gpu(
    "GPU-aaaa",
    "0",
    "H200",
    "580.1",
    up=True,
    values=(GpuValue("gpu_memory_used_bytes", 10.0 * GIB), GpuValue("gpu_utilization_ratio", 0.5)),
)
NAMES = {m.name.removeprefix(PREFIX) for m in gpu_process.METRICS}


@dataclass
class Source:
    """Somebody who reports what he is told to."""

    report: GpuReport


class Model:
    """A model of two processes, 10 and 11, in a `/proc` of ours, and who reports of its GPUs."""

    def __init__(self, folder: Path, *gpus: Gpu) -> None:
        self.proc = FakeProc(folder)
        self.proc.spawn(10, 1, 100)
        self.proc.spawn(11, 10, 101)
        self.source = Source(GpuReport(gpus, None))
        plain = context(folder, pid=10)
        self.surroundings = replace(plain, host=replace(plain.host, gpus=self.source))
        self.here(10, 11)

    def on_the_host(self) -> Model:
        """We are in the host's PID namespace."""
        namespace = self.proc.folder / "self" / "ns"
        namespace.mkdir(parents=True)
        (namespace / "pid").symlink_to(INITIAL)
        return self

    def here(self, *pids: int, status: str = "", environ: bytes = b"") -> None:
        """Gives processes what a look at them reads."""
        for pid in pids:
            (self.proc.folder / str(pid) / "status").write_text(f"Name:\tpython\n{status}")
            (self.proc.folder / str(pid) / "environ").write_bytes(environ)
            (self.proc.folder / str(pid) / "fd").mkdir(exist_ok=True)

    def opens(self, pid: int, *nodes: str) -> None:
        """A process has device nodes open."""
        for number, node in enumerate(nodes):
            (self.proc.folder / str(pid) / "fd" / str(number)).symlink_to(node)

    def driver(self, uuid: str, minor: int) -> None:
        """The kernel's driver tells which node a GPU has."""
        folder = self.proc.folder / "driver" / "nvidia" / "gpus" / f"0000:0{minor}:00.0"
        folder.mkdir(parents=True)
        text = f"Model: \t\t NVIDIA H200\nIRQ:   \t\t 11\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n"
        (folder / "information").write_text(text)

    def reports(self, *gpus: Gpu, reason: Reason | None = None) -> None:
        self.source.report = GpuReport(gpus, reason)

    def use(self) -> GpuUse:
        self.surroundings.tree.scan()
        return GpuUse(self.surroundings)


class Collected:
    """The collector over a model: what it gives after each scan."""

    def __init__(self, surroundings: HardwareContext) -> None:
        self._surroundings = surroundings
        self._collector = gpu_process.make(surroundings)

    def __call__(self) -> tuple[dict[tuple[str, tuple[str | None, ...]], object], dict[str, Reason]]:
        """(values by name and labels, reasons by name), names without prefix."""
        self._surroundings.tree.scan()
        values: dict[tuple[str, tuple[str | None, ...]], object] = {}
        gaps: dict[str, Reason] = {}
        for one in self._collector.collect():
            if isinstance(one, Unavailable):
                gaps[one.signal.removeprefix(PREFIX)] = one.reason
            else:
                assert one.labels[0] == "serve"
                assert len(one.labels) == len(one.metric.labels)
                values[one.metric.name.removeprefix(PREFIX), one.labels[1:]] = one.value
        assert {name for name, _ in values} | gaps.keys() == NAMES or gaps.keys() == {"process_gpu_attribution_info"}
        return values, gaps


def test_on_the_host_each_gpu_has_the_models_part(tmp_path: Path) -> None:
    """Sums over the tree; a GPU that it does not use has no series."""
    one = replace(A, processes=(GpuProcess(10, 4 * GIB, 0.25), GpuProcess(11, GIB, 0.125), GpuProcess(77, GIB, 0.1)))
    other = replace(A, uuid="GPU-bbbb", gpu="1", processes=(GpuProcess(77, GIB, 0.5),))
    values, gaps = Collected(Model(tmp_path, one, other).on_the_host().surroundings)()
    at = ("GPU-aaaa", "0")
    assert values == {
        ("process_gpu_memory_bytes", at): 5.0 * GIB,
        ("process_gpu_sm_utilization_ratio", at): 0.375,
        ("process_gpu_seconds_total", at): 0.0,
        ("process_gpu_attribution_info", (*at, "pid")): 1.0,
    }
    assert gaps == {}


def test_what_the_driver_does_not_say_is_absent(tmp_path: Path) -> None:
    """No SM share in a MIG instance: neither the ratio nor the seconds are 0."""
    one = replace(A, uuid="MIG-1", gpu="0/1", processes=(GpuProcess(10, GIB, None),))
    values, gaps = Collected(Model(tmp_path, one).on_the_host().surroundings)()
    assert {name for name, _ in values} == {"process_gpu_memory_bytes", "process_gpu_attribution_info"}
    assert gaps == dict.fromkeys(("process_gpu_sm_utilization_ratio", "process_gpu_seconds_total"), "not_supported")


def test_a_model_that_uses_no_gpu_says_so(tmp_path: Path) -> None:
    """Absent, not 0."""
    model = Model(tmp_path, replace(A, processes=(GpuProcess(77, GIB, 0.5),))).on_the_host()
    assert Collected(model.surroundings)() == ({}, dict.fromkeys(NAMES, "no_data"))


def test_without_a_gpu_one_signal_is_absent(tmp_path: Path) -> None:
    """Not four for each target of each machine without a GPU."""
    model = Model(tmp_path)
    collect = Collected(model.surroundings)
    assert collect() == ({}, {"process_gpu_attribution_info": "no_data"})
    model.reports(reason="not_installed")
    assert collect() == ({}, {"process_gpu_attribution_info": "not_installed"})
    nobody = Collected(context(tmp_path, pid=10))
    assert nobody() == ({}, {"process_gpu_attribution_info": "disabled"})


def test_an_old_report_says_nothing_of_the_model(tmp_path: Path) -> None:
    """While the driver hangs its part is not known; afterwards it is told again."""
    one = replace(A, processes=(GpuProcess(10, GIB, 0.5),))
    model = Model(tmp_path, one).on_the_host()
    collect = Collected(model.surroundings)
    before = collect()
    model.reports(one, reason="failed")
    assert collect() == ({}, dict.fromkeys(NAMES, "failed"))
    model.reports(one)
    assert collect() == before


def test_gpu_seconds_add_up_over_readings(tmp_path: Path) -> None:
    """Half a GPU for 2 s is 1 s; a report that was seen before adds nothing; what nobody saw is not counted."""
    model = Model(tmp_path).on_the_host()
    collect = Collected(model.surroundings)

    def seconds(at: float, sm: float, pid: int = 10) -> object:
        model.reports(replace(A, at=at, processes=(GpuProcess(pid, GIB, sm),)))
        return collect()[0].get(("process_gpu_seconds_total", ("GPU-aaaa", "0")))

    assert seconds(100.0, 0.9) == 0.0  # the first one only begins
    assert seconds(102.0, 0.5) == 1.0
    assert seconds(102.0, 0.5) == 1.0
    assert seconds(103.0, 0.0) == 1.0
    # Its next process loads for ten minutes before it takes the GPU again.
    for at in (104.0, 703.0):
        assert seconds(at, 0.5, pid=77) is None
    assert seconds(704.0, 1.0) == 2.0
    # The GPU is lost, and comes back after an hour: a share of the last second says nothing of the hour.
    model.reports(replace(A, up=False, values=()))
    collect()
    assert seconds(4304.0, 1.0) == 2.0
    assert seconds(4305.0, 1.0) == 3.0
    # Nobody answers for a minute.
    model.reports(A, reason="failed")
    collect()
    assert seconds(4365.0, 1.0) == 3.0


def test_seconds_of_instances_long_gone_are_forgotten(tmp_path: Path) -> None:
    """MIG instances may be made and deleted for ever; the seconds of one that is still used stay."""
    model = Model(tmp_path).on_the_host()
    collector = gpu_process.make(model.surroundings)
    model.surroundings.tree.scan()
    used = (GpuProcess(10, GIB, 0.5),)
    for number in range(600):
        instance = replace(A, uuid=f"MIG-{number}", gpu="1/1", at=float(number), processes=used)
        model.reports(replace(A, at=float(number), processes=used), instance)
        found = list(collector.collect())
    assert [r.value for r in found if isinstance(r, Sample) and r.metric is gpu_process.SECONDS] == [299.5, 0.0]
    assert len(collector._seconds) <= 257  # type: ignore[attr-defined]


def test_in_a_container_the_whole_list_must_be_of_processes_that_are_here(tmp_path: Path) -> None:
    """A host's 10 among the host's numbers is not our 10."""
    model = Model(tmp_path, replace(A, processes=(GpuProcess(10, GIB, 0.25), GpuProcess(4242, GIB, 0.25))))
    uses = model.use().now()
    assert (uses.by_uuid, uses.reason) == ({}, "not_supported")
    model.reports(replace(A, processes=(GpuProcess(10, GIB, 0.25),)))
    assert model.use().now().by_uuid["GPU-aaaa"].method == "pid"


def test_a_process_that_ended_since_the_report_does_not_change_the_method(tmp_path: Path) -> None:
    """It was here at the last look; the next one forgets it."""
    model = Model(tmp_path, replace(A, processes=(GpuProcess(10, GIB, 0.25), GpuProcess(11, GIB, 0.25))))
    use = model.use()
    assert use.now().by_uuid["GPU-aaaa"].memory == 2 * GIB
    model.proc.reap(11)
    model.surroundings.tree.scan()
    assert use.now().by_uuid["GPU-aaaa"].memory == GIB
    assert isinstance(model.surroundings.clock, ManualClock)
    model.surroundings.clock.advance(_gpu_use.LOOK_EVERY)
    assert use.now().by_uuid == {}


def test_a_number_of_an_inner_namespace_is_found_by_nspid(tmp_path: Path) -> None:
    """The driver says 7; that is what the container calls our 10."""
    model = Model(tmp_path, replace(A, processes=(GpuProcess(7, GIB, 0.25),)))
    model.here(10, status="NSpid:\t10\t7\n")
    assert model.use().now().by_uuid["GPU-aaaa"].method == "nspid"
    model.proc.spawn(7, 1, 50)  # but not where a 7 is here
    assert model.use().now().by_uuid == {}


def test_a_gpu_that_the_container_was_given_is_all_the_models(tmp_path: Path) -> None:
    """The driver lists nobody in here; a process of the tree has the node of that GPU open, and only of that."""
    model = Model(tmp_path, A, replace(A, uuid="GPU-bbbb", gpu="1"))
    model.driver("GPU-aaaa", 3)
    model.driver("GPU-bbbb", 4)
    model.opens(11, "/dev/nvidiactl", "/dev/nvidia3", "/dev/nvidia3", "/dev/nvidia-uvm")
    uses = model.use().now()
    assert {uuid: (u.method, u.memory, u.sm) for uuid, u in uses.by_uuid.items()} == {
        "GPU-aaaa": ("device", 10 * GIB, 0.5)
    }


def test_a_container_that_was_given_every_gpu_has_none_alone(tmp_path: Path) -> None:
    """`docker run --gpus all`: CUDA opens all of them, and so does the next container's."""
    model = Model(tmp_path, A)
    model.driver("GPU-aaaa", 0)
    model.opens(10, "/dev/nvidia0")
    assert model.use().now().by_uuid["GPU-aaaa"].method == "device"
    model.here(11, environ=b"NVIDIA_VISIBLE_DEVICES=all\0")
    assert model.use().now().by_uuid == {}


def test_a_gpu_that_was_given_by_its_name(tmp_path: Path) -> None:
    """MIG instances have no node of their own; the container's environment names them."""
    model = Model(tmp_path, replace(A, uuid="MIG-1", gpu="0/1"))
    model.here(10, environ=b"PATH=/bin\0NVIDIA_VISIBLE_DEVICES=MIG-1,MIG-2\0")
    assert model.use().now().by_uuid["MIG-1"].method == "device"


def test_a_process_with_very_many_descriptors_is_looked_at_in_part(tmp_path: Path) -> None:
    """The look is bounded; what was not seen counts as not held."""
    model = Model(tmp_path, A)
    model.driver("GPU-aaaa", 0)
    model.opens(10, *["/dev/null"] * 300, "/dev/nvidia0")
    model.opens(11, *["/dev/null"] * 300)
    use = model.use()
    use.now()
    looked, nodes = _gpu_use._open_nodes(model.surroundings.tree.members[0], 10)
    assert looked == 10
    assert nodes <= {0}


def test_without_permission_to_look_it_is_absent_for_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's descriptors: nothing is concluded from not having seen any."""
    model = Model(tmp_path, A)
    model.driver("GPU-aaaa", 0)

    def refuse(files: ProcessFiles, name: str) -> int:
        raise PermissionError(name)

    use = model.use()
    with monkeypatch.context() as patch:
        patch.setattr(ProcessFiles, "open", refuse)
        uses = use.now()
    assert (uses.by_uuid, uses.reason) == ({}, "permission")


def test_descriptors_are_looked_at_each_ten_seconds_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never where the list says it all: on the host, and where a newer driver names our own PIDs."""
    looks: list[str] = []
    real = ProcessFiles.open

    def noted(files: ProcessFiles, name: str) -> int:
        looks.extend([name] if name == "fd" else [])
        return real(files, name)

    monkeypatch.setattr(ProcessFiles, "open", noted)
    model = Model(tmp_path, A)
    use = model.use()
    for _ in range(5):
        use.now()
    assert len(looks) == 2, "one a process"
    assert isinstance(model.surroundings.clock, ManualClock)
    model.surroundings.clock.advance(_gpu_use.LOOK_EVERY)
    use.now()
    assert len(looks) == 4
    host = Model(_folder(tmp_path), A).on_the_host().use()
    host.now()
    assert len(looks) == 4
    model.reports(replace(A, processes=(GpuProcess(10, GIB, 0.25),)))
    model.surroundings.clock.advance(_gpu_use.LOOK_EVERY)
    assert use.now().by_uuid["GPU-aaaa"].method == "pid"
    assert len(looks) == 4


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "host"
    folder.mkdir()
    return folder


@pytest.fixture
def real_process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits, with a name of a GPU in its environment."""
    code = "import sys; sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()"
    environ = {**os.environ, "NVIDIA_VISIBLE_DEVICES": "GPU-real"}
    with subprocess.Popen(
        (sys.executable, "-c", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        yield process
        process.kill()


def test_the_files_of_a_real_process_are_read(real_process: subprocess.Popen[bytes]) -> None:
    """This kernel's `status`, `environ` and `fd`."""
    plain = context(Path("/proc"), pid=real_process.pid)
    source = Source(GpuReport((replace(A, uuid="GPU-real"),), None))
    surroundings = replace(plain, host=replace(plain.host, gpus=source))
    surroundings.tree.scan()
    use = GpuUse(surroundings)
    use._initial = False
    assert use.now().by_uuid["GPU-real"].method == "device"
    surroundings.tree.close()


INNER = 54_321


@pytest.fixture
def in_a_namespace() -> Iterator[subprocess.Popen[bytes]]:
    """`unshare` with a process in a PID namespace of its own, where its number is `INNER`."""
    script = f"echo {INNER - 1} > /proc/sys/kernel/ns_last_pid; sleep 60 & echo x; wait"
    words = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready = process.stdout.read(2)
        try:
            if ready != b"x\n":
                pytest.skip("no PID namespace can be made here")
            yield process
        finally:
            process.kill()


def test_a_real_namespace_is_seen_from_both_sides(in_a_namespace: subprocess.Popen[bytes]) -> None:
    """Its processes have two numbers, and whoever is inside knows that this is not the host."""
    plain = context(Path("/proc"), pid=in_a_namespace.pid)
    one = replace(A, processes=(GpuProcess(INNER, GIB, 0.5),))
    surroundings = replace(plain, host=replace(plain.host, gpus=Source(GpuReport((one,), None))))
    surroundings.tree.scan()
    use = GpuUse(surroundings)
    use._initial = False
    assert use.now().by_uuid["GPU-aaaa"].method == "nspid"
    child = next(m.pid for m in surroundings.tree.members if m.pid != in_a_namespace.pid)
    assert os.readlink(f"/proc/{child}/ns/pid") != INITIAL
    surroundings.tree.close()


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parsers(data: bytes) -> None:
    """What a file says is foreign: nothing raises, and only what was meant is taken."""
    assert all(isinstance(pid, int) for pid in _gpu_use.parse_aliases(data))
    assert all(word == "all" or word.startswith(("GPU-", "MIG-")) for word in _gpu_use.parse_given(data))
    _gpu_use.parse_information(data)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (b"all", {"all"}),
        (b"0,1", set()),
        (b"void", set()),
        (b"", set()),
        (b"GPU-1, MIG-2 ,3", {"GPU-1", "MIG-2"}),
    ],
)
def test_only_a_uuid_names_a_gpu(value: bytes, named: set[str]) -> None:
    """`all` is told apart; a number says nothing of which one it is."""
    assert _gpu_use.parse_given(b"A=1\0NVIDIA_VISIBLE_DEVICES=" + value + b"\0B=2\0") == named


def test_a_masked_uuid_is_none() -> None:
    """The kernel's driver shows question marks until somebody has opened the GPU."""
    assert _gpu_use.parse_information(b"GPU UUID: \t GPU-????????-????\nDevice Minor: \t 0\n") is None
    assert _gpu_use.parse_information(b"GPU UUID: \t GPU-1\nDevice Minor: \t 2\n") == ("GPU-1", 2)
