"""The real `/proc`, with psutil and the kernel's own accounting as oracles."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import SystemClock
from pilotfish_core.metrics import Sample

WORKERS = """
import os, threading, time
for _ in range(2):
    if os.fork() == 0:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        kept = bytearray(8 << 20), [open("/dev/null") for _ in range(5)]
        print("up", flush=True)
        time.sleep(60)
print("up", flush=True)
time.sleep(60)
"""
HEADLESS = """
import ctypes, os, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print("up", flush=True)
ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[os.uname().machine], 0)
"""
"""The main thread ends itself alone (exit, not exit_group)."""
CHURN = """
import os, signal, sys, time
if sys.argv[1] == "ignored":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(12):
    child = os.fork()
    if child == 0:
        end = time.process_time() + .08
        while time.process_time() < end: pass
        os._exit(3)
    if sys.argv[1] == "ignored":
        time.sleep(.12)
    else:
        os.waitpid(child, 0)
print("done", flush=True)
time.sleep(60)
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a Python program in a process group of its own, and ends the group afterwards."""
    running: list[subprocess.Popen[str]] = []

    def run(code: str, *args: str, lines: int = 1) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        running.append(process)
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        return process

    yield run
    for process in running:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def runner(pid: int) -> Runner:
    """All collectors over a live tree."""
    clock = SystemClock()
    tree = ProcessTree(pid, None, clock=clock)
    return Runner(HardwareContext(HostContext(clock), tree, "live", ControlGroup(tree)))


def values(watched: Runner) -> dict[tuple[str, str | None], float]:
    """Samples by metric and last label."""
    return {
        (r.metric.name.removeprefix("pilotfish_"), r.labels[-1]): float(r.value)  # type: ignore[arg-type]
        for r in watched.collect()
        if isinstance(r, Sample)
    }


def test_it_agrees_with_psutil(start: Callable[..., subprocess.Popen[str]]) -> None:
    """Members, CPU, memory, threads, files, io and start time of a tree at rest."""
    process = start(WORKERS, lines=3)
    watched = runner(process.pid)
    found = values(watched)
    root = psutil.Process(process.pid)
    members = [root, *root.children(recursive=True)]
    assert found["processes", "worker"] == len(members) - 1 == 2
    assert found["process_threads", "live"] == sum(m.num_threads() for m in members) == 5
    assert found["process_open_fds", "live"] == sum(m.num_fds() for m in members)
    assert found["process_start_time_seconds", "live"] == pytest.approx(root.create_time(), abs=1.5)
    cpu = sum(m.cpu_times().user + m.cpu_times().system for m in members)
    assert found["process_cpu_seconds_total", "user"] + found["process_cpu_seconds_total", "system"] == pytest.approx(
        cpu, abs=0.1
    )
    resident = sum(m.memory_info().rss for m in members)
    assert found["process_resident_memory_bytes", "live"] == pytest.approx(resident, rel=0.05)
    assert found["process_memory_bytes", "anonymous"] >= 2 * 8 << 20
    assert found["process_io_bytes_total", "write"] == sum(m.io_counters().write_bytes for m in members)
    watched.close()


@pytest.mark.parametrize("mode", ["waited", "ignored"])
def test_churn_never_lowers_a_counter(mode: str, start: Callable[..., subprocess.Popen[str]]) -> None:
    """Short-lived workers come and go: every counter only rises, whoever waits for them."""
    process = start(CHURN, mode, lines=0)
    watched = runner(process.pid)
    before = values(watched)
    assert process.stdout is not None
    while not select.select([process.stdout], [], [], 0)[0]:
        now = values(watched)
        falling = {k: (before[k], v) for k, v in now.items() if k[0].endswith("_total") and v < before.get(k, 0)}
        assert not falling
        before = now
        time.sleep(0.01)
    own = psutil.Process(process.pid).cpu_times()
    after = values(watched)
    total = after["process_cpu_seconds_total", "user"] + after["process_cpu_seconds_total", "system"]
    if mode == "waited":
        assert total == pytest.approx(sum(own[:4]), abs=0.02), "exactly what the kernel added up"
    assert total > own.user + own.system
    watched.close()


def test_exits_are_told_with_their_cause(start: Callable[..., subprocess.Popen[str]]) -> None:
    """A worker killed by a signal counts as that, where the kernel tells (6.15 and newer), else as unknown."""
    process = start(WORKERS, lines=3)
    watched = runner(process.pid)
    values(watched)
    victim = psutil.Process(process.pid).children()[0]
    victim.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = values(watched)
        exits = {cause: n for (name, cause), n in found.items() if name == "process_exits_total"}
        if sum(exits.values()):
            break
        time.sleep(0.02)
    assert exits["signal"] + exits["unknown"] == 1
    assert exits["exit_zero"] == exits["exit_nonzero"] == 0
    assert found["processes", "worker"] == 1
    watched.close()


def test_a_process_whose_main_thread_has_ended_lives(start: Callable[..., subprocess.Popen[str]]) -> None:
    """The kernel calls it a zombie by its main thread; its pidfd knows that others still work."""
    process = start(HEADLESS)
    watched = runner(process.pid)
    deadline = time.monotonic() + 20
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    found = values(watched)
    assert found["processes", "main"] == 1
    assert found["process_threads", "live"] == 2
    assert not sum(n for (name, _), n in found.items() if name == "process_exits_total")
    watched.close()
