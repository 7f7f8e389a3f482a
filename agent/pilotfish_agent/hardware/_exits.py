"""Why a process that is not our child has ended.

Linux 6.15 tells anyone who holds a pidfd (PIDFD_GET_INFO with PIDFD_INFO_EXIT, include/uapi/linux/pidfd.h), after
the process was reaped; a zombie's `stat` tells those who may trace it. Else the cause is unknown, never a guess.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

CAUSES: Final = ("exit_zero", "exit_nonzero", "signal", "unknown")
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
