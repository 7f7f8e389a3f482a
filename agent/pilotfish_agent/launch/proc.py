"""The few words of /proc which the launch path needs. Imports nothing but `os`: see docs/launch.md."""

import os


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


def introduce(name: str, oom_score_adj: int) -> None:
    """Names this process, and its place when memory runs out: higher goes first, 1000 at most. proc(5)."""
    for path, text in (("comm", name), ("oom_score_adj", str(oom_score_adj))):
        try:
            with open(f"/proc/self/{path}", "w", encoding="ascii") as file:
                file.write(text)
        except OSError:
            pass  # no /proc, or not ours to raise: a courtesy, not a need
