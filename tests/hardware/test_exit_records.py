"""The kernel's records of ended processes: read, related to the tree, and added to its sums."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.hardware import exit_records
from pilotfish_agent.hardware._context import HostContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.target import exit_feed, taskstats
from pilotfish_agent.target.exit_feed import ExitRecords, Feed, Kin, Layout, Record
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import ManualClock, SystemClock
from pilotfish_core.metrics import Sample, Unavailable
from tests.hardware.test_taskstats import attribute

SIZE = 560
HEADERS = bytes(taskstats.HEADERS)


def stats(*, status: int = 0, flag: int = 0x20, run: int = 0, ppid: int = 1, tgid: int = 7, version: int = 16) -> bytes:
    """A `struct taskstats`: three quarters of its time in the system, 11 and 2 faults."""
    data = bytearray(SIZE)
    struct.pack_into("=HxxIB", data, 0, version, status, flag)
    struct.pack_into("=Q", data, 24, 2 * 10**9)
    struct.pack_into("=Q", data, 72, run)
    struct.pack_into("=I", data, 132, ppid)
    struct.pack_into("=QQQQ", data, 152, 1000, 3000, 11, 2)
    struct.pack_into("=QQ", data, 272, 5, 6)
    struct.pack_into("=I", data, 368, tgid)
    return bytes(data)


def message(one: bytes, every: bytes | None = None) -> bytes:
    """A record of a thread, with the sums over its process behind it."""
    data = HEADERS + attribute(4, attribute(1, b"\7\0\0\0") + attribute(3, one))
    return data if every is None else data + attribute(5, attribute(2, b"\7\0\0\0") + attribute(3, every))


LAYOUT = Layout(message(stats()))


def read(data: bytes) -> Record | None:
    """What is understood of a message in a larger buffer."""
    return LAYOUT.record(data + bytes(1000), len(data))


def test_a_record_of_a_process_is_read() -> None:
    """Run time is split as ticks tell, the status is the wait status."""
    assert read(message(stats(status=768, run=10**9))) == Record(7, 1, 768, (100.0, 75.0, 11, 2), (2.0, 5, 6))


def test_sums_over_all_threads_are_taken() -> None:
    """The last thread's status and parent, the whole process' time."""
    found = read(message(stats(status=9, run=10**9), stats(run=4 * 10**9, flag=0, tgid=0, ppid=0)))
    assert found == Record(7, 1, 9, (400.0, 300.0, 0, 0), (2.0, 5, 6))


def test_other_threads_are_none_and_old_kernels_are_refused() -> None:
    """Only a process' last thread has the flag; before version 12 nobody has it."""
    assert read(message(stats(flag=0))) is None
    with pytest.raises(OSError, match="version 11"):
        Layout(message(stats(version=11)))


@given(st.binary(max_size=700), st.integers(0, 1300))
def test_no_bytes_break_the_reader(data: bytes, cut: int) -> None:
    """Garbage, and a good record that is cut anywhere, are a record or none."""
    read(data)
    read(message(stats(run=10**9), stats())[:cut])
    try:
        Layout(data)
    except OSError:
        pass


def record(pid: int, ppid: int) -> Record:
    """An end that used nothing."""
    return Record(pid, ppid, 0, (0, 0, 0, 0), (0.0, 0, 0))


def kin(found: list[tuple[Record, tuple[int, int]]]) -> list[tuple[int, int]]:
    """(pid, member's pid)."""
    return [(r.pid, key[0]) for r, key in found]


def test_kin_are_found_through_parents_that_have_ended() -> None:
    """A worker's child whose own parent no sample saw either belongs to the nearest member."""
    members = {10: (10, 1), 20: (20, 2)}
    assert kin(Kin().sort([record(31, 30), record(30, 20), record(99, 98), record(40, 10)], members)) == [
        (31, 20),
        (30, 20),
        (40, 10),
    ]


def test_kin_wait_one_round_for_their_parent() -> None:
    """The parent's record, or the parent as a new member, may come one round later, and not more."""
    sorter = Kin()
    assert sorter.sort([record(31, 30), record(51, 50), record(71, 70)], {10: (10, 1)}) == []
    assert sorter.waits
    assert kin(sorter.sort([record(30, 10)], {10: (10, 1), 50: (50, 3)})) == [(31, 10), (51, 50), (30, 10)]
    assert sorter.sort([record(70, 10)], {10: (10, 1)})[0][0].pid == 70, "71 has waited long enough"


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=12))
def test_circles_end(pairs: list[tuple[int, int]]) -> None:
    """Numbers that were given again may seem to be their own ancestors."""
    sorter = Kin()
    for _ in range(2):
        assert all(key == (1, 0) for _, key in sorter.sort([record(*p) for p in pairs], {1: (1, 0)}))


class Fake(ExitRecords):
    """A listener that is given its records."""

    def __init__(self) -> None:
        self.queue: list[Record] = []
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def read(self) -> list[Record]:
        found, self.queue = self.queue, []
        return found

    @property
    def lost(self) -> int:
        return 3


