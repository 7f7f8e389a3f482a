"""Who belongs to the watched tree."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.target.procfs import ProcessFiles
from pilotfish_agent.target.tree import NEW, THREADS_EVERY, ProcessTree
from pilotfish_core.clock import ManualClock
from tests.hardware.fake_proc import FakeProc


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    """A root (10) with a child (11) and a grandchild (12)."""
    fake = FakeProc(tmp_path)
    fake.spawn(10, 1, 100)
    fake.spawn(11, 10, 101)
    fake.spawn(12, 11, 102)
    return fake


def tree(proc: FakeProc, **options: object) -> ProcessTree:
    """A tree over it, with the root's start time known."""
    return ProcessTree(10, 100, str(proc.folder), clock=ManualClock(), **options)  # type: ignore[arg-type]


def pids(watched: ProcessTree) -> list[int]:
    """The members' PIDs after a scan."""
    watched.scan()
    return [m.pid for m in watched.members]


def test_all_descendants_are_members_parents_first(proc: FakeProc) -> None:
    """Children of children too, found in one scan; new ones in the next."""
    watched = tree(proc)
    assert pids(watched) == [10, 11, 12]
    assert watched.alive == {(10, 100): None, (11, 101): (10, 100), (12, 102): (11, 101)}
    proc.spawn(13, 10, 103)
    assert pids(watched) == [10, 11, 12, 13]


def test_a_root_with_another_start_time_is_somebody_else(proc: FakeProc) -> None:
    """A recycled PID is not followed."""
    watched = ProcessTree(10, 99, str(proc.folder), clock=ManualClock())
    assert pids(watched) == []
    assert watched.root is None


def test_a_recycled_pid_is_a_new_member(proc: FakeProc) -> None:
    """The old one's exit is counted, the new one starts with its own key, and its files are the new ones."""
    watched = tree(proc)
    watched.scan()
    proc.reap(12)
    proc.spawn(12, 11, 555, cpu=(7, 7))
    watched.scan()
    watched.scan()
    assert {m.key for m in watched.members} == {(10, 100), (11, 101), (12, 555)}
    assert sum(watched.exits.values()) == 1


def test_a_pid_that_is_no_longer_a_child_is_not_taken(proc: FakeProc) -> None:
    """Listed as a child, but replaced by a stranger before we looked."""
    proc.children[10].append(77)
    proc.spawn(77, 1, 300)
    proc._list(10)
    assert pids(tree(proc)) == [10, 11, 12]


def test_an_orphan_stays_a_member(proc: FakeProc) -> None:
    """Its parent ends and init adopts it: it still belongs to the model, and so do its later children."""
    watched = tree(proc)
    watched.scan()
    proc.reap(11)
    proc.set(12, ppid=1, start_time=102)
    proc.spawn(14, 12, 104)
    assert pids(watched) == [10, 12, 14]
    assert watched.alive[(12, 102)] is None


def test_the_same_number_in_an_unchanged_list_is_another_process(proc: FakeProc) -> None:
    """A child is replaced by one with its PID, and started within the same clock tick: its parent's list reads as ever.

    The old one is gone in one sample, the new one there in the next: sums never see both as one.
    """
    watched = tree(proc)
    watched.scan()
    old = watched.members[2]
    before = watched.used
    proc.set(12, ppid=11, start_time=102, cpu=(500, 0))
    watched.scan()
    proc.reap(12)
    proc.spawn(12, 11, 102, cpu=(3, 0))
    assert pids(watched) == [10, 11]
    assert pids(watched) == [10, 11, 12]
    assert watched.members[2] is not old
    assert watched.used[0] == before[0] + 500 + 3


def test_views_are_kept_until_somebody_comes_or_goes(proc: FakeProc) -> None:
    """Collectors get the same objects sample after sample, and new ones with each change."""
    watched = tree(proc)
    watched.scan()
    views = watched.members, watched.living, watched.alive
    watched.scan()
    assert all(a is b for a, b in zip(views, (watched.members, watched.living, watched.alive), strict=True))
    proc.set(12, ppid=11, start_time=102, state="Z")
    watched.scan()
    assert len(watched.living) == len(views[1]) - 1


def test_what_the_tree_has_used_never_falls(proc: FakeProc) -> None:
    """User and system ticks, and page faults, of all members and their ended children."""
    proc.set(10, ppid=1, start_time=100, cpu=(5, 1), waited=(7, 2))
    proc.set(12, ppid=11, start_time=102, cpu=(100, 10))
    watched = tree(proc)
    watched.scan()
    assert watched.used[:2] == (112, 13)
    proc.reap(12)
    watched.scan()
    assert watched.used[:2] == (112, 13)


