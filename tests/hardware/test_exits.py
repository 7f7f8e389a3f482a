"""Why processes ended: codes, signals, kills for want of memory; never a guess."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.target import exits
from pilotfish_agent.target.exit_feed import Record
from pilotfish_agent.target.exits import CAUSES, KILL_SECONDS, Ends, cause
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import ManualClock, SystemClock
from tests.limits import little_memory

ROOT, WORKER = (10, 1), (11, 2)
KILLED = int(signal.SIGKILL)


def settle(ends: Ends, *statuses: int | None, kills: int | None = None, now: float = 0.0, root: bool = False) -> None:
    """Members with these statuses have gone."""
    for status in statuses:
        ends.ended(ROOT if root else WORKER, status, root=root)
        ends.gone(ROOT if root else WORKER)
    ends.settle([ROOT], (), kills, now)


def counts(ends: Ends) -> dict[str, int]:
    """Causes that have occurred."""
    return {name: n for name, n in ends.counts.items() if n}


@given(st.integers(0, 0xFFFF))
def test_every_status_has_one_cause(status: int) -> None:
    """As the manual page of wait says."""
    assert cause(status) in CAUSES
    if os.WIFEXITED(status):
        assert cause(status) == ("exit_nonzero" if os.WEXITSTATUS(status) else "exit_zero")
    elif os.WIFSIGNALED(status):
        assert cause(status) == "signal"


def test_a_kill_that_the_counter_tells_is_one_exit() -> None:
    """One a kill; what was killed beyond that was killed by somebody; other signals are never the kernel's."""
    ends = Ends()
    settle(ends, kills=4)
    settle(ends, KILLED, KILLED, int(signal.SIGTERM), 0, None, kills=5)
    assert counts(ends) == {"oom": 1, "signal": 2, "exit_zero": 1, "unknown": 1}


def test_what_the_counter_said_before_we_came_is_nobodys_end() -> None:
    """Only a rise says anything; without a counter nothing is guessed."""
    ends = Ends()
    settle(ends, KILLED, kills=7)
    settle(ends, KILLED)
    assert counts(ends) == {"signal": 2}


def test_a_kill_waits_for_its_exit_but_not_for_ever() -> None:
    """The counter moves first; gigabytes take seconds to give back."""
    ends = Ends()
    settle(ends, kills=0)
    settle(ends, kills=2)
    settle(ends, KILLED, kills=2, now=KILL_SECONDS - 1)
    settle(ends, KILLED, kills=2, now=KILL_SECONDS)
    assert counts(ends) == {"oom": 1, "signal": 1}


def test_the_end_of_the_watched_process_is_kept() -> None:
    """Its cause too, unless nobody can tell which of several was killed for want of memory."""
    ends = Ends()
    settle(ends, kills=0)
    settle(ends, 3 << 8, root=True, kills=0)
    assert ends.root is not None
    assert (ends.root.key, ends.root.status, ends.root.cause) == (ROOT, 768, "exit_nonzero")
    settle(ends, KILLED, root=True, kills=1)
    assert ends.root.cause == "oom"
    ends.ended(WORKER, KILLED, root=False)
    settle(ends, KILLED, root=True, kills=2)
    assert ends.root.cause == "signal"
    settle(ends, None, root=True, kills=2)
    assert ends.root.cause == "unknown"


def test_a_record_tells_what_the_pidfd_does_not() -> None:
    """Before Linux 6.15; it may come before the process is seen to have gone, and is no end of its own."""
    ends = Ends()
    told = [[Record(11, 10, 5 << 8, (1, 0, 0, 0), (0.0, 0, 0)), Record(77, 10, 0, (1, 0, 0, 0), (0.0, 0, 0))], [], []]
    ends.records = lambda: told.pop(0)
    ends.settle([ROOT, WORKER], {77}, None, 0.0)
    assert counts(ends) == {}, "11 is a member, 77 is none of the tree's"
    settle(ends, None)
    assert counts(ends) == {"exit_nonzero": 1}
    ends.settle([ROOT], (), None, 0.0)
    assert not ends.final


def test_a_record_that_comes_late_is_no_second_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round is bounded: after a storm the record of a member may come rounds after the member is gone."""
    monkeypatch.setattr(exits, "ROUND", 1)
    foreign, own, below = (
        Record(pid, ppid, 5 << 8, (1, 0, 0, 0), (0.0, 0, 0)) for pid, ppid in ((98, 99), (11, 10), (12, 11))
    )
    ends = Ends()
    told = [[foreign], [foreign], [own], [below], [], []]
    ends.records = lambda: told.pop(0)
    settle(ends, 0)
    for _ in range(5):
        ends.settle([ROOT], (), None, 0.0)
        assert own not in (record for record, _ in ends.unseen)
        assert not ends.final
    assert counts(ends) == {"exit_zero": 1, "exit_nonzero": 1}, "that of its own child counts"


LIMIT = 40 << 20
EATER = """
import os, sys
def eat():
    kept = []
    while True:
        kept.append(bytearray(1 << 20))
print("up", flush=True)
for line in sys.stdin:
    child = os.fork() if line == "worker\\n" else 0
    if child == 0:
        if line == "worker\\n":
            open("/proc/self/oom_score_adj", "w").write("900")
        eat()
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture
def small() -> Iterator[Path]:
    """A memory group of version 1 with little memory."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(little_memory(f"pf-test-{os.getpid()}", LIMIT))
        except OSError:
            pytest.skip("needs root and a memory control group of version 1 in which groups can be made")
        yield folder


def test_the_kernel_kills_for_want_of_memory(small: Path) -> None:
    """For real: first a worker, then the model itself; a worker killed by hand is a signal."""
    command = ("sh", "-c", f'echo $$ > {small}/cgroup.procs; exec "$@"', "sh", sys.executable, "-I", "-S", "-c", EATER)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as model:
        assert model.stdin is not None
        assert model.stdout is not None
        model.stdout.readline()
        tree = ProcessTree(model.pid, None, clock=SystemClock())
        group = ControlGroup(tree)
        tree.oom_kills = group.oom_kills
        tree.scan()
        model.stdin.write("worker\n")
        model.stdin.flush()
        while not tree.exits["oom"] and len(tree.members) < 2:
            tree.scan()
        assert int(model.stdout.readline()) & 0x7F == KILLED
        while not sum(tree.exits.values()):
            tree.scan()
        assert {k: v for k, v in tree.exits.items() if v} == {"oom": 1}
        model.stdin.write("model\n")
        model.stdin.flush()
        model.wait()
        tree.scan()
        assert tree.exits["oom"] == 2
        assert tree.ends.root is not None
        assert tree.ends.root.cause == "oom"
        group.close()
        tree.close()


def test_a_killed_worker_is_no_want_of_memory() -> None:
    """The real counter stands still."""
    with subprocess.Popen(("sh", "-c", "sleep 60 & wait; sleep 60"), start_new_session=True) as model:
        tree = ProcessTree(model.pid, None, clock=ManualClock())
        tree.oom_kills = ControlGroup(tree).oom_kills
        while len(tree.living) < 2:
            tree.scan()
        os.kill(tree.living[1].pid, signal.SIGKILL)
        while not sum(tree.exits.values()):
            tree.scan()
        assert tree.exits["signal"] + tree.exits["unknown"] == 1
        os.killpg(model.pid, signal.SIGKILL)
        tree.close()
