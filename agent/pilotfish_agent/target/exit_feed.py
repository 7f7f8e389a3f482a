"""What the kernel says of every process that ends: taskstats records, for workers that no sample saw.

A listener registered for all CPUs (Documentation/accounting/taskstats.rst; CAP_NET_ADMIN, the first user, PID and
network namespace) is sent a record at the end of every thread of the whole host. Only a process' last thread interests:
it carries the flag AGROUP, the exit status, and the sums over all its threads; a socket filter drops the others in the
kernel. Records are read at fixed offsets into a kept buffer, 3 us each, so many a round; what waits for the next round
lies in the socket's buffer, and what does not fit there the kernel counts.

AGROUP and the number of the process are in version 12 of the struct (Linux 6.0): older kernels are not asked.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pilotfish_agent.capture import bpf
from pilotfish_agent.target import taskstats
from pilotfish_agent.target.ledger import Key
from pilotfish_agent.target.procfs import CLOCK_TICKS
from pilotfish_core.metrics import Reason

BUFFER: Final = 8 << 20
"""Bytes; the kernel doubles them. 13,000 records lie in it: so many processes may end between two rounds."""
ROUND: Final = 4096
"""Records read in one round: 12 ms of CPU at most, whatever happens on the host."""
MOST: Final = 4 * ROUND
"""Records kept for a reader."""

_ATTR_PID, _ATTR_LISTEN, _ATTR_LEAVE = 1, 3, 4
_GET: Final = 1
_AGGR_PID, _AGGR_TGID = 4, 5
_VERSION: Final = 12
_AGROUP: Final = 0x20
_FLAG_AT: Final = 8
_ACK: Final = 4
_SOL_NETLINK, _NO_ENOBUFS = 270, 5
_SO_RCVBUFFORCE, _SO_MEMINFO = 33, 55
_DROPS: Final = 8  # index in SO_MEMINFO's numbers
# exit status, CPU delay, run time (ns), ppid, user and system (us), page faults, switches, number of the process
_ONE = struct.Struct("=4xI16xQ40xQ52xI16xQQQQ88xQQ80xI")
# the same of all threads: delay, run time, user and system, switches
_ALL = struct.Struct("=24xQ40xQ72xQQ104xQQ")


@dataclass(frozen=True, slots=True)
class Record:
    """The end of one process.

    Attributes:
        pid: its number in the first PID namespace. ppid: of its parent then.
        status: wait status.
        usage: clock ticks of all its threads, without its children, those of them in the system; minor and major
            page faults, 0 for a process that had more than one thread.
        waits: seconds its threads waited for a CPU, voluntary and involuntary context switches.
    """

    pid: int
    ppid: int
    status: int
    usage: tuple[float, float, float, float]
    waits: tuple[float, float, float]


class Layout:
    """Where the numbers are in the records of this kernel.

    Args:
        answer: to a question for one thread, whose numbers lie where those of a record do.

    Raises:
        OSError: they are of a version that does not tell what we need.
    """

    def __init__(self, answer: bytes) -> None:
        self.at = taskstats.stats_at(answer, _AGGR_PID)
        (version,) = struct.unpack_from("=H", answer, self.at)
        if version < _VERSION or len(answer) - self.at < _ONE.size:
            raise OSError(errno.EPROTO, f"taskstats: version {version}, expected {_VERSION} or newer")
        self._single = len(answer)

    @property
    def filter(self) -> tuple[bpf.Instruction, ...]:
        """Takes the record of a process' last thread, drops all else."""
        load, test, leave = 0x30, 0x45, 0x06  # BPF_LD|B|ABS, BPF_JMP|JSET|K, BPF_RET|K
        return (load, 0, 0, self.at + _FLAG_AT), (test, 0, 1, _AGROUP), (leave, 0, 0, 0xFFFF_FFFF), (leave, 0, 0, 0)

    def record(self, data: bytes | bytearray, size: int) -> Record | None:
        """The record in the first ``size`` bytes; None for what is none, or of a thread that was not the last."""
        if size < self._single or not data[self.at + _FLAG_AT] & _AGROUP:
            return None
        status, delay, run, ppid, user, system, *faults, voluntary, involuntary, pid = _ONE.unpack_from(data, self.at)
        if size > self._single:  # it had more threads: their sums stand behind
            try:
                at = taskstats.stats_at(bytes(data[:size]), _AGGR_TGID)
            except OSError:
                return None
            delay, run, user, system, voluntary, involuntary = _ALL.unpack_from(data, at)
            faults = [0, 0]
        ticks = run * CLOCK_TICKS / 1e9
        # Modes are counted in whole ticks: only their ratio is taken, as the kernel does (cputime_adjust).
        in_system = ticks * system / (user + system) if system else 0.0
        return Record(pid, ppid, status, (ticks, in_system, *faults), (delay / 1e9, voluntary, involuntary))


