"""Sums over members that come and go."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.target.exit_feed import Kin, Record
from pilotfish_agent.target.ledger import Key, Ledger, Values, by_mode

ROOT: Key = (1, 1)


def test_a_child_that_was_waited_for_counts_once() -> None:
    """What the parent inherited replaces what the child was last seen with, its last unseen part included."""
    ledger = Ledger(1)
    child: Key = (2, 2)
    ledger.update({ROOT: None, child: ROOT}, {ROOT: ((1.0,), (0.0,)), child: ((5.0,), (0.0,))})
    assert ledger.update({ROOT: None}, {ROOT: ((1.0,), (5.5,))}) == (6.5,)


def test_a_child_nobody_waited_for_stays_counted() -> None:
    """A parent that ignores SIGCHLD inherits nothing: the child's last value is kept."""
    ledger = Ledger(1)
    child: Key = (2, 2)
    ledger.update({ROOT: None, child: ROOT}, {ROOT: ((1.0,), (0.0,)), child: ((5.0,), (0.0,))})
    assert ledger.update({ROOT: None}, {ROOT: ((1.0,), (0.0,))}) == (6.0,)


def test_a_parent_read_before_its_child_was_reaped_is_right_one_sample_later() -> None:
    """The inheritance arrives a sample after the child went: the sum stands still, and is not doubled."""
    ledger = Ledger(1)
    child: Key = (2, 2)
    ledger.update({ROOT: None, child: ROOT}, {ROOT: ((1.0,), (0.0,)), child: ((5.0,), (0.0,))})
    assert ledger.update({ROOT: None}, {ROOT: ((1.0,), (0.0,))}) == (6.0,)
    assert ledger.update({ROOT: None}, {ROOT: ((1.0,), (5.0,))}) == (6.0,)


def test_what_was_inherited_before_the_first_look_counts() -> None:
    """Attaching to a process that has run for long starts from what it has used, ended children included."""
    assert Ledger(1).update({ROOT: None}, {ROOT: ((1.0,), (9.0,))}) == (10.0,)


def test_a_grandchild_is_inherited_through_its_parent() -> None:
    """Child and grandchild end between two looks; the root inherits both."""
    ledger = Ledger(1)
    child, grandchild = (2, 2), (3, 3)
    alive = {ROOT: None, child: ROOT, grandchild: child}
    readings = dict.fromkeys(alive, ((2.0,), (0.0,)))
    ledger.update(alive, readings)
    assert ledger.update({ROOT: None}, {ROOT: ((2.0,), (4.0,))}) == (6.0,)


def test_the_modes_are_parts_of_the_sum_however_often_they_are_split_anew() -> None:
    """A worker's record says 1 + 9 ticks, its parent inherits 3 + 7: that are 10, not 3 + 9."""
    ledger = Ledger(2)
    child: Key = (2, 2)
    first = by_mode((0, 0), ledger.update({ROOT: None, child: ROOT}, {ROOT: ((0, 0), (0, 0)), child: ((3, 0), (0, 0))}))
    ledger.final(child, (10, 9))
    told = by_mode(first, ledger.update({ROOT: None}, {ROOT: ((0, 0), (0, 0))}))
    waited = by_mode(told, ledger.update({ROOT: None}, {ROOT: ((0, 0), (10, 7))}))
    assert [first, told, waited] == [(3, 0), (3, 7), (3, 7)]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 1000)), max_size=30))
