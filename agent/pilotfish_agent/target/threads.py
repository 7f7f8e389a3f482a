"""Run delay and context switches of every thread, one by one: for who may not ask taskstats.

A thread costs two reads of kept descriptors, 14 us; with the descriptors' budget spent its files are opened each time,
which is dearer. So many threads are read every 5 s only, their last counts are told meanwhile, and too many are
not read at all.
"""

from __future__ import annotations

import os
from typing import Final

from pilotfish_agent.target.ledger import Key
from pilotfish_agent.target.members import Refused, per_member
from pilotfish_agent.target.procfs import parse_fields
from pilotfish_agent.target.tree import Member, ProcessTree
from pilotfish_core.clock import Clock

Counts = tuple[float, float, float]
"""Seconds of delay, voluntary and involuntary context switches."""
NONE: Final[Counts] = (0.0, 0.0, 0.0)
LIMIT: Final = 1024
"""Threads of a tree: 14 ms with kept descriptors every 5 s; beyond, the signal is absent."""
FEW: Final = 64
"""Threads that are read at every sample."""
EVERY: Final = 5.0
"""Seconds between two reads of more."""
_SWITCHES: Final = (b"voluntary_ctxt_switches", b"nonvoluntary_ctxt_switches")


class ByThread:
    """The counts of each process, as sums over its threads; what ended threads were last seen with is kept.

    Args:
        clock: for the slower reads.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._processes: dict[Key, _Process] = {}
        self._next = float("-inf")

    def read(self, tree: ProcessTree) -> dict[Key, Counts]:
        """The counts of every member.

        Raises:
            Refused: there are more threads than this way can afford, or one could not be read.
        """
        members = {m.key for m in tree.members}
        for key in self._processes.keys() - members:
            del self._processes[key]
        count = sum(m.stat.threads for m in tree.members)
        if count > LIMIT:
            raise Refused("not_supported")
        now = self._clock.monotonic()
        if count > FEW and now < self._next:
            return {key: process.counts for key, process in self._processes.items()}
        self._next = now + EVERY
        return per_member(tree, self._process)

    def _process(self, member: Member) -> Counts:
        process = self._processes.get(member.key)
        if process is None:
            process = self._processes[member.key] = _Process()
        process.read(member)
        return process.counts


class _Process:
    """The threads of one process. `counts` never falls."""

    def __init__(self) -> None:
        self._threads: dict[str, Counts] = {}
        self._ended: Counts = NONE
        self.counts: Counts = NONE

    def read(self, member: Member) -> None:
        """Reads every thread.

        Raises:
            OSError: the process has gone, or may not be read.
        """
        folder = member.files.open("task")
        try:
            tids = os.listdir(folder)
        finally:
            os.close(folder)
        for tid in self._threads.keys() - set(tids):
            self._end(member, tid)
        main = str(member.pid)
        for tid in tids:
            try:
                self._take(tid, self._thread(member, tid))
            except (FileNotFoundError, ProcessLookupError):
                if tid == main:
                    raise
                self._end(member, tid)
        self.counts = self._ended
        for counts in self._threads.values():
            self.counts = add(self.counts, counts)

    def _thread(self, member: Member, tid: str) -> Counts:
        """One thread's; a kept descriptor of one that has ended refuses, though a new thread may have its number."""
        try:
            return _read(member, tid)
        except ProcessLookupError:
            self._end(member, tid)
            return _read(member, tid)

    def _take(self, tid: str, counts: Counts) -> None:
        last = self._threads.get(tid, NONE)
        if any(now < before for now, before in zip(counts, last, strict=True)):
            self._ended = add(self._ended, last)  # another thread has the number now
        self._threads[tid] = counts

    def _end(self, member: Member, tid: str) -> None:
        self._ended = add(self._ended, self._threads.pop(tid, NONE))
        for name in _files(tid):
            member.files.forget(name)


def _files(tid: str) -> tuple[str, str]:
    return f"task/{tid}/schedstat", f"task/{tid}/status"


def _read(member: Member, tid: str) -> Counts:
    schedstat, status = _files(tid)
    delay = member.files.read(schedstat).split()
    voluntary, involuntary = parse_fields(member.files.read(status), _SWITCHES)
    return int(delay[1]) / 1e9, float(voluntary or 0), float(involuntary or 0)


def add(a: Counts, b: Counts) -> Counts:
    """Both together."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]
