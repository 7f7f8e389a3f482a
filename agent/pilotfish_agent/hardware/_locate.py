"""Finding the target: by PID, or by the TCP port it listens on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import psutil

from pilotfish_agent.hardware._procfs import parse_stat

Key = tuple[int, int]


def start_time(pid: int, proc: str = "/proc") -> int | None:
    """Field 22 of /proc/PID/stat, clock ticks since boot; None when there is no such process."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            stat = parse_stat(file.read())
    except (OSError, ValueError):
        return None
    return None if stat.ended else stat.start_time


def listeners(port: int, proc: str = "/proc") -> list[int]:
    """PIDs of all processes that hold a listening TCP socket of ``port``; those of other users need CAP_SYS_PTRACE.

    Not psutil's `net_connections`: it names one process of a socket that several have (a forked server's workers).
    """
    sockets = {f"socket:[{inode}]" for name in ("tcp", "tcp6") for inode in _listening(f"{proc}/net/{name}", port)}
    return [] if not sockets else sorted(pid for pid in psutil.pids() if sockets & set(_open_files(f"{proc}/{pid}/fd")))


def _listening(table: str, port: int) -> Iterator[str]:
    """Inodes of a /proc/net/tcp table: local address in field 1, state in 3 (0A: listening), inode in 9."""
    try:
        with open(table, encoding="ascii", errors="replace") as file:
            rows = [line.split() for line in file][1:]
    except OSError:
        return
    for row in rows:
        if len(row) > 9 and row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port:
            yield row[9]


def _open_files(folder: str) -> Iterator[str]:
    try:
        for name in os.listdir(folder):
            try:
                yield os.readlink(f"{folder}/{name}")
            except OSError:
                continue  # closed meanwhile
    except OSError:
        return  # gone, or not ours to look into


def common_root(pids: list[int]) -> int | None:
    """The process that is, or is above, all of ``pids``: the parent of a server's workers. None when there are none."""
    chains = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            chains.append([pid, *(p.pid for p in process.parents())])
        except psutil.Error:
            continue
    if not chains:
        return None
    shared = set(chains[0]).intersection(*chains[1:]) - {0, 1}
    return next((pid for pid in chains[0] if pid in shared), chains[0][0])


def finder(pid: int | None, port: int | None) -> Callable[[], Key | None]:
    """A function that looks for the target: (pid, start time), None while it is not there.

    A given PID is that process only: a later one of the same number is another.
    """
    known = start_time(pid) if pid is not None else None

    def find() -> Key | None:
        root = pid if port is None else common_root(listeners(port))
        if root is None or (pid is not None and root != pid):
            return None
        began = start_time(root)
        if began is None or (pid is not None and known is not None and began != known):
            return None
        return root, began

    return find


def holder_of(port: int) -> str:
    """`` (held by NAME, PID 7)`` for an error line; empty when nobody is seen there."""
    try:
        pids = listeners(port)
        return f" (held by {psutil.Process(pids[0]).name()}, PID {pids[0]})" if pids else ""
    except (OSError, psutil.Error):
        return ""