def test_roles_come_from_names_also_late(proc: FakeProc) -> None:
    """A fork is seen before it has become another program, and servers name their processes when they are up."""
    watched = tree(proc)
    watched.scan()
    assert [watched.role(m) for m in watched.members] == ["main", "worker", "worker"]
    (proc.folder / "11" / "cmdline").write_bytes(
        b"python\0-c\0from multiprocessing.resource_tracker import main;main(4)\0"
    )
    proc.set(11, ppid=10, start_time=101, cpu=(1, 0))
    proc.set(12, ppid=11, start_time=102, comm="VLLM::EngineCor")
    watched.scan()
    assert [watched.role(m) for m in watched.members] == ["main", "resource_tracker", "engine"]


def test_a_root_above_the_old_one_is_the_main_process(proc: FakeProc) -> None:
    """The tree has grown upwards: the old root is a worker now."""
    watched = ProcessTree(11, 101, str(proc.folder), clock=ManualClock())
    watched.scan()
    watched.follow(10, 100, restarted=False)
    assert pids(watched) == [10, 11, 12]
    assert [watched.role(m) for m in watched.members] == ["main", "worker", "worker"]
    assert watched.restarts == 0


def test_a_root_below_the_old_one_is_the_same_member(proc: FakeProc) -> None:
    """A launcher was found first, then the server below it."""
    watched = tree(proc)
    watched.scan()
    below = watched.members[1]
    watched.follow(11, 101, restarted=False)
    assert sorted(pids(watched)) == [10, 11, 12]
    assert watched.root is below
    assert [watched.role(m) for m in watched.members] == ["main", "worker", "worker"]


def test_a_root_that_has_ended_is_not_found_again(proc: FakeProc) -> None:
    """A process with its number, started in the same clock tick, is not it."""
    watched = tree(proc)
    watched.scan()
    proc.reap(10)
    watched.scan()
    proc.spawn(10, 1, 100)
    assert 10 not in pids(watched)
    watched.follow(10, 100)
    assert 10 in pids(watched)


