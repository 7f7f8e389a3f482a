"""Which TCP ports a process tree listens on, cheaply enough to ask four times a second.

The kernel is asked for listening sockets only (sock_diag(7), 70 us); `/proc/net/tcp` walks the table of all
connections (8 ms here with 262,144 buckets and no connection) and is the second choice. Descriptors of the tree's
processes are read only when there is a listening socket nobody has looked for, and at most `BUDGET` CPU seconds a call.
"""

from __future__ import annotations

import functools
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pilotfish_agent.capture.settings import MAX_PORTS

BUDGET: Final = 0.010
"""CPU seconds of one call of `PortFinder.look` that go into reading descriptors; the rest is read in the next one."""
AGAIN_SECONDS: Final = 10.0
"""Between two looks for sockets that nobody of the tree had: a descriptor can be handed over later."""
MAX_PROCESSES: Final = 512
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_DONE, _ERROR = 3, 2  # NLMSG_DONE, NLMSG_ERROR
_LISTENING: Final = 1 << 10  # of TCP_LISTEN
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr
_REQUEST: Final = struct.Struct("=BBBxI48x")  # inet_diag_req_v2: family, protocol, extensions, states, any address
_PORT: Final = struct.Struct("!H")  # inet_diag_msg: source port at 4, inode at 68
_INODE: Final = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a tree's ports.

    Attributes:
        ports: ascending, at most `MAX_PORTS`, without those that are ignored.
        beyond: how many more there are.
        denied: the descriptors of a process of the tree may not be read, so `ports` may lack some.
        whole: every listening socket has been looked for; False while the budget stretches it over calls.
    """

    ports: tuple[int, ...] = ()
    beyond: int = 0
    denied: bool = False
    whole: bool = True


class PortFinder:
    """Looks for the ports of one set of processes. One thread uses it.

    Args:
        ignore: ports that are never given.
        proc: where the proc file system is.
        budget: CPU seconds a call.
        clock: monotonic seconds.
        listening: asks for the listening sockets, as `listeners`.
    """

    def __init__(
        self,
        ignore: Sequence[int] = (),
        *,
        proc: str = "/proc",
        budget: float = BUDGET,
        clock: Callable[[], float] = time.monotonic,
        listening: Callable[[str], Mapping[int, int]] | None = None,
    ) -> None:
        self.ignore = frozenset(ignore)
        self._proc = proc
        self._budget = budget
        self._clock = clock
        self._listening = listening or listeners
        self._roots: frozenset[int] = frozenset()
        self._owned: set[int] = set()
        self._foreign: set[int] = set()
        self._scan: Iterator[int] | None = None
        self._sought: set[int] = set()
        self._denied = False
        self._again = 0.0

    def look(self, roots: Sequence[int]) -> Found:
        """The TCP ports on which ``roots`` and their descendants listen, by (PID of) our own /proc."""
        listening = self._listening(self._proc)
        now = self._clock()
        self._turn_to(frozenset(roots), now)
        self._owned &= listening.keys()
        self._foreign &= listening.keys()
        if now >= self._again:
            self._again = now + AGAIN_SECONDS
            self._foreign.clear()
        self._read(listening)
        ports = sorted({listening[inode] for inode in self._owned} - self.ignore)
        return Found(tuple(ports[:MAX_PORTS]), len(ports[MAX_PORTS:]), self._denied, self._scan is None)

    def _turn_to(self, roots: frozenset[int], now: float) -> None:
        """Another target: everything anew. One more process of the same: it may have what nobody had."""
        if not roots & self._roots:
            self._owned.clear()
            self._foreign.clear()
            self._scan, self._denied = None, False
        elif roots - self._roots:
            self._again = min(self._again, now + 1.0)
        self._roots = roots

    def _read(self, listening: Mapping[int, int]) -> None:
        """Reads descriptors until every socket is found, all are read, or the budget is spent."""
        if self._scan is None:
            self._sought = listening.keys() - self._owned - self._foreign
            if not self._sought:
                return
            self._denied = False
            self._scan = self._sockets()
        until = time.thread_time() + self._budget
        for count, inode in enumerate(self._scan):
            if inode in self._sought:
                self._sought.discard(inode)
                self._owned.add(inode)
                if not self._sought:
                    break
            if count % 64 == 63 and time.thread_time() >= until:
                return
        self._scan = None
        self._foreign |= self._sought

    def _sockets(self) -> Iterator[int]:
        """Inodes of all sockets of the tree; 0 for any other descriptor, so that the budget sees it."""
        for pid in descendants(self._roots, self._proc):
            folder = f"{self._proc}/{pid}/fd"
            try:
                names = os.listdir(folder)
            except PermissionError:
                self._denied = True
                continue
            except OSError:
                continue  # it has ended
            for name in names:
                try:
                    link = os.readlink(f"{folder}/{name}")
                except OSError:
                    continue  # closed meanwhile
                yield int(link[8:-1]) if link.startswith("socket:[") else 0


def descendants(roots: Sequence[int] | frozenset[int], proc: str = "/proc") -> Iterator[int]:
    """The roots and what they and their threads have forked, at most `MAX_PROCESSES`; never ourselves."""
    seen = {os.getpid()}
    queue = list(roots)
    for pid in queue:  # grows while it is walked
        if pid in seen:
            continue
        seen.add(pid)
        if len(seen) > MAX_PROCESSES + 1:
            return
        yield pid
        try:
            threads = os.listdir(f"{proc}/{pid}/task")[:256]
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"{proc}/{pid}/task/{thread}/children", "rb") as file:
                    queue += map(int, file.read().split())
            except OSError:
                pass  # ended, or a kernel without this file


def listeners(proc: str = "/proc") -> dict[int, int]:
    """Inode -> port of every listening TCP socket of our network namespace."""
    if proc == "/proc":
        try:
            with _kernel() as kernel:
                return _dump(kernel)
        except (OSError, struct.error):
            pass  # no inet_diag here: a sandbox, a kernel without the module
    return dict(pair for name in ("tcp", "tcp6") for pair in _table(f"{proc}/net/{name}"))


class Listening:
    """`listeners` through one kept socket, for who asks each second: to make one is half of the cost."""

    def __init__(self) -> None:
        self._kernel: socket.socket | None = None

    def __call__(self, proc: str = "/proc") -> dict[int, int]:
        """As `listeners`."""
        try:
            self._kernel = self._kernel or _kernel()
            return _dump(self._kernel)
        except (OSError, struct.error):
            self.close()  # what it still holds is the answer to an old question
            return listeners(proc)

    def close(self) -> None:
        """Closes the socket; the next call makes another."""
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None


def _kernel() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    made.settimeout(1.0)
    return made


def _dump(kernel: socket.socket) -> dict[int, int]:
    found: dict[int, int] = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _LISTENING)
        kernel.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _DUMP, 1, 0) + request)
        whole = False
        while not whole:
            pairs, whole = sockets(kernel.recv(1 << 16))
            found.update(pairs)
    return found


def sockets(data: bytes) -> tuple[list[tuple[int, int]], bool]:
    """(inode, port) of each socket in a part of sock_diag's answer, and whether it was the last part.

    Raises:
        OSError: the kernel refused.
        struct.error: these bytes are no answer.
    """
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(data):
        size, kind, *_ = _HEADER.unpack_from(data, at)
        if kind == _DONE:
            return found, True
        if kind == _ERROR or size < _HEADER.size:
            raise OSError("sock_diag refused")
        body = at + _HEADER.size
        found.append((_INODE.unpack_from(data, body + 68)[0], _PORT.unpack_from(data, body + 4)[0]))
        at += (size + 3) & ~3
    return found, False


def _table(path: str) -> Iterator[tuple[int, int]]:
    """Listening sockets come first: proc_tcp.txt; local address in field 1, state in 3 (0A), inode in 9."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for row in map(str.split, list(file)[1:]):
                if len(row) <= 9 or row[3] != "0A":
                    return
                yield int(row[9]), int(row[1].rpartition(":")[2], 16)
    except (OSError, ValueError):
        return


def other_network(pid: int, proc: str = "/proc") -> bool:
    """Whether a process is known to be in another network namespace than we are."""
    try:
        return os.readlink(f"{proc}/{pid}/ns/net") != _network(proc)
    except OSError:
        return False  # not ours to see (it needs the rights of ptrace), or ended


@functools.cache
def _network(proc: str) -> str:
    """Our own network namespace, which we never leave."""
    return os.readlink(f"{proc}/self/ns/net")
