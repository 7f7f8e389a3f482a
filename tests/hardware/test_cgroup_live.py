"""Real control groups of this machine: the kernel's own numbers are the oracle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Events
from pilotfish_core.metrics import Unavailable
from tests.hardware.real_groups import UNIFIED, contained, counts, join, made, needs_group, seen_by_sidecar

PARTS = ("cgroup_cpu", "cgroup_memory", "cgroup_pressure")
BUSY = "while True: pass"
EATER = """
import os, sys, time
sys.stdin.readline()
for _ in range(2):
    child = os.fork()
    if child == 0:
        eaten = []
        while True: eaten.append(bytearray(b"x" * (4 << 20)))
    print(os.waitpid(child, 0)[1], flush=True)
time.sleep(60)
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program with pipes, and ends it afterwards."""
    running: list[subprocess.Popen[str]] = []

    def run(*command: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        running.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()


class Watched:
    """The three collectors over a live process."""

    def __init__(self, pid: int) -> None:
        clock = SystemClock()
        tree = ProcessTree(pid, None, clock=clock)
        self.group = ControlGroup(tree)
        self.events = Events(clock)
        self.runner = Runner(HardwareContext(HostContext(clock), tree, "live", self.group, self.events), PARTS)

    def look(self) -> tuple[dict[str, float], dict[str, str]]:
        """Values by ``name`` or ``name/label``, and reasons by name."""
        values: dict[str, float] = {}
        reasons: dict[str, str] = {}
        for reading in self.runner.collect():
            if isinstance(reading, Unavailable):
                reasons[reading.signal.removeprefix("pilotfish_cgroup_")] = reading.reason
            elif isinstance(reading.value, float):
                name = reading.metric.name.removeprefix("pilotfish_cgroup_")
                values["/".join([name, *map(str, reading.labels[1:])])] = reading.value
        return values, reasons


def until(what: Callable[[], bool], every: float = 0.02, seconds: float = 30.0) -> None:
    """Waits for something, as long as that is worth while."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(every)


@needs_group("cpu")
def test_throttling_is_the_kernels_own_count(start: Callable[..., subprocess.Popen[str]]) -> None:
    """A limit of a fifth of a core on a group whose parent allows more: least limit, periods, throttled time."""
    with made("cpu") as pod, made("cpu", below=pod) as group:
        (pod / "cpu.cfs_quota_us").write_text("50000")
        (group / "cpu.cfs_quota_us").write_text("20000")
        model = start(sys.executable, "-c", BUSY)
        join(group, model.pid)
        watched = Watched(model.pid)
        until(lambda: counts(group, "cpu.stat")["nr_throttled"] >= 5)
        model.send_signal(signal.SIGSTOP)
        before: dict[str, int] = {}
        while before != (before := counts(group, "cpu.stat")):  # until the period in which it stopped has ended
            time.sleep(0.3)
        values, _ = watched.look()
        kernel = counts(group, "cpu.stat")
        assert values["cpu_limit_cores"] == 0.2
        assert values["cpu_periods_total"] == kernel["nr_periods"]
        assert values["cpu_throttled_periods_total"] == kernel["nr_throttled"] >= 5
        assert values["cpu_throttled_seconds_total"] == kernel["throttled_time"] / 1e9 > 0
        watched.runner.close()


@needs_group("memory")
def test_kills_of_workers_are_the_kernels_own_count(start: Callable[..., subprocess.Popen[str]]) -> None:
    """Two workers are killed, the model lives: nobody else tells."""
    with made("memory") as group:
        (group / "memory.limit_in_bytes").write_text(str(48 << 20))
        (group / "memory.swappiness").write_text("0")
        model = start(sys.executable, "-c", EATER)
        assert model.stdin is not None
        assert model.stdout is not None
        join(group, model.pid)
        watched = Watched(model.pid)
        values, _ = watched.look()
        assert (values["oom_kills_total"], values["memory_limit_bytes"]) == (0, 48 << 20)
        print(file=model.stdin, flush=True)
        assert [int(model.stdout.readline()) & 0x7F for _ in range(2)] == [signal.SIGKILL] * 2
        values, _ = watched.look()
        assert values["oom_kills_total"] == counts(group, "memory.oom_control")["oom_kill"] == 2
        assert 0 < values["memory_bytes"] <= 48 << 20
        assert watched.group.oom_kills() == 2
        watched.runner.close()


@needs_group(UNIFIED)
def test_the_kernel_tells_when_pressure_begins(start: Callable[..., subprocess.Popen[str]]) -> None:
    """A trigger of a 2 s window: counted, told once, and the sums are the kernel's."""
    with made(UNIFIED) as group:
        models = [start(sys.executable, "-c", BUSY) for _ in range(2 * len(os.sched_getaffinity(0)))]
        for model in models:
            join(group, model.pid)
        watched = Watched(models[0].pid)
        with capture_logs() as lines:
            until(lambda: watched.look()[0]["pressure_events_total/cpu"] >= 1, every=0.45)
        assert [(line["kind"], line["target"]) for line in lines] == [("cpu_pressure", "live")]
        assert lines[0]["waiting"] > 0
        for model in models:
            model.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        _, (values, _) = watched.look(), watched.look()  # each third look repeats the last one
        some = next(x for x in (group / "cpu.pressure").read_text().splitlines() if x.startswith("some"))
        assert values["pressure_waiting_seconds_total/cpu"] == pytest.approx(
            int(some.rpartition("=")[2]) / 1e6, abs=0.2
        )
        watched.runner.close()


@needs_group(UNIFIED)
def test_a_group_that_was_made_again_is_another(start: Callable[..., subprocess.Popen[str]]) -> None:
    """A process that moves to a group of the same name: counters go on, the trigger is set anew."""
    model = start(sys.executable, "-c", "import time; time.sleep(60)")
    with made(UNIFIED) as group:
        join(group, model.pid)
        watched = Watched(model.pid)
        first, reasons = watched.look()
        assert "pressure_events_total" not in reasons
        join(group.parent, model.pid)
        assert watched.look()[1]["pressure_waiting_seconds_total"] == "not_supported", "the root is nobody's own"
        group.rmdir()
        group.mkdir()
        join(group, model.pid)
        again, _ = watched.look()
        assert again.keys() == first.keys()
        assert again["pressure_waiting_seconds_total/cpu"] >= first["pressure_waiting_seconds_total/cpu"]
        watched.runner.close()


@needs_group(UNIFIED)
def test_a_sidecar_finds_the_models_group() -> None:
    """Namespaces as Kubernetes makes them: through the model's own mount, with rights; or through the host's."""
    with made(UNIFIED) as pod, made(UNIFIED, below=pod) as ours, made(UNIFIED, below=pod) as theirs:
        found = os.stat(theirs)
        identity = [found.st_dev, found.st_ino]
        with contained(theirs, "root") as roots, contained(theirs, "nobody") as nobodys:
            assert seen_by_sidecar(ours, roots, "root") == seen_by_sidecar(ours, nobodys, "root") == [1, identity]
            assert seen_by_sidecar(ours, nobodys, "nobody") == [1, identity]
            assert seen_by_sidecar(ours, roots, "nobody") == "permission"
            # Over a folder that everybody may enter, in that mount namespace alone.
            mount = f"mount --bind {pod.parent} /mnt"
            assert seen_by_sidecar(ours, roots, "nobody", before=mount) == [2, identity], "the pod's group as well"
