"""A small file of the kernel's that is read at every sample: opened once, then one `pread` each time."""

from __future__ import annotations

import errno
import os

from pilotfish_agent.target.procfs import read_some
from pilotfish_core.metrics import Reason


class KeptFile:
    """A file below `/proc` or `/sys` that belongs to no process.

    Args:
        path: where it is; opened at the first read, and again after one that failed.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None

    def read(self) -> bytes:
        """The present content.

        Raises:
            OSError: it is not there, or not for us; `reason` says which.
        """
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return read_some(self._fd)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Closes the descriptor."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def reason(error: OSError) -> Reason:
    """Why a file of the kernel's could not be read."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "permission"
    # EOPNOTSUPP: pressure files of a kernel that was booted with psi=0.
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.EOPNOTSUPP}:
        return "not_supported"
    return "failed"
