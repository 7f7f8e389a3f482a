"""Finding the target: by PID, or by the TCP port it listens on."""

from __future__ import annotations

from collections.abc import Callable

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


def listeners(port: int) -> list[int]:
    """PIDs of the processes that listen on a TCP port; those of other users need CAP_SYS_PTRACE to be seen."""
    found = psutil.net_connections("tcp")
    pids = {c.pid for c in found if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port}
    return sorted(pid for pid in pids if pid is not None)


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


def holder_of(port: str) -> str:
    """`` (held by NAME, PID 7)`` for an error line; empty when nobody is seen there."""
    try:
        pids = listeners(int(port))
        return f" (held by {psutil.Process(pids[0]).name()}, PID {pids[0]})" if pids else ""
    except (ValueError, OSError, psutil.Error):
        return ""
