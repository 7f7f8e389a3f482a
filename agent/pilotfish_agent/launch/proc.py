"""The few words of /proc which the launch path needs, and what ours do to themselves.

Imports nothing but `os`: see docs/launch.md.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def stat(pid: int | str, proc: str = "/proc") -> list[bytes]:
    """The fields of ``/proc/PID/stat`` from the third one (state) on; proc(5).

    Raises:
        OSError: there is no such process.
    """
    fd = os.open(f"{proc}/{pid}/stat", os.O_RDONLY)
    try:
        # The command's name may hold blanks and brackets: what follows the last bracket is safe.
        return os.read(fd, 4096).rpartition(b")")[2].split()
    finally:
        os.close(fd)


def start_time(pid: int | str, proc: str = "/proc") -> int:
    """Field 22, clock ticks since boot: with the pid it names a process for ever. 0 when it cannot be read."""
    try:
        return int(stat(pid, proc)[19])
    except (OSError, ValueError, IndexError):
        return 0


def alive(pid: int, start: int, proc: str = "/proc") -> bool:
    """Whether the process of this pid and start time still runs; a zombie does not."""
    try:
        fields = stat(pid, proc)
        return int(fields[19]) == start and fields[0] not in {b"Z", b"X"}
    except (OSError, ValueError, IndexError):
        return False


def pid_namespace(proc: str = "/proc") -> str:
    """Name of our pid namespace: a pid means nothing in another one. Empty when it cannot be read."""
    try:
        return os.readlink(f"{proc}/self/ns/pid")
    except OSError:
        return ""


def ignored_signals(pid: int, proc: str = "/proc") -> int:
    """``SigIgn`` of a process as a number: bit N-1 is signal N. 0 when it cannot be read."""
    try:
        fd = os.open(f"{proc}/{pid}/status", os.O_RDONLY)
    except OSError:
        return 0
    try:
        return int(os.read(fd, 8192).partition(b"\nSigIgn:")[2].split(None, 1)[0], 16)
    except (OSError, ValueError, IndexError):
        return 0
    finally:
        os.close(fd)


def introduce(name: str, oom_score_adj: int = -1000) -> None:
    """Names this process, and its place when memory runs out: higher goes first, 1000 at most. proc(5).

    The place is only ever raised: a pod of the class BestEffort has 1000, and with less we would outlive the model.
    """
    _tell("comm", lambda _: name.encode())
    _tell("oom_score_adj", lambda inherited: b"%d" % max(oom_score_adj, int(inherited)))


def _tell(path: str, new: "Callable[[bytes], bytes]") -> None:
    """Writes into a file about ourselves what ``new`` makes of its content."""
    try:
        fd = os.open(f"/proc/self/{path}", os.O_RDWR)
    except OSError:
        return  # no /proc
    try:
        os.write(fd, new(os.pread(fd, 64, 0)))
    except (OSError, ValueError):
        pass  # not ours to raise: a courtesy, not a need
    finally:
        os.close(fd)


def rename_arguments(title: str) -> None:
    """Overwrites our argument area, so that ``pkill -f serve.py`` finds the model alone. proc(5): fields 48, 49."""
    try:
        fields = stat("self")
        start, end = int(fields[45]), int(fields[46])
        room = end - start
        if start <= 0 or room <= 1:
            return
        fd = os.open("/proc/self/mem", os.O_WRONLY)
        os.pwrite(fd, os.fsencode(title)[: room - 1].ljust(room, b"\0"), start)
        os.close(fd)
    except (OSError, ValueError, IndexError, OverflowError):
        pass


def keep_only(kept: list[int]) -> None:
    """Closes every descriptor but these, all above 2; 0, 1 and 2 lead nowhere: a pipe held here would never end."""
    null = os.open("/dev/null", os.O_RDWR)
    os.set_inheritable(null, True)  # it is one of the three, where that was closed
    for number in {0, 1, 2} - {null}:
        os.dup2(null, number)
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
