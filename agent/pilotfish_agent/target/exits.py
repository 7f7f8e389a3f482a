"""Why a process that is not our child has ended.

Linux 6.15 tells anyone who holds a pidfd (PIDFD_GET_INFO with PIDFD_INFO_EXIT, include/uapi/linux/pidfd.h), after
the process was reaped; a zombie's `stat` tells those who may trace it; the kernel's exit records tell those with
CAP_NET_ADMIN, of processes that no sample saw too. Else the cause is unknown, never a guess. Whether a SIGKILL was the
out-of-memory killer's, the control group's counter says.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from collections import deque
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Final

from pilotfish_agent.target.exit_feed import ROUND, Kin, Record
from pilotfish_agent.target.ledger import Key

CAUSES: Final = ("exit_zero", "exit_nonzero", "signal", "oom", "unknown")
KILL_SECONDS: Final = 30.0
"""How long a kill by the kernel waits for the exit that it caused to be seen."""
_MOST_KILLS: Final = 1024  # of one rise
_LATEST: Final = 6  # rounds until all that lies in the socket's buffer has been read
_PIDFD_GET_INFO: Final = 0xC040FF0B  # _IOWR(0xFF, 11, 64 bytes)
_PIDFD_INFO_EXIT: Final = 1 << 3
_INFO_SIZE: Final = 64
_EXIT_CODE_OFFSET: Final = 60


def cause(status: int) -> str:
    """The cause in a wait status (man 2 wait)."""
    if status & 0x7F:
        return "signal"
    return "exit_nonzero" if status >> 8 & 0xFF else "exit_zero"


def open_pidfd(pid: int) -> int | None:
    """A pidfd, None where there is none to have (no such process now, old kernel, seccomp)."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def wait_status(pidfd: int) -> int | None:
    """The wait status of a reaped process; None where the kernel cannot say or the process has not been reaped."""
    info = bytearray(struct.pack("=Q", _PIDFD_INFO_EXIT) + bytes(_INFO_SIZE - 8))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    if not struct.unpack_from("=Q", info)[0] & _PIDFD_INFO_EXIT:
        return None
    return int(struct.unpack_from("=i", info, _EXIT_CODE_OFFSET)[0])


@dataclass(frozen=True, slots=True)
class RootEnd:
    """How the watched process itself ended.

    Attributes:
        key: its (pid, start_time).
        status: wait status, None when unknown.
        cause: one of `CAUSES`.
    """

    key: Key
    status: int | None
    cause: str


class Ends:
    """The ends of a tree's processes, by cause: of members, and by the kernel's records of those no sample saw.

    Attributes:
        counts: ended processes by cause.
        records: gives the kernel's records that have come; None where there are none.
        unseen: of the last scan, records of processes that were no members, each with the nearest member above.
        final: the records of members that have ended, as long as they are members and in the scan that missed them.
        root: how the watched process ended last, None while none has.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys(CAUSES, 0)
        self.records: Callable[[], list[Record]] | None = None
        self.unseen: list[tuple[Record, Key]] = []
        self.final: dict[Key, Record] = {}
        self.root: RootEnd | None = None
        self._kin = Kin()
        self._kills = _Kills()
        self._gone: dict[int, Key] = {}
        self._late: deque[dict[int, Key]] = deque(maxlen=_LATEST)  # gone in earlier calls, their records still waited
        self._ended: list[tuple[Key, int | None, bool]] = []

    def count(self, cause: str) -> None:
        """One more has ended; a cause that was never told has no number."""
        self.counts[cause] = self.counts.get(cause, 0) + 1

    def ended(self, key: Key, status: int | None, *, root: bool) -> None:
        """A member has; its status as far as its pidfd or its `stat` tell."""
        self._ended.append((key, status, root))

    def gone(self, key: Key) -> None:
        """A member is no longer there."""
        self._gone[key[0]] = key

    def settle(self, members: Iterable[Key], exclude: Container[int], kills: int | None, now: float) -> None:
        """Counts what has ended since the last call.

        Args:
            members: those of now.
            exclude: numbers of processes that are none.
            kills: how many the out-of-memory killer has ended in the root's control group; None: nobody knows.
            now: monotonic seconds.
        """
        records = self.records() if self.records is not None else []
        if self.records is not None:
            self._sort(records, members, exclude)
        ends = [(key, self._status(key, status), root) for key, status, root in self._ended]
        statuses = [status for _, status, _ in ends] + [record.status for record, _ in self.unseen]
        killed = sum(map(_killed, statuses))
        by_oom = self._kills.claim(kills, killed, now)
        for status in statuses:
            self.count("unknown" if status is None else cause(status))
        self.counts["signal"] -= by_oom
        self.counts["oom"] += by_oom
        for key, status, root in ends:
            if root:  # where not all that were killed were so for want of memory, nobody knows which
                how = "unknown" if status is None else cause(status)
                self.root = RootEnd(key, status, "oom" if _killed(status) and by_oom == killed else how)
        if len(records) < ROUND:  # all that were there have come, those of members that are gone among them
            self._late.clear()
        else:
            self._late.append({pid: key for pid, key in self._gone.items() if key not in self.final})
        self._ended.clear()
        self._gone.clear()

    def _sort(self, records: list[Record], members: Iterable[Key], exclude: Container[int]) -> None:
        """Whose the records are."""
        if not records and not self.final and not self._kin.waits:
            self.unseen = []
            return
        late = {pid: key for gone in self._late for pid, key in gone.items()}
        known = late | {key[0]: key for key in members} | self._gone
        self.final = {key: record for key, record in self.final.items() if known.get(key[0]) == key}
        others = []
        for record in records:
            key = known.get(record.pid)
            if key is not None and late.get(record.pid) == key:
                continue  # counted, and summed up as it was last seen
            if key is not None:
                self.final[key] = record
            elif record.pid not in exclude:
                others.append(record)
        self.unseen = self._kin.sort(others, known)

    def _status(self, key: Key, status: int | None) -> int | None:
        record = self.final.get(key)
        return status if status is not None or record is None else record.status


def _killed(status: int | None) -> bool:
    return status is not None and status & 0x7F == signal.SIGKILL


class _Kills:
    """Kills by the kernel for want of memory which no exit has been matched with yet."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._unclaimed: list[float] = []

    def claim(self, total: int | None, wanted: int, now: float) -> int:
        """How many of ``wanted`` processes that ended by SIGKILL were such kills.

        The counter moves before the process has ended, by as long as it takes to give gigabytes back.
        """
        if total is not None:
            rise = 0 if self._total is None else total - self._total
            self._unclaimed += [now] * min(rise, _MOST_KILLS)
            self._total = total
        self._unclaimed = [at for at in self._unclaimed if now - at < KILL_SECONDS]
        claimed = min(wanted, len(self._unclaimed))
        del self._unclaimed[:claimed]
        return claimed