def test_a_member_without_a_descriptor_left_is_not_dead(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours says nothing of the process: it keeps its last numbers."""
    watched = tree(proc)
    watched.scan()

    def refused(files: ProcessFiles, name: str) -> bytes:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(ProcessFiles, "read", refused)
    assert pids(watched) == [10, 11, 12]
    assert not sum(watched.exits.values())


def test_daemons_are_taken_from_whom_the_tree_asks(proc: FakeProc) -> None:
    """Only what init has adopted, with what it starts; and only at the slow looks."""
    proc.spawn(30, 1, 300)
    proc.spawn(31, 30, 301)
    proc.spawn(40, 0, 400)
    watched = tree(proc)
    watched.scan()
    watched.daemons = lambda: [10, 30, 40, 999]
    assert pids(watched) == [10, 11, 12]
    watched._clock.advance(THREADS_EVERY)  # type: ignore[attr-defined]
    assert pids(watched) == [10, 11, 12, 30, 31]
    assert watched.alive[(30, 300)] is None


def test_exclusion_takes_a_whole_branch(proc: FakeProc) -> None:
    """Our own processes are not the model's, nor is what they start."""
    assert pids(tree(proc, exclude=frozenset({11}))) == [10]


def test_the_number_of_members_is_bounded(proc: FakeProc) -> None:
    """Beyond the limit they are counted as other, and taken in when a place is free."""
    for pid in range(20, 30):
        proc.spawn(pid, 10, pid)
    watched = tree(proc, limit=8)
    assert len(pids(watched)) == 8
    assert watched.other == 5, "11 children and a grandchild, 7 taken"
    proc.reap(20)
    watched.scan()
    assert 26 in pids(watched), "the place is free from the scan that saw the exit"


def test_a_storm_of_forks_is_taken_in_bit_by_bit(proc: FakeProc) -> None:
    """All that are there at first, then so many a scan; nobody is forgotten when the list no longer changes."""
    watched = tree(proc)
    watched.scan()
    for pid in range(100, 100 + 2 * NEW + 5):
        proc.spawn(pid, 10, pid)
    found = [(len(pids(watched)), watched.other) for _ in range(4)]
    assert found == [(3 + NEW, NEW + 5), (3 + 2 * NEW, 5), (8 + 2 * NEW, 0), (8 + 2 * NEW, 0)]
    assert len(pids(tree(proc))) == 8 + 2 * NEW


def test_children_of_other_threads_are_found_slowly(proc: FakeProc) -> None:
    """A worker forked by a second thread stands in that thread's list: looked at each 10 s."""
    watched = tree(proc)
    watched.scan()
    proc.set(10, ppid=1, start_time=100, threads=2)
    (proc.folder / "10" / "task" / "19").mkdir()
    (proc.folder / "10" / "task" / "19" / "children").write_text("15 ")
    proc.spawn(15, 10, 105, listed=False)
    assert 15 not in pids(watched)
    watched._clock.advance(THREADS_EVERY)  # type: ignore[attr-defined]
    assert 15 in pids(watched)


def test_a_kernel_without_children_lists_is_searched(proc: FakeProc) -> None:
    """Without CONFIG_PROC_CHILDREN the parents in all of `/proc` tell the same tree."""
    for pid in (10, 11, 12):
        (proc.folder / str(pid) / "task" / str(pid) / "children").unlink()
    (proc.folder / "99").mkdir()
    (proc.folder / "99" / "stat").write_text("cut")
    assert pids(tree(proc)) == [10, 11, 12]


def test_a_zombie_ends_but_keeps_its_numbers_until_it_is_reaped(proc: FakeProc) -> None:
    """It is no live process; its exit is counted once, with the cause its status tells."""
    watched = tree(proc)
    watched.scan()
    proc.set(12, ppid=11, start_time=102, state="Z", exit_code=9)
    assert pids(watched) == [10, 11, 12]
    assert [m.pid for m in watched.living] == [10, 11]
    assert watched.exits == {"exit_zero": 0, "exit_nonzero": 0, "signal": 1, "oom": 0, "unknown": 0}
    proc.reap(12)
    assert pids(watched) == [10, 11]
    assert sum(watched.exits.values()) == 1


def test_a_vanished_process_has_an_unknown_cause(proc: FakeProc) -> None:
    """Without a kernel that tells, the cause is unknown, never a guess."""
    watched = tree(proc)
    watched.scan()
    proc.reap(12)
    watched.scan()
    assert watched.exits["unknown"] == 1


def test_a_restart_is_counted_and_the_old_tree_forgotten(proc: FakeProc) -> None:
    """`follow` goes on with the next process; the first one ever followed is no restart."""
    watched = tree(proc)
    watched.scan()
    for pid in (12, 11, 10):
        proc.reap(pid)
    assert pids(watched) == []
    proc.spawn(50, 1, 500)
    watched.follow(50, 500)
    assert pids(watched) == [50]
    assert watched.restarts == 1
    assert watched.root is not None
    assert watched.root.key == (50, 500)


def test_a_target_that_was_never_there_is_no_restart(proc: FakeProc) -> None:
    """Waiting for a target that comes late is its first start."""
    watched = ProcessTree(4242, None, str(proc.folder), clock=ManualClock())
    watched.scan()
    watched.follow(10, 100)
    watched.scan()
    assert watched.restarts == 0
    assert watched.root is not None


def test_closing_leaves_no_descriptor(proc: FakeProc) -> None:
    """As many open files as before, also after members came and went."""
    before = len(os.listdir("/proc/self/fd"))
    watched = tree(proc)
    watched.scan()
    proc.reap(12)
    watched.scan()
    watched.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert watched.members == ()


STEPS = st.lists(st.tuples(st.sampled_from(["fork", "end", "reuse"]), st.integers(0, 9)), max_size=15)


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_any_history_is_followed(steps: list[tuple[str, int]]) -> None:
    """Forks, ends, orphans, numbers used again within a clock tick: two scans later all who live are members.

    Nobody waits for anybody here, so each process that was seen counts for ever with the 10 ticks that it has used.
    """
    with tempfile.TemporaryDirectory() as folder:
        proc = FakeProc(Path(folder))
        proc.spawn(10, 1, 10, cpu=(10, 0))
        watched = ProcessTree(10, 10, folder, clock=ManualClock())
        parents, born = {10: 1}, 1
        for action, choice in steps:
            chosen = sorted(parents)[choice % len(parents)]
            if action == "fork":
                pid, parent = 10 + len(os.listdir(folder)) + 100 * born, chosen
            elif chosen == 10:
                continue
            else:
                pid, parent = chosen, parents.pop(chosen)
                for orphan in [child for child, of in parents.items() if of == chosen]:
                    parents[orphan] = 1
                    proc.set(orphan, ppid=1, start_time=orphan, cpu=(10, 0))
                proc.reap(chosen)
            if action != "end" and parent in parents:
                proc.spawn(pid, parent, pid, cpu=(10, 0))
                parents[pid] = parent
                born += 1
            watched.scan()
            watched.scan()
            assert {m.pid for m in watched.members} == set(parents)
            assert watched.used[0] == 10 * born
            order = [m.key for m in watched.members]
            assert all(m.parent is None or order.index(m.parent) < order.index(m.key) for m in watched.members)
        watched.close()
