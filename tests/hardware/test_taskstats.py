"""Run delay and context switches of all threads: by the kernel's accounting, and thread by thread."""

from __future__ import annotations

import itertools
import os
import resource
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.hardware import scheduling
from pilotfish_agent.target import taskstats
from pilotfish_agent.target.members import Refused
from pilotfish_agent.target.taskstats import Taskstats, stats_at
from pilotfish_agent.target.threads import EVERY, FEW, LIMIT, ByThread
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import ManualClock
from tests.hardware.fake_proc import FakeProc

AGGR_TGID, STATS, TGID = 5, 3, 2


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded."""
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


@contextmanager
def idle_threads(count: int) -> Iterator[None]:
    """So many more threads in this process."""
    go = threading.Event()
    threads = [threading.Thread(target=go.wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield
    go.set()
    for thread in threads:
        thread.join()


def test_taskstats_and_the_threads_agree() -> None:
    """Both ways to the context switches of all threads of this process; CAP_NET_ADMIN is needed for the first."""
    try:
        taskstats = Taskstats()
        first = taskstats.read(os.getpid())
    except OSError:
        pytest.skip("taskstats needs CAP_NET_ADMIN and CONFIG_TASKSTATS: run as root")
    tree = ProcessTree(os.getpid(), None, clock=ManualClock())
    tree.scan()
    (second,) = ByThread(ManualClock()).read(tree).values()
    third = taskstats.read(os.getpid())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    assert all(a <= c for a, c in zip(first, third, strict=True))
    assert second[1] <= third[1], "threads that ended before are missing in the sum over files"
    assert third[1] <= usage.ru_nvcsw
    with pytest.raises(ProcessLookupError):
        taskstats.read(2**22 + 1)
    assert taskstats.read(os.getpid()) >= third, "a refusal spoils nothing"
    taskstats.close()
    tree.close()


def kept() -> int:
    """Descriptors of ours that lead to a thread's files."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += "/task/" in os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
    return found


def test_what_ended_threads_had_stays() -> None:
    """Thread by thread the counts never fall, and their descriptors do not pile up."""
    clock = ManualClock()
    tree = ProcessTree(os.getpid(), None, clock=clock)
    tree.scan()
    by_thread = ByThread(clock)
    told = [(0.0, 0.0, 0.0)]
    for _ in range(3):
        with idle_threads(8):
            told += by_thread.read(tree).values()
            assert kept() >= 16
        told += by_thread.read(tree).values()
    assert kept() <= 2 * len(os.listdir("/proc/self/task")) + 1, "and the list of the main thread's children"
    assert all(a <= b for one, next_ in itertools.pairwise(told) for a, b in zip(one, next_, strict=True))
    assert told[-1][1] >= 3 * 8, "each thread that waited has switched at least once"
    tree.close()


def threaded(folder: Path, tids: dict[int, int], *, threads: int | None = None) -> FakeProc:
    """A process 10 with threads of these milliseconds of delay."""
    proc = FakeProc(folder)
    proc.spawn(10, 1, 5, threads=threads or len(tids))
    for tid, delay in tids.items():
        write(proc, tid, delay)
    return proc


def write(proc: FakeProc, tid: int, delay: int) -> None:
    """A thread's files, in place."""
    folder = proc.folder / "10" / "task" / str(tid)
    folder.mkdir(exist_ok=True)
    (folder / "schedstat").write_text(f"5 {delay * 10**6} 7\n")
    (folder / "status").write_text(f"voluntary_ctxt_switches:\t{delay}\nnonvoluntary_ctxt_switches:\t1\n")


