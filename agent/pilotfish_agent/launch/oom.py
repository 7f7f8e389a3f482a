"""Kills by the out-of-memory killer in our own control group, which is the model's: forks inherit it.

``memory.events`` of version 2 and ``memory.oom_control`` of version 1 (Linux 4.13) count them as ``oom_kill``
(Documentation/admin-guide/cgroup-v2.rst). Standard library only: the guard asks, because the kernel, told so by its
oom_score_adj, takes the agent first.
"""

import os
import time

SECONDS = 5.0  # from a kill to the end that it causes: gigabytes are given back first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Kills:
    """The counter.

    Args:
        proc: where the proc file system is.
        top: where control groups are mounted.

    Attributes:
        fd: of the counter's file; -1 where there is none.
    """

    __slots__ = ("_at", "_last", "fd")

    def __init__(self, proc: str = "/proc", top: str = "/sys/fs/cgroup") -> None:
        self.fd = -1
        for path in _files(proc, top):
            try:
                self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            if self._read() >= 0:
                break
            os.close(self.fd)
            self.fd = -1
        self._last = self._read()
        self._at = float("-inf")  # monotonic seconds of the last kill that nobody's end explains

    def note(self, explained: int = 0) -> None:
        """Looks whether there were more kills than the ends we have seen explain."""
        if self.rise() > explained:
            self._at = time.monotonic()

    def unexplained(self) -> bool:
        """Whether there was one lately. An agent knows of which process; but the kernel takes it first."""
        return time.monotonic() - self._at < SECONDS

    def rise(self) -> int:
        """Kills since this was asked last, or since the start; 0 where nobody knows."""
        now = self._read()
        if now < 0:
            return 0
        before, self._last = self._last, now
        return max(now - before, 0) if before >= 0 else 0

    def _read(self) -> int:
        """The count; -1 where it cannot be read."""
        try:
            words = os.pread(self.fd, 1000, 0).split()
            return int(words[words.index(b"oom_kill") + 1])
        except (OSError, ValueError, IndexError):
            return -1


def _files(proc: str, top: str) -> "Iterator[str]":
    """Where the counter may be, the likeliest first."""
    try:
        fd = os.open(f"{proc}/self/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        lines = os.read(fd, 1 << 14).split(b"\n")
    except OSError:
        lines = []
    finally:
        os.close(fd)
    for line in lines:
        _, _, rest = line.partition(b":")
        controllers, _, group = rest.partition(b":")
        path = os.fsdecode(group).rstrip("/")
        if b"memory" in controllers.split(b","):
            yield f"{top}/memory{path}/memory.oom_control"
        elif not controllers and path.find("/..") < 0:
            yield f"{top}{path}/memory.events"
