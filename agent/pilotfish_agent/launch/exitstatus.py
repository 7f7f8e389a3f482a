"""How a process that is not our child ended. Standard library only.

Where a stub is the parent, it tells (`told`). Else two sources, the first that answers: ``PIDFD_GET_INFO`` with
``PIDFD_INFO_EXIT`` (Linux 6.15, include/uapi/linux/pidfd.h; answers once the parent has reaped it), field 52 of
/proc/PID/stat while it is a zombie (proc(5); same uid only), else unknown. Never a guess.
"""

import os
import time

from pilotfish_agent.launch import proc as procfs

_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info of 64 bytes)
_INFO_EXIT = 1 << 3
_EXIT_CODE_AT = 60  # offset of exit_code in struct pidfd_info


def from_pidfd(pidfd: int) -> int | None:
    """The raw wait status by the kernel's own record; None: not reaped yet, or a kernel before 6.15."""
    import fcntl

    asked = bytearray(_INFO_EXIT.to_bytes(8, "little") + bytes(56))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, asked)
    except OSError:
        return None
    if not int.from_bytes(asked[:8], "little") & _INFO_EXIT:
        return None
    return int.from_bytes(asked[_EXIT_CODE_AT : _EXIT_CODE_AT + 4], "little", signed=True)


def from_zombie(pid: int, start: int, proc: str = "/proc") -> int | None:
    """The raw wait status of a zombie of our own uid; None: it is gone, another process, alive, or not ours.

    The kernel shows 0 in place of the status to those who may not know it, so another uid's 0 is no answer.
    """
    try:
        fields = procfs.stat(pid, proc)
        if fields[0] not in {b"Z", b"X"} or int(fields[19]) != start:
            return None
        mine = os.geteuid() in {0, os.stat(f"{proc}/{pid}").st_uid}
        return int(fields[49]) if mine else None
    except (OSError, ValueError, IndexError):
        return None


class Used:
    """What a process and those it or the stub waited for have used, as wait4(2) tells.

    Attributes:
        user: microseconds of CPU. system: the same in the kernel.
        resident: bytes of memory of the largest of them, at its largest.
    """

    __slots__ = ("resident", "system", "user")

    def __init__(self, user: int = 0, system: int = 0, resident: int = 0) -> None:
        self.user = user
        self.system = system
        self.resident = resident

    def add(self, user: float, system: float, resident: int) -> None:
        """One more: seconds, seconds, KiB, as in ``struct rusage``."""
        self.user += round(user * 1e6)
        self.system += round(system * 1e6)
        self.resident = max(self.resident, resident << 10)


def tell(pipe: int, status: int, used: Used) -> None:
    """The parent's word to whom it concerns, see `told`."""
    numbers = (used.user, used.system, used.resident)
    try:
        os.write(pipe, b"".join(n.to_bytes(8, "little") for n in (status, *numbers)))
    except OSError:  # nobody listens
        pass


def told(pipe: int, seconds: float) -> tuple[int, Used] | None:
    """The raw wait status and what was used, as the parent tells them within ``seconds``; None: it does not."""
    import select

    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    word = os.read(pipe, 32) if poll.poll(seconds * 1000) else b""
    if len(word) < 32:
        return None
    status, *used = (int.from_bytes(word[at : at + 8], "little") for at in range(0, 32, 8))
    return status, Used(*used)


def wait(pid: int, start: int, pidfd: int, seconds: float, proc: str = "/proc") -> int | None:
    """The raw wait status of a process that has ended, asked for at most ``seconds``; None: unknown."""
    deadline = time.monotonic() + seconds
    while True:
        status = from_pidfd(pidfd) if pidfd >= 0 else None
        if status is None:
            status = from_zombie(pid, start, proc)
        if status is not None or time.monotonic() >= deadline:
            return status
        time.sleep(0.005)


def cause(status: int | None) -> str:
    """exit_zero, exit_nonzero, signal or unknown, as in ``pilotfish_process_exits_total``.

    Whether a SIGKILL was the kernel's for want of memory, the control group's counter knows, not the status.
    """
    if status is None:
        return "unknown"
    if os.WIFSIGNALED(status):
        return "signal"
    return "exit_nonzero" if os.WEXITSTATUS(status) else "exit_zero"


def record(pid: int, start: int, status: int | None, ended: float, why: str = "", used: Used | None = None) -> bytes:
    """``last_exit.json``: pid, start_time, ended (epoch seconds), cause, and code or signal (null when not so).

    Also what it has used: cpu_seconds and max_resident_bytes, null where nobody told.

    Args:
        pid: of the process that has ended.
        start: its start time.
        status: its raw wait status; None: unknown.
        ended: epoch seconds.
        why: the cause, where somebody knows more than the status tells.
        used: as its parent tells.
    """
    known = status is not None
    code = os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None
    signal = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
    cpu = "null" if used is None else f"{(used.user + used.system) / 1e6:.6f}"
    words = ["null" if n is None else str(n) for n in (status if known else None, code, signal)]
    return (
        f'{{"pid": {pid}, "start_time": {start}, "ended": {ended:.3f}, "cause": "{why or cause(status)}", '
        f'"status": {words[0]}, "code": {words[1]}, "signal": {words[2]}, "cpu_seconds": {cpu}, '
        f'"max_resident_bytes": {"null" if used is None else used.resident}}}\n'
    ).encode()


def save(folder: str, content: bytes) -> None:
    """Puts a record into a state folder, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    fd = os.open(f"{folder}/last_exit.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)
    os.replace(f"{folder}/last_exit.new", f"{folder}/last_exit.json")