def test_many_threads_are_read_every_five_seconds(tmp_path: Path) -> None:
    """Meanwhile the last counts are told: they are old, never wrong, never lower."""
    proc = threaded(tmp_path, {10: 3, 11: 4}, threads=FEW + 1)
    clock = ManualClock()
    tree = ProcessTree(10, None, str(tmp_path), clock=clock)
    tree.scan()
    by_thread = ByThread(clock)
    assert by_thread.read(tree) == {(10, 5): (0.007, 7.0, 2.0)}
    write(proc, 11, 14)
    clock.advance(EVERY - 1)
    assert by_thread.read(tree) == {(10, 5): (0.007, 7.0, 2.0)}
    clock.advance(1)
    assert by_thread.read(tree)[10, 5] == pytest.approx((0.017, 17.0, 2.0))
    proc.set(10, ppid=1, start_time=5, threads=2)
    tree.scan()
    write(proc, 11, 15)
    assert by_thread.read(tree)[10, 5] == pytest.approx((0.018, 18.0, 2.0)), "few are read at once"
    tree.close()


def test_a_thread_with_the_number_of_an_ended_one_counts_beside_it(tmp_path: Path) -> None:
    """Thread numbers are reused: a count that falls is another thread's."""
    proc = threaded(tmp_path, {10: 3, 11: 40})
    tree = ProcessTree(10, None, str(tmp_path), clock=ManualClock())
    tree.scan()
    by_thread = ByThread(ManualClock())
    by_thread.read(tree)
    write(proc, 11, 2)
    assert by_thread.read(tree)[10, 5] == pytest.approx((0.045, 45.0, 3.0))
    tree.close()


def test_too_many_threads_are_not_read(tmp_path: Path) -> None:
    """The signal is absent then, with its reason."""
    threaded(tmp_path, {10: 3}, threads=LIMIT + 1)
    tree = ProcessTree(10, None, str(tmp_path), clock=ManualClock())
    tree.scan()
    with pytest.raises(Refused, match="not_supported"):
        ByThread(ManualClock()).read(tree)
    tree.close()


def test_sums_keep_what_ended_processes_had() -> None:
    """A process that could not be read keeps its last counts; one that has gone is kept for ever."""
    sums = scheduling._Sums()
    assert sums.update({(1, 0): (1.0, 2.0, 3.0), (2, 0): (4.0, 5.0, 6.0)}, {(1, 0), (2, 0)}) == (5.0, 7.0, 9.0)
    assert sums.update({(1, 0): (2.0, 2.0, 3.0)}, {(1, 0), (2, 0)}) == (6.0, 7.0, 9.0)
    assert sums.update({(2, 9): (1.0, 1.0, 1.0)}, {(1, 0), (2, 9)}) == (7.0, 8.0, 10.0)
    assert sums.update({(1, 0): (0.5, 2.0, 3.0)}, {(1, 0), (2, 9)}) == (7.0, 8.0, 10.0), "stands still, never falls"


@given(st.binary(max_size=120))
def test_any_answer_is_understood_or_refused(data: bytes) -> None:
    """Nothing is read beyond a message's end."""
    try:
        at = stats_at(data, AGGR_TGID)
    except OSError:
        return
    assert at + 288 <= len(data)


@given(st.integers(288, 600), st.sampled_from([b"", attribute(6, b"")]))
def test_numbers_are_found_behind_whatever_stands_before_them(size: int, padding: bytes) -> None:
    """Some machines pad the numbers to 8 bytes; the struct grows with each version."""
    before = attribute(TGID, b"\1\0\0\0") + padding
    answer = bytes(taskstats.HEADERS) + attribute(AGGR_TGID, before + attribute(STATS, bytes(size)))
    assert stats_at(answer, AGGR_TGID) == taskstats.HEADERS + 4 + len(before) + 4
    with pytest.raises(OSError, match="without numbers"):
        stats_at(answer[: taskstats.HEADERS + 4], AGGR_TGID)


def test_the_kernel_does_not_answer_for_another_proc(tmp_path: Path) -> None:
    """PIDs of a frozen tree, or of another namespace's `/proc`, mean nothing to it."""
    assert scheduling._taskstats(str(tmp_path)) is None
