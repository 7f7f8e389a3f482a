"""The bars on the model's control group: the kernel's own numbers, a trigger that fires in time, and almost no cost.

Version 1 and hybrid are real groups of this machine, made for the run. Version 2 has its `cpu.max` and `memory.*` only
where a machine has no version 1: those are frozen trees, and the row says so.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bars import Result, bar
from pilotfish_agent.hardware import cgroup_cpu, cgroup_memory, cgroup_pressure
from pilotfish_agent.hardware._context import Collector, HardwareContext, HostContext
from pilotfish_agent.target.group import UNIFIED, ControlGroup, Group
from pilotfish_agent.target.pressure import THRESHOLDS, WINDOW, Triggers, parse_pressure
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import SystemClock
from pilotfish_core.metrics import Sample
from tests.hardware import real_groups
from tests.hardware.fake_proc import context, frozen
from tests.hardware.real_groups import contained, counts, join, made, seen_by_sidecar

ALLOWED_US = 40.0
TRIGGER = "<= 2 windows after pressure begins, <= 5 ms CPU"
KILLS = 3
BUSY = "while True: pass"
MAPPED = """
import mmap, os
weights = mmap.mmap(os.open("{}", os.O_RDONLY), 0, prot=mmap.PROT_READ)
while True:
    for at in range(0, len(weights), 4096): weights[at]
"""
SLEEPS = "import time; time.sleep(600)"
EATER = f"""
import os, sys, time
sys.stdin.readline()
for _ in range({KILLS}):
    child = os.fork()
    if child == 0:
        eaten = []
        while True: eaten.append(bytearray(b"x" * (4 << 20)))
    os.waitpid(child, 0)
print("done", flush=True)
time.sleep(600)
"""
FROZEN = {
    "cgroup-pod-v2": {
        "cgroup_cpu_limit_cores": 1.5,
        "cgroup_cpu_throttled_periods_total": 911,
        "cgroup_cpu_throttled_seconds_total": 45.678901,
        "cgroup_memory_bytes": 1536 << 20,
        "cgroup_memory_limit_bytes": 2048 << 20,
        "cgroup_oom_kills_total": 2,
    },
    "cgroup-nested-v2": {
        "cgroup_cpu_limit_cores": 2.0,
        "cgroup_cpu_throttled_periods_total": 50,
        "cgroup_cpu_throttled_seconds_total": 2.5,
        "cgroup_memory_bytes": 1024 << 20,
        "cgroup_memory_limit_bytes": 2048 << 20,
        "cgroup_oom_kills_total": 0,
    },
}
"""What each frozen tree's files say: a pod seen from its sidecar, and a container below a pod's CPU limit."""


def _collectors(watched: HardwareContext) -> list[Collector]:
    return [part.make(watched) for part in (cgroup_cpu, cgroup_memory, cgroup_pressure)]


def _watched(pid: int) -> HardwareContext:
    clock = SystemClock()
    tree = ProcessTree(pid, None, clock=clock)
    return HardwareContext(HostContext(clock), tree, "model", ControlGroup(tree))


def _values(watched: HardwareContext, collectors: list[Collector]) -> dict[str, float]:
    watched.tree.scan()
    watched.group.refresh()
    return {
        r.metric.name.removeprefix("pilotfish_"): float(r.value)  # type: ignore[arg-type]
        for collector in collectors
        for r in collector.collect()
        if isinstance(r, Sample)
    }


@contextmanager
def _started(code: str, number: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    pipe = subprocess.PIPE
    running = [
        subprocess.Popen((sys.executable, "-c", code), stdin=pipe, stdout=pipe, text=True) for _ in range(number)
    ]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()


def _lacking(*controllers: str) -> Result | None:
    """The row's answer where no such group can be made."""
    names = [c or "version 2" for c in controllers if real_groups.hierarchy(c) is None]
    return Result(f"no control groups of {', '.join(names)} can be made here", None) if names else None