def test_no_mode_falls_and_together_they_are_the_sum(steps: list[tuple[int, int]]) -> None:
    """Whatever part of the sum is said to be the system's."""
    used: Values = (0, 0, 0, 0)
    ticks = 0
    for more, part in steps:
        ticks += more
        new = by_mode(used, (ticks, ticks * part // 1000, 4, 5))
        assert new[0] >= used[0]
        assert new[1] >= used[1]
        assert new[0] + new[1] == ticks
        used = new


def test_the_next_process_of_a_target_adds_to_the_last() -> None:
    """A restart: a new root starts at 0, the sum does not."""
    ledger = Ledger(1)
    ledger.update({ROOT: None}, {ROOT: ((7.0,), (0.0,))})
    assert ledger.update({(1, 9): None}, {(1, 9): ((0.5,), (0.0,))}) == (7.5,)


def test_a_member_that_could_not_be_read_keeps_its_last_value() -> None:
    """It lives, but its file did not answer: nothing is lost."""
    ledger = Ledger(1)
    ledger.update({ROOT: None}, {ROOT: ((7.0,), (0.0,))})
    assert ledger.update({ROOT: None}, {}) == (7.0,)


@dataclass
class _Process:
    key: Key
    parent: Key | None
    waits: bool
    used: int = 0
    inherited: int = 0
    children: list[Key] = field(default_factory=list)


class _Kernel:
    """A model of fork, work, exit and wait, with the true total."""

    def __init__(self) -> None:
        self.processes = {ROOT: _Process(ROOT, None, waits=True)}
        self.true = 0
        self.records: list[Record] = []
        self.members: set[Key] = set()
        self.kin = Kin()
        self.next = 2

    def step(self, action: str, choice: int, amount: int) -> None:
        key = sorted(self.processes)[choice % len(self.processes)]
        process = self.processes[key]
        if action == "fork":
            child = (self.next, self.next)
            self.next += 1
            self.processes[child] = _Process(child, key, waits=bool(amount % 2))
        elif action == "work":
            process.used += amount
            self.true += amount
        elif key != ROOT:
            self.exit(process)

    def exit(self, process: _Process) -> None:
        del self.processes[process.key]
        above = process.parent[0] if process.parent else 0
        self.records.append(Record(process.key[0], above, 0, (process.used, 0, 0, 0), (0, 0, 0)))
        for other in self.processes.values():
            if other.parent == process.key:
                other.parent = None  # adopted by an init outside of the tree
        parent = self.processes.get(process.parent) if process.parent else None
        if parent is not None and parent.waits:
            parent.inherited += process.used + process.inherited

    def tell(self, ledger: Ledger) -> None:
        """Hands the records on, as the tree does; the members are those of this look, and those gone since the last."""
        known = {key[0]: key for key in (*self.members, *self.processes)}
        others = []
        for record in self.records:
            key = known.get(record.pid)
            if key is not None:
                ledger.final(key, record.usage[:1])
            else:
                others.append(record)
        for record, above in self.kin.sort(others, known):
            ledger.owe(above, record.usage[:1], self.processes)
        self.records, self.members = [], set(self.processes)

    def look(self, ledger: Ledger) -> float:
        readings: dict[Key, tuple[Values, Values]] = {
            k: ((float(p.used),), (float(p.inherited),)) for k, p in self.processes.items()
        }
        return ledger.update({k: p.parent for k, p in self.processes.items()}, readings)[0]


STEPS = st.lists(
    st.tuples(st.sampled_from(["fork", "work", "exit", "look"]), st.integers(0, 5), st.integers(1, 9)), max_size=60
)


@given(STEPS)
def test_sums_never_fall_and_never_exceed_the_truth(steps: list[tuple[str, int, int]]) -> None:
    """Whatever forks, works, ends, is waited for or orphaned: monotone, and nothing is counted twice."""
    kernel, ledger, last = _Kernel(), Ledger(1), 0.0
    for action, choice, amount in steps:
        if action != "look":
            kernel.step(action, choice, amount)
            continue
        now = kernel.look(ledger)
        assert last <= now <= kernel.true
        last = now


@given(STEPS)
def test_a_look_after_every_step_misses_nothing(steps: list[tuple[str, int, int]]) -> None:
    """Where every change is seen the sum is exact, whoever waits or does not."""
    kernel, ledger = _Kernel(), Ledger(1)
    for action, choice, amount in steps:
        kernel.step(action, choice, amount)
        assert kernel.look(ledger) == kernel.true


@given(STEPS)
def test_with_records_sums_never_fall_and_never_exceed_the_truth(steps: list[tuple[str, int, int]]) -> None:
    """The kernel tells how much each dead process had used: still monotone, still nothing twice."""
    kernel, ledger, last = _Kernel(), Ledger(1), 0.0
    for action, choice, amount in steps:
        if action != "look":
            kernel.step(action, choice, amount)
            continue
        kernel.tell(ledger)
        now = kernel.look(ledger)
        assert last <= now <= kernel.true
        last = now


def test_records_tell_of_workers_that_nobody_saw_or_waited_for() -> None:
    """A worker's child included; what the root inherits as well is not added to it."""
    ledger = Ledger(1)
    ledger.update({ROOT: None}, {ROOT: ((1.0,), (0.0,))})
    ledger.owe(ROOT, (3.0,), {ROOT})
    assert ledger.update({ROOT: None}, {ROOT: ((1.0,), (0.0,))}) == (4.0,)
    assert ledger.update({ROOT: None}, {ROOT: ((1.0,), (3.0,))}) == (4.0,)


def test_a_member_counts_as_it_was_in_the_end() -> None:
    """Not as it was last seen; what is not known stays as it was seen."""
    ledger = Ledger(2)
    child: Key = (2, 2)
    ledger.update({ROOT: None, child: ROOT}, {ROOT: ((1.0, 0.0), (0.0, 0.0)), child: ((5.0, 7.0), (0.0, 0.0))})
    ledger.final(child, (9.0, 0.0))
    assert ledger.update({ROOT: None}, {}) == (10.0, 7.0)


def test_what_a_member_inherited_before_it_was_seen_is_not_owed_again() -> None:
    """Its children that ended before the first look are in what it has inherited, or nobody knows."""
    ledger = Ledger(1)
    ledger.owe(ROOT, (3.0,), {ROOT})
    assert ledger.update({ROOT: None}, {ROOT: ((1.0,), (3.0,))}) == (4.0,)
