"""All processes of a `/proc` at one moment: who is whose child, who listens where (man 5 proc)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final

from pilotfish_agent.capture import ports
from pilotfish_agent.target.procfs import Stat, parse_stat

OURS: Final = frozenset({"pf-agent", "pf-guard", "pf-stub", "pf-capture", "pf-nvml", "pf-worker"})
"""Command names of our own processes."""


class Processes:
    """One look at every process; those that end meanwhile are left out. What is asked of one is read once."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._files: dict[tuple[int, str], bytes] = {}
        self._stats: dict[int, Stat] = {}
        for name in filter(str.isdigit, os.listdir(proc)):
            try:
                self._stats[int(name)] = parse_stat(read(f"{proc}/{name}/stat"))
            except ValueError:
                continue

    @property
    def living(self) -> list[int]:
        """PIDs of those that have not ended."""
        return sorted(pid for pid, stat in self._stats.items() if not stat.ended)

    def started(self, pid: int) -> int:
        """Its start in clock ticks since boot."""
        return self._stats[pid].start_time

    def command(self, pid: int) -> str:
        """Its command name."""
        return self._stats[pid].comm

    def file(self, pid: int, name: str) -> bytes:
        """The content of a file of a process when it was asked for first; nothing where it cannot be read."""
        found = self._files.get((pid, name))
        if found is None:
            found = self._files[pid, name] = read(f"{self._proc}/{pid}/{name}")
        return found

    def chain(self, pid: int) -> list[int]:
        """The process, its parent, and so on; a parent that is not in this `/proc` ends it."""
        found: list[int] = []
        while pid in self._stats and pid not in found:
            found.append(pid)
            pid = self._stats[pid].ppid
        return found

    def roots(self, pids: Sequence[int]) -> list[int]:
        """Those of ``pids`` that are below no other of them."""
        given = set(pids)
        return [pid for pid in pids if not given.intersection(self.chain(pid)[1:])]

    def common_ancestor(self, pids: Sequence[int]) -> int | None:
        """The process that is, or is above, all of ``pids``; None where that is only init, who is above everything."""
        chains = [chain for pid in pids if (chain := self.chain(pid))]
        if not chains:
            return None
        shared = set(chains[0]).intersection(*chains[1:])
        nearest = next((pid for pid in chains[0] if pid in shared), None)
        return None if nearest == 1 and 1 not in pids else nearest


def read(path: str) -> bytes:
    """The content of a small file; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def start_time(pid: int, proc: str = "/proc") -> int | None:
    """Field 22 of /proc/PID/stat, clock ticks since boot; None when there is no such process."""
    try:
        stat = parse_stat(read(f"{proc}/{pid}/stat"))
    except ValueError:
        return None
    return None if stat.ended else stat.start_time


def command(pid: int, proc: str = "/proc") -> str:
    """The command name of a process, empty when it has gone."""
    return read(f"{proc}/{pid}/comm").decode("utf-8", "backslashreplace").strip()


def listening(port: int, proc: str = "/proc") -> frozenset[int]:
    """Inodes of the listening TCP sockets of ``port``, IPv4 and IPv6, in this network namespace."""
    return frozenset(inode for inode, of in ports.listeners(proc).items() if of == port)


def users(sockets: Iterable[int], proc: str = "/proc") -> list[int]:
    """The users whose processes made listening sockets, ascending: uid in field 7, inode in 9 (proc_net_tcp.rst)."""
    wanted = {str(inode) for inode in sockets}
    tables = b"\n".join(read(f"{proc}/net/{name}") for name in ("tcp", "tcp6"))
    rows = (line.split() for line in tables.decode("ascii", "replace").splitlines())
    return sorted({int(row[7]) for row in rows if len(row) > 9 and row[9] in wanted and row[7].isdigit()})


def owners(sockets: Iterable[int], pids: Iterable[int], proc: str = "/proc") -> tuple[list[int], bool]:
    """(Those of ``pids`` that have one of the sockets open, whether any did not let us look).

    Not psutil's `net_connections`: it names one process of a socket that several have (a forked server's workers).
    """
    wanted = {f"socket:[{inode}]" for inode in sockets}
    found, denied = [], False
    for pid in pids if wanted else ():
        try:
            if _has(f"{proc}/{pid}/fd", wanted):
                found.append(pid)
        except PermissionError:
            denied = True
        except OSError:  # gone meanwhile
            continue
    return found, denied


def _has(folder: str, wanted: set[str]) -> bool:
    for name in os.listdir(folder):
        try:
            if os.readlink(f"{folder}/{name}") in wanted:
                return True
        except FileNotFoundError:
            continue  # closed meanwhile
    return False


def listeners(port: int, proc: str = "/proc") -> list[int]:
    """PIDs of all processes that we see listening on ``port``."""
    return owners(listening(port, proc), Processes(proc).living, proc)[0]


def holder_of(port: int) -> str:
    """`` (held by NAME, PID 7)`` for an error line; empty when nobody is seen there."""
    pids = listeners(port)
    return f" (held by {command(pids[0])}, PID {pids[0]})" if pids else ""