@bar("control group: throttling is the kernel's own count (real, version 1)", "equal, and above 0")
def throttling() -> Result:
    """A fifth of a core below half a core, for two busy processes."""
    if (absent := _lacking("cpu")) is not None:
        return absent
    with _started(BUSY, 2) as models, made("cpu") as pod, made("cpu", below=pod) as group:
        (pod / "cpu.cfs_quota_us").write_text("50000")
        (group / "cpu.cfs_quota_us").write_text("20000")
        for model in models:
            join(group, model.pid)
        watched = _watched(models[0].pid)
        collectors = _collectors(watched)
        _values(watched, collectors)
        time.sleep(1.5)
        for model in models:
            model.send_signal(signal.SIGSTOP)
        kernel: dict[str, int] = {}
        while kernel != (kernel := counts(group, "cpu.stat")):  # until the last period has ended
            time.sleep(0.3)
        found = _values(watched, collectors)
        ours = [found[f"cgroup_cpu_{name}_total"] for name in ("periods", "throttled_periods", "throttled_seconds")]
        theirs = [kernel["nr_periods"], kernel["nr_throttled"], kernel["throttled_time"] / 1e9]
        limit = found["cgroup_cpu_limit_cores"]
        text = "{:.0f} periods, {:.0f} throttled, {:.3f} s"
        watched.group.close()
    measured = f"ours {text.format(*ours)}; kernel {text.format(*theirs)}; limit {limit:g} cores (nested in .5)"
    return Result(measured, ours == theirs and theirs[1] > 0 and limit == 0.2)


@bar("control group: kills for want of memory are the kernel's own count (real, version 1)", "equal, and above 0")
def kills() -> Result:
    """Workers that eat more than the limit; the model itself lives on."""
    if (absent := _lacking("memory")) is not None:
        return absent
    with _started(EATER) as [model], made("memory") as group:
        (group / "memory.limit_in_bytes").write_text(str(48 << 20))
        (group / "memory.swappiness").write_text("0")
        join(group, model.pid)
        watched = _watched(model.pid)
        collectors = _collectors(watched)
        before = _values(watched, collectors)["cgroup_oom_kills_total"]
        assert model.stdin is not None
        assert model.stdout is not None
        print(file=model.stdin, flush=True)
        model.stdout.readline()
        after = _values(watched, collectors)["cgroup_oom_kills_total"]
        kernel = counts(group, "memory.oom_control")["oom_kill"]
        watched.group.close()
    measured = f"ours {before:.0f} then {after:.0f}, kernel {kernel}, {KILLS} workers eaten up"
    return Result(measured, before == 0 and after == kernel == KILLS)


@bar("control group: the trigger on CPU pressure fires (real, hybrid, 2 s window)", TRIGGER)
def cpu_trigger() -> Result:
    """More busy processes than CPUs."""
    if (absent := _lacking(UNIFIED)) is not None:
        return absent
    with _started(BUSY, 2 * (os.cpu_count() or 1)) as models, made(UNIFIED) as group:
        return _fires("cpu", group, models)


