"""Processes that have left the tree, in control groups of the real kernel."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotfish_agent.target.daemons import Daemons
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.procfs import CLOCK_TICKS
from pilotfish_agent.target.tree import INIT, THREADS_EVERY, ProcessTree
from pilotfish_core.clock import ManualClock

MODEL = """
import os, sys, time
with open(sys.argv[1] + "/cgroup.procs", "w") as file: file.write("0")
os.setsid()
sys.stdin.readline()
if os.fork() == 0:
    if os.fork(): os._exit(0)
    while os.getppid() == os.getpgid(0): time.sleep(.001)
    print(os.getpid(), os.getppid(), flush=True)
    time.sleep(60)
os.wait()
time.sleep(60)
"""
"""A double fork: the daemon tells its number when its middle parent has ended."""
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37  # man 2 prctl


@pytest.fixture(autouse=True)
def no_subreaper() -> Iterator[None]:
    """Where this process adopts orphans, as after a test of the PID-1 stub, init does not see them."""
    libc, before = ctypes.CDLL(None), ctypes.c_int()
    libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    yield
    libc.prctl(_PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of version 2 of our own, removed with all that is in it."""
    mounts = [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")]
    top = next((m for m in mounts if (m / "cgroup.controllers").exists()), None)
    if top is None or not os.access(top, os.W_OK):
        pytest.skip("needs a control group file system of version 2, and root")
    folder = top / f"pilotfish-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    while pids := (folder / "cgroup.procs").read_text().split():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    folder.rmdir()


@pytest.fixture
def older() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has been there for more than a clock tick before what comes after it."""
    process = subprocess.Popen(["sleep", "60"])
    time.sleep(2 / CLOCK_TICKS)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def model(group: Path) -> Iterator[subprocess.Popen[str]]:
    """The model, in its group before it does anything else."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", MODEL, str(group)], stdin=pipe, stdout=pipe, text=True) as process:
        while str(process.pid) not in (group / "cgroup.procs").read_text().split():
            assert process.poll() is None
        yield process
        process.kill()  # and not its daemon, which has its pipes


def watch(pid: int) -> tuple[ProcessTree, ManualClock]:
    """Its tree, as an agent makes it, with its first sample taken."""
    clock = ManualClock()
    tree = ProcessTree(pid, None, clock=clock)
    group = ControlGroup(tree)
    tree.daemons = Daemons(tree, group)
    tree.scan()
    group.refresh()
    return tree, clock


def leave(process: subprocess.Popen[str]) -> int:
    """The model starts its daemon; where another process than init adopts it, there is nothing to test."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    daemon, adopter = map(int, process.stdout.readline().split())
    if adopter != INIT:
        pytest.skip(f"orphans are adopted by process {adopter} here, not by init")
    return daemon


def pids(tree: ProcessTree, clock: ManualClock) -> set[int]:
    """The members after the next slow look."""
    clock.advance(THREADS_EVERY)
    tree.scan()
    return {m.pid for m in tree.members}


def test_a_daemon_in_the_models_own_group_is_found(model: subprocess.Popen[str]) -> None:
    """It forked twice between two samples; nobody lists it as a child but init."""
    tree, clock = watch(model.pid)
    daemon = leave(model)
    assert pids(tree, clock) == {model.pid, daemon}
    tree.close()


def test_a_group_with_an_older_process_is_not_the_models(
    older: subprocess.Popen[bytes], model: subprocess.Popen[str], group: Path
) -> None:
    """A login session, say: what init has adopted there may be anybody's."""
    (group / "cgroup.procs").write_text(str(older.pid))
    tree, clock = watch(model.pid)
    leave(model)
    assert pids(tree, clock) == {model.pid}
    tree.close()


def test_a_group_that_we_are_in_is_not_the_models() -> None:
    """As where the agent runs in the model's container: nothing is asked of it."""
    tree = ProcessTree(os.getppid(), None, clock=ManualClock())
    group = ControlGroup(tree)
    tree.scan()
    group.refresh()
    assert list(Daemons(tree, group)()) == []
    tree.close()
