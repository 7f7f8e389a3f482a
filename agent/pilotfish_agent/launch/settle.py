"""What a process of the agent's own does to itself at its start: it gives way, is bounded, and dies with the agent."""

from __future__ import annotations

import os
import resource
import signal
from typing import Final

from pilotfish_agent.launch.proc import introduce

_PR_SET_PDEATHSIG: Final = 1


def settle(name: str, parent: int) -> None:
    """Dies before the model when memory is short, leaves no core file, and ends with ``parent``, even when stopped."""
    introduce(name, 900)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C under `attach` is the agent's, which then ends us
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        pass
    die_with(parent)


def give_way(niceness: int) -> None:
    """Sets our place for the CPU: the higher, the more of the others go first."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    except OSError:
        pass  # below the agent's own 5 only with CAP_SYS_NICE


def die_with(parent: int) -> None:
    """SIGKILL for us when the thread that started us ends: prctl(2). EOF of our socket is the second way."""
    import ctypes

    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:  # it ended before we asked
        os._exit(0)


def limit_memory(ceiling: int) -> None:
    """Makes allocations fail beyond ``ceiling`` bytes, counted from what is mapped now (RLIMIT_DATA; not mmap'd files).

    A shared mapping, as of a packet ring, does not count.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            words = dict(line.split(":", 1) for line in file if ":" in line)
        wanted = (int(words["VmData"].split()[0]) << 10) + ceiling
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if hard == resource.RLIM_INFINITY or wanted < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (wanted, wanted))
    except (OSError, KeyError, ValueError, IndexError):
        pass