@bar("control group: the trigger on memory pressure fires (real, hybrid, 2 s window)", TRIGGER)
def memory_trigger() -> Result:
    """Mapped weights three times as large as the memory limit: each page is dropped before it is needed again."""
    if (absent := _lacking("memory", UNIFIED)) is not None:
        return absent
    with ExitStack() as stack:
        weights = stack.enter_context(tempfile.NamedTemporaryFile())
        for _ in range(144):
            weights.write(os.urandom(1 << 20))
        weights.flush()
        os.fsync(weights.fileno())
        os.posix_fadvise(weights.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # else they stay charged to us
        [model] = stack.enter_context(_started(MAPPED.format(weights.name)))
        limited = stack.enter_context(made("memory"))
        (limited / "memory.limit_in_bytes").write_text(str(48 << 20))
        join(limited, model.pid)
        return _fires("memory", stack.enter_context(made(UNIFIED)), [model])


def _fires(resource: str, folder: Path, models: list[subprocess.Popen[str]]) -> Result:
    """All begin at once; a non-blocking epoll is asked 10 times a second, 10 times as often as by the agent."""
    for model in models:
        model.send_signal(signal.SIGSTOP)
        join(folder, model.pid)
    watched = _watched(models[0].pid)
    watched.tree.scan()
    watched.group.refresh()
    group = watched.group.of(UNIFIED)
    assert isinstance(group, Group), group
    triggers = Triggers()
    triggers.arm(group)
    if resource not in triggers.armed:
        return Result(f"the kernel takes no trigger: {triggers.refused[resource]}", None)
    for model in models:
        model.send_signal(signal.SIGCONT)
    began, cpu = time.monotonic(), time.thread_time()
    while resource not in triggers.fired() and time.monotonic() - began < 10 * WINDOW:
        time.sleep(0.1)
    seconds, cost = time.monotonic() - began, 1e3 * (time.thread_time() - cpu)
    waited, _ = parse_pressure(group.read(f"{resource}.pressure"))
    look = _us(triggers.fired)
    triggers.close()
    watched.tree.close()
    watched.group.close()
    measured = (
        f"after {seconds:.2f} s with {waited:.2f} s of waiting (threshold {THRESHOLDS[resource]:g} s of {WINDOW:g} s); "
        f"{cost:.2f} ms CPU for the whole wait, {look:.1f} us a look"
    )
    return Result(measured, seconds <= 2 * WINDOW and cost <= 5.0)


@bar(
    "control group: the model's, from a sidecar container (real namespaces, version 2 hierarchy)",
    "the model's or a reason",
)
def sidecar() -> Result:
    """As the model's user, as another, and as another with the host's mount; the model is in a container of its own."""
    if (absent := _lacking(UNIFIED)) is not None:
        return absent
    with made(UNIFIED) as pod, made(UNIFIED, below=pod) as ours, made(UNIFIED, below=pod) as theirs:
        status = os.stat(theirs)
        model = [status.st_dev, status.st_ino]
        with contained(theirs, "root") as roots, contained(theirs, "nobody") as nobodys:
            found = {
                "the model's user": (seen_by_sidecar(ours, nobodys, "nobody"), [1, model]),
                "another user": (seen_by_sidecar(ours, roots, "nobody"), "permission"),
                "another user with the host's mount": (
                    seen_by_sidecar(ours, roots, "nobody", before=f"mount --bind {pod.parent} /mnt"),
                    [2, model],
                ),
            }
    words = {who: "its group" if seen == right != "permission" else str(seen) for who, (seen, right) in found.items()}
    measured = ", ".join(f"{who}: {what}" for who, what in words.items())
    return Result(measured, all(seen == right for seen, right in found.values()))


@bar("control group: version 2 (frozen trees, no such machine here)", "each file's number, never our own group's")
def version_2() -> Result:
    """`cpu.max`, `cpu.stat`, `memory.*` of a pod seen from its sidecar, and with a limit above the container."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for name, expected in FROZEN.items():
            watched = context(frozen(name, Path(folder) / name))
            found = _values(watched, _collectors(watched))
            wrong += [
                f"{name} {key}: {found.get(key)} for {value}"
                for key, value in expected.items()
                if found.get(key) != value
            ]
            watched.tree.close()
            watched.group.close()
    numbers = sum(map(len, FROZEN.values()))
    return Result(
        "; ".join(wrong) or f"{numbers} of {numbers} numbers on {len(FROZEN)} frozen trees (no real version 2)",
        not wrong,
    )


@bar("control group: CPU of one sample (hybrid: limits, throttling, memory, kills, pressure)", f"<= {ALLOWED_US:g} us")
def cost() -> Result:
    """All series of the group, the look whether it is still the same one included; limits are due each 10 s."""
    if (absent := _lacking("cpu", "memory", UNIFIED)) is not None:
        return absent
    with _started(SLEEPS) as [model], ExitStack() as groups:
        folders = [groups.enter_context(made(c)) for c in ("cpu", "memory", UNIFIED)]
        for folder in folders:
            join(folder, model.pid)
        watched = _watched(model.pid)
        _values(watched, collectors := _collectors(watched))
        series = sum(isinstance(r, Sample) for collector in collectors for r in collector.collect())

        def sample() -> None:
            watched.group.refresh()
            for collector in collectors:
                list(collector.collect())

        ours = _us(sample)
        slow = _us(lambda: _slow(watched, collectors))
        names = ("cpu.stat", "memory.usage_in_bytes", "memory.oom_control", *(f"{r}.pressure" for r in THRESHOLDS))
        places = [folder / n for folder in folders for n in names if (folder / n).exists()]
        opened = _us(lambda: [path.read_bytes() for path in places])
        watched.group.close()
    measured = (
        f"{ours:.1f} us for {series} series; {slow:.0f} us when limits are due; "
        f"the same {len(places)} files opened each time, nothing parsed: {opened:.0f} us"
    )
    return Result(measured, ours <= ALLOWED_US)


def _slow(watched: HardwareContext, collectors: list[Collector]) -> None:
    for collector in collectors:
        collector._next_slow = 0.0  # type: ignore[attr-defined]
    watched.group.refresh()
    for collector in collectors:
        list(collector.collect())


def _us(work: Callable[[], object], rounds: int = 9, repeats: int = 300) -> float:
    """The median of CPU microseconds a call."""
    found = []
    for _ in range(rounds):
        begin = time.thread_time_ns()
        for _ in range(repeats):
            work()
        found.append((time.thread_time_ns() - begin) / 1e3 / repeats)
    return statistics.median(found)