def test_every_reader_gets_every_record_once() -> None:
    """The first reader reads for all; a reader that never comes holds a bounded number, the rest is counted."""
    source = Fake()
    feed = Feed(source)
    one, two = feed.reader(), feed.reader()
    source.queue = [record(1, 1)]
    assert two() == []
    assert [r.pid for r in one()] == [r.pid for r in two()] == [1]
    assert one() == two() == []
    for _ in range(3):
        source.queue = [record(1, 1)] * (exit_feed.MOST // 2)
        one()
    assert len(two()) == exit_feed.MOST
    assert feed.lost == 3 + exit_feed.MOST // 2


def test_what_cannot_be_listened_to_is_absent_with_its_reason(tmp_path: Path) -> None:
    """Nobody listens, or the kernel does not give it: no 0."""
    for feed, reason in (
        (None, "disabled"),
        (Feed("permission"), "permission"),
        (Feed.of(str(tmp_path)), "not_supported"),
    ):
        (told,) = exit_records.make(HostContext(ManualClock(), exits=feed)).collect()
        assert isinstance(told, Unavailable)
        assert told.reason == reason
    (told,) = exit_records.make(HostContext(ManualClock(), exits=Feed(Fake()))).collect()
    assert isinstance(told, Sample)
    assert told.value == 3.0
    assert Feed("permission").reader()() == []


def test_a_collector_leaves_the_feed_to_whoever_made_it() -> None:
    """Trees read of it, too, and the agent closes it."""
    source = Fake()
    runner = Runner(HostContext(ManualClock(), exits=Feed(source)), ["exit_records"])
    runner.collect()
    runner.close()
    assert not source.closed


@pytest.fixture
def feed() -> Iterator[Feed]:
    """The kernel's records, where we may have them."""
    found = Feed.of("/sys")
    if not isinstance(found.lost, int):
        pytest.skip(f"exit records need CAP_NET_ADMIN and Linux 6.0 in the first namespaces: {found.lost}")
    yield found
    found.close()


def test_the_kernel_tells_of_ends(feed: Feed) -> None:
    """Exit codes, signals, and the CPU of all threads, of processes that were never looked at."""
    take = feed.reader()
    code = "import threading\nt = threading.Thread(target=lambda: sum(range(10**6))); t.start(); t.join()"
    made = [subprocess.Popen(("sh", "-c", "exit 3")), subprocess.Popen(("sh", "-c", "kill -9 $$"))]
    made.append(subprocess.Popen((sys.executable, "-I", "-S", "-c", code)))
    for process in made:
        process.wait()
    found = {r.pid: r for r in take()}
    assert [os.waitstatus_to_exitcode(found[p.pid].status) for p in made] == [3, -9, 0]
    assert {found[p.pid].ppid for p in made} == {os.getpid()}
    assert found[made[2].pid].usage[0] > 1
    assert threading.get_native_id() not in found


ELSEWHERE = """
from pilotfish_agent.target.exit_feed import Feed
print(Feed.of("/sys").lost)
"""


@pytest.mark.parametrize("namespace", ["--net", "--pid", "--user"])
def test_in_another_namespace_there_are_none(namespace: str, feed: Feed) -> None:
    """The kernel refuses, or, in another network, says yes and sends them elsewhere: no number is made up."""
    inside = subprocess.run(
        ("unshare", "--fork", namespace, sys.executable, "-c", ELSEWHERE), capture_output=True, text=True, timeout=60
    )
    if inside.returncode and "unshare" in inside.stderr:
        pytest.skip(inside.stderr.strip())
    assert inside.stdout.strip() in {"not_supported", "permission"}


WORKERS = """
import os, signal, sys, time
if sys.argv[1] == "ignored":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("up", flush=True)
sys.stdin.readline()
for number in range(12):
    child = os.fork()
    if child == 0:
        end = time.process_time() + .03
        while time.process_time() < end: pass
        os._exit(number % 2)
    try:
        os.waitpid(child, 0)
    except ChildProcessError:
        pass
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("mode", ["waited", "ignored"])
@pytest.mark.parametrize("looks", [0, 200])
def test_workers_that_no_sample_saw_are_counted(mode: str, looks: int, feed: Feed) -> None:
    """Whoever waits for them, and whether samples see them or not: each end once, all of their CPU, none twice."""
    pipe = subprocess.PIPE
    command = (sys.executable, "-I", "-S", "-c", WORKERS, mode)
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        tree = ProcessTree(process.pid, None, clock=SystemClock())
        tree.ends.records = feed.reader()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        tree.scan()
        before = tree.used
        process.stdin.write("\n")
        process.stdin.flush()
        for _ in range(looks):
            tree.scan()
        process.stdout.readline()
        tree.scan()
        tree.scan()
        used = sum(tree.used[:2]) - sum(before[:2])
        assert tree.exits == {"exit_zero": 6, "exit_nonzero": 6, "signal": 0, "oom": 0, "unknown": 0}
        assert used >= 12 * 3
        assert used <= 12 * 3 * 1.5 + 4
        process.kill()
        process.wait()
        tree.scan()
        assert tree.exits["signal"] == 1
        assert tree.ends.root is not None
        assert tree.ends.root.cause == "signal"
        assert tree.ends.root.status == signal.SIGKILL
        tree.close()


ZOMBIES = """
import os, sys, time
print("up", flush=True)
for line in sys.stdin:
    if line == "fork\\n":
        children = []
        for _ in range(3):
            children.append(os.fork())
            if not children[-1]:
                os._exit(5)
        for child in children:
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    else:
        for child in children:
            os.waitpid(child, 0)
    print("done", flush=True)
"""


def test_zombies_that_nobody_waits_for_are_counted_once(feed: Feed) -> None:
    """Their record comes at their end, and they stay to be seen for as long as their parent likes."""
    pipe = subprocess.PIPE
    with subprocess.Popen((sys.executable, "-I", "-S", "-c", ZOMBIES), stdin=pipe, stdout=pipe, text=True) as process:
        tree = ProcessTree(process.pid, None, clock=SystemClock())
        tree.ends.records = feed.reader()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        tree.scan()
        for order in ("fork", "wait", "fork", "wait"):
            process.stdin.write(f"{order}\n")
            process.stdin.flush()
            process.stdout.readline()
            tree.scan()
            tree.scan()
            assert len(tree.members) == 1
        assert {cause: n for cause, n in tree.exits.items() if n} == {"exit_nonzero": 6}
        process.kill()
        tree.close()