class ExitRecords:
    """The listener.

    Args:
        cpus: which, as in `/sys/devices/system/cpu/possible`.

    Raises:
        OSError: this kernel has no such records, or they are not for us.
    """

    def __init__(self, cpus: str) -> None:
        self._socket, self._family = taskstats.connect()
        self._cpus = cpus.strip().encode() + b"\0"
        self._buffer = bytearray(8192)
        try:
            self._layout = Layout(self._answer(_ATTR_PID, struct.pack("=I", os.getpid())))
            self._socket.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)  # the count of drops says more
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
            self._answer(_ATTR_LISTEN, self._cpus)
            self._prove()
            bpf.attach(self._socket, self._layout.filter)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise

    def _answer(self, attribute: int, value: bytes) -> bytes:
        """What the kernel says, records that come before left out."""
        listen = attribute == _ATTR_LISTEN
        self._socket.send(taskstats.message(self._family, _GET, attribute, value, flags=_ACK if listen else 0))
        while True:
            answer = self._socket.recv(len(self._buffer))
            refused = struct.unpack_from("=H", answer, 4)[0] == taskstats.NLMSG_ERROR
            if refused and struct.unpack_from("=i", answer, 16)[0]:
                raise taskstats.refusal(answer)
            if refused or not listen:
                return answer

    def _prove(self) -> None:
        """A thread ends, and its record comes: not so in another network namespace, though registering works there."""
        thread = threading.Thread(target=_nothing)
        thread.start()
        thread.join()
        self._socket.recv(len(self._buffer))

    def read(self) -> list[Record]:
        """What has come, at most `ROUND` records."""
        found: list[Record] = []
        receive, buffer, record = self._socket.recv_into, self._buffer, self._layout.record
        try:
            for _ in range(ROUND):
                one = record(buffer, receive(buffer))
                if one is not None:
                    found.append(one)
        except BlockingIOError:
            pass
        return found

    @property
    def lost(self) -> int:
        """Records that found no place in the buffer."""
        numbers = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
        return int(struct.unpack_from("=I", numbers, 4 * _DROPS)[0])

    def close(self) -> None:
        """Leaves."""
        try:
            self._socket.send(taskstats.message(self._family, _GET, _ATTR_LEAVE, self._cpus))
        except OSError:
            pass  # the kernel finds out by itself
        self._socket.close()


def _nothing() -> None:
    """What a thread does that is to end."""


class Feed:
    """One listener for several readers: each takes every record once. One thread uses it.

    Args:
        records: the listener; else why there is none.
    """

    def __init__(self, records: ExitRecords | Reason) -> None:
        self._records = records
        self._waiting: list[list[Record]] = []
        self._dropped = 0

    @classmethod
    def of(cls, sys: str) -> Feed:
        """A feed of what this machine gives; its CPUs are told below ``sys``."""
        try:
            with open(f"{sys}/devices/system/cpu/possible", encoding="ascii") as file:
                return cls(ExitRecords(file.read()))
        except PermissionError:
            return cls("permission")
        except OSError:
            return cls("not_supported")

    @property
    def lost(self) -> int | Reason:
        """Records that were not read; else why there are none."""
        return self._records.lost + self._dropped if isinstance(self._records, ExitRecords) else self._records

    def reader(self) -> Callable[[], list[Record]]:
        """A function that gives what has come since it was called last; the first one made reads for all."""
        mine: list[Record] = []
        self._waiting.append(mine)

        def take() -> list[Record]:
            if mine is self._waiting[0]:
                self._read()
            taken = mine.copy()
            mine.clear()
            return taken

        return take

    def _read(self) -> None:
        found = self._records.read() if isinstance(self._records, ExitRecords) else []
        for waiting in self._waiting:
            waiting.extend(found)
            over = len(waiting) - MOST
            if over > 0:  # of a reader that does not come
                del waiting[:over]
                self._dropped += over

    def close(self) -> None:
        """Closes the listener."""
        if isinstance(self._records, ExitRecords):
            self._records.close()


class Kin:
    """Which records are of a tree: those whose parent, or that one's parent, and so on, is a member.

    A parent that has ended as well is known by its own record, which may come one round later. Numbers of processes
    are given in a circle: within two rounds none is given twice.
    """

    def __init__(self) -> None:
        self._waiting: list[Record] = []

    @property
    def waits(self) -> bool:
        """Whether records of the last call may still turn out to be of the tree."""
        return bool(self._waiting)

    def sort(self, records: Iterable[Record], members: Mapping[int, Key]) -> list[tuple[Record, Key]]:
        """The records of the tree's processes that were no members, each with the nearest member above it.

        Args:
            records: that have come since the last call.
            members: by number, those that have ended since then too.
        """
        fresh = list(records)
        parents = {r.pid: r.ppid for r in (*self._waiting, *fresh)}
        found: list[tuple[Record, Key]] = []
        unknown: list[Record] = []
        for record in (*self._waiting, *fresh):
            above, left = record.ppid, len(parents)
            while above not in members and above in parents and left:
                above, left = parents[above], left - 1
            key = members.get(above)
            if key is not None:
                found.append((record, key))
            else:
                unknown.append(record)
        old = set(map(id, self._waiting))
        self._waiting = [r for r in unknown if id(r) not in old]
        return found
