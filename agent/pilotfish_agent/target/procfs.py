"""What `/proc/PID/*` says, as pure parsers, and the descriptors kept on it (man 5 proc).

One `pread` on a kept descriptor is much cheaper than open, read and close, and it can never hit another
process: once the process is reaped it answers ESRCH, whoever has its number now.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_READ_SIZE: Final = 4096  # the kernel's own piece: one call reads all of most files
_SURELY_ALL: Final = 4096 - 256
"""Bytes: one read of a list (`children`, `cgroup.procs`) gives the entries that fit into a page, not all."""
_PF_EXITING: Final = 0x4  # include/linux/sched.h; set before the kernel tells of the end, which is before the state
_DEAD_STATES: Final = frozenset({"Z", "X", "x"})
_UP_TO_RSS: Final = 22  # words of a stat line behind the command, up to and with field 24 of the manual page
_EXIT_CODE: Final = 27  # words further
T = TypeVar("T")
Usage = tuple[int, int, int, int]
"""User and system clock ticks, minor and major page faults."""


class Stat(NamedTuple):
    """The fields of `/proc/PID/stat` that we use. A tuple, because one is made a process and sample.

    Attributes:
        comm: command name as the kernel has it, undecodable bytes escaped.
        state: one letter, of the main thread: Z for a zombie.
        ppid: parent in the PID namespace of this `/proc`.
        usage: of this process, and of the children it has waited for, as a `Ledger` wants it: clock ticks, those of
            them in the system, minor and major page faults.
        threads: of the whole process.
        start_time: clock ticks since boot.
        resident: bytes.
        exit_code: wait status of a zombie; 0 also where we may not see it.
    """

    comm: str
    state: str
    ppid: int
    usage: tuple[Usage, Usage]
    threads: int
    start_time: int
    resident: int
    exit_code: int

    @property
    def ended(self) -> bool:
        """True for a process that has ended but still has its entry, because nobody has waited for it yet."""
        return self.state in _DEAD_STATES

    @property
    def cpu(self) -> tuple[int, int]:
        """User and system clock ticks of this process."""
        ticks, system, *_ = self.usage[0]
        return ticks - system, system


def parse_stat(data: bytes) -> Stat:
    """Parses `/proc/PID/stat`.

    The command stands in parentheses and may itself hold any byte, parentheses, spaces and newlines too: its end is
    the last closing parenthesis.

    Raises:
        ValueError: the text is cut or no stat line.
    """
    begin, end = data.find(b"("), data.rfind(b")")
    words = data[end + 2 :].split(None, _UP_TO_RSS)
    if not 0 < begin < end or len(words) < _UP_TO_RSS:
        raise ValueError(f"not a stat line: {data[:60]!r}")
    # words[0] is field 3 of the manual page.
    state = words[0].decode("ascii", "backslashreplace")
    minor, waited_minor, major, waited_major, user, system, waited_user, waited_system = map(int, words[7:15])
    rest = words[_UP_TO_RSS].split() if state in _DEAD_STATES and len(words) > _UP_TO_RSS else []
    return Stat(
        data[begin + 1 : end].decode("utf-8", "backslashreplace"),
        state,
        int(words[1]),
        (
            (user + system, system, minor, major),
            (waited_user + waited_system, waited_system, waited_minor, waited_major),
        ),
        int(words[17]),
        int(words[19]),
        int(words[21]) * _PAGE,
        int(rest[_EXIT_CODE]) if len(rest) > _EXIT_CODE else 0,
    )


def is_exiting(data: bytes) -> bool:
    """Whether the main thread of a stat line is on its way out: a zombie in a moment, or one already.

    Raises:
        ValueError: the text is cut or no stat line.
    """
    fields = data[data.rfind(b")") + 2 :].split(None, 7)
    if len(fields) < 8:
        raise ValueError(f"not a stat line: {data[:60]!r}")
    return bool(int(fields[6]) & _PF_EXITING)


def parse_fields(data: bytes, names: Iterable[bytes]) -> tuple[int | None, ...]:
    """Numbers of the lines ``NAME: NUMBER ...`` of `status` or `io`; None for a line that is not there.

    Raises:
        ValueError: a named line holds no number.
    """
    text = b"\n" + data
    return tuple(_field(text, name) for name in names)


def _field(text: bytes, name: bytes) -> int | None:
    at = text.find(b"\n" + name + b":")
    if at < 0:
        return None
    at += len(name) + 2
    end = text.find(b"\n", at)
    words = text[at : end if end >= 0 else None].split(None, 1)
    if not words:
        raise ValueError(f"no number after {name!r}")
    return int(words[0])


def parse_soft_limit(data: bytes, name: bytes) -> int | None:
    """The soft limit of a line of `/proc/PID/limits`; None when unlimited or not there."""
    for line in data.split(b"\n"):
        if line.startswith(name):
            word = line[len(name) :].split(None, 1)[:1]
            return int(word[0]) if word and word[0].isdigit() else None
    return None


def parse_boot_time(data: bytes) -> int | None:
    """Epoch seconds of the boot from `/proc/stat`; None where the line is missing."""
    at = data.find(b"\nbtime ")
    return int(data[at:].split(None, 2)[1]) if at >= 0 else None


def read_some(fd: int) -> bytes:
    """The whole of a file of `/proc`, from its start, however often it was read before."""
    data = os.pread(fd, _READ_SIZE, 0)
    if len(data) < _SURELY_ALL:
        return data
    parts = [data]
    while data := os.pread(fd, _READ_SIZE, sum(map(len, parts))):
        parts.append(data)
    return b"".join(parts)


class Descriptors:
    """How many descriptors may be kept open; a full budget means open, read, close: dearer, but never refused.

    Args:
        budget: descriptors to keep.
    """

    def __init__(self, budget: int) -> None:
        self._left = budget

    def take(self, *, must: bool = False) -> bool:
        """Takes one; False when none is left, unless it ``must`` be."""
        if self._left <= 0 and not must:
            return False
        self._left -= 1
        return True

    def give(self, count: int) -> None:
        """Gives ``count`` back."""
        self._left += count


class ProcessFiles:
    """The files of one process, below a descriptor of its folder, so that a recycled PID is never read.

    Args:
        folder: `/proc/PID`.
        descriptors: the shared budget.

    Raises:
        OSError: there is no such process, or its folder is closed to us (hidepid).
    """

    def __init__(self, folder: str, descriptors: Descriptors) -> None:
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._descriptors = descriptors
        self._kept: dict[str, int] = {}
        self._parsed: dict[str, tuple[bytes, Any]] = {}
        descriptors.take(must=True)

    def open(self, name: str) -> int:
        """A fresh descriptor of a file or folder below, the caller's to close."""
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)

    def read(self, name: str) -> bytes:
        """The present content of a file that is never empty while the process lives.

        Raises:
            ProcessLookupError: the process is gone.
            PermissionError, FileNotFoundError: not for us, not in this kernel.
        """
        data = self.read_list(name)
        if not data:
            raise ProcessLookupError("empty: the process has gone")
        return data

    def parsed(self, name: str, parse: Callable[[bytes], T]) -> T:
        """`read` through ``parse``, which runs when the content has changed: most processes wait most of the time.

        The answer is the same object until then.
        """
        data = self.read(name)
        known = self._parsed.get(name)
        if known is not None and known[0] == data:
            value: T = known[1]
            return value
        value = parse(data)
        self._parsed[name] = data, value
        return value

    def read_list(self, name: str, *, keep: bool = True) -> bytes:
        """As `read`, for a file that may be empty (`task/TID/children`)."""
        fd = self._kept.get(name)
        if fd is not None:
            return read_some(fd)
        fd = self.open(name)
        try:
            data = read_some(fd)
        except OSError:
            os.close(fd)
            raise
        if keep:
            self._keep(name, fd)
        else:
            os.close(fd)
        return data

    def _keep(self, name: str, fd: int) -> None:
        """Keeps a descriptor, or closes it where the budget is used up."""
        if self._descriptors.take():
            self._kept[name] = fd
        else:
            os.close(fd)

    def forget(self, name: str) -> None:
        """Closes the kept descriptor of a file, if there is one: of a thread, which has ended before its process."""
        fd = self._kept.pop(name, None)
        if fd is not None:
            os.close(fd)
            self._descriptors.give(1)

    def gone(self) -> bool:
        """Whether the process is gone: a lookup below it says ENOENT then, as it does for what a kernel lacks."""
        try:
            return not self.read("stat")
        except OSError:
            return True

    def size(self, name: str) -> int:
        """The size of a file or folder below, which needs no right to look into it.

        Raises:
            FileNotFoundError: not in this kernel, or the process is gone.
        """
        fd = self._kept.get(name)
        if fd is not None:
            return os.fstat(fd).st_size
        size = os.stat(name, dir_fd=self._folder).st_size
        self._keep(name, os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=self._folder))
        return size

    def folder(self, name: str) -> int:
        """A descriptor of a folder below, kept whatever the budget says (one a process at most, for `fd`)."""
        fd = self._kept.get(name)
        if fd is None:
            fd = self._kept[name] = self.open(name)
            self._descriptors.take(must=True)
        return fd

    def close(self) -> None:
        """Closes everything."""
        for fd in (*self._kept.values(), self._folder):
            os.close(fd)
        self._descriptors.give(len(self._kept) + 1)
        self._kept.clear()
        self._parsed.clear()
