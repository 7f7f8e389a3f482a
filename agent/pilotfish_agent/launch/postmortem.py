"""How a model ended, when systemd tells it: for ``ExecStopPost=``, and for the agent that starts after it.

Before Linux 6.15 only the parent knows how a process ended. For a unit that is systemd, which tells the command of
``ExecStopPost=`` by $SERVICE_RESULT, $EXIT_CODE and $EXIT_STATUS (systemd.exec(5)); its word replaces the guard's.
Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilotfish_agent.launch import exitstatus, places

GUARD_SECONDS = 2.0  # the guard leaves within 1 s of the model: its record comes first, ours stays
_CORE = 0x80  # of a wait status: a core was dumped


@dataclass(frozen=True, slots=True)
class Ending:
    """One process that has ended.

    Attributes:
        pid: its number, 0 when unknown.
        start: its start in clock ticks since boot; with the pid it names the process for ever.
        ended: epoch seconds.
        cause: exit_zero, exit_nonzero, signal, oom or unknown.
        code: the exit code. signal: what ended it. None when not so.
        cpu: seconds that it and what was below it have used. resident: bytes of the largest. None when nobody told.
    """

    pid: int
    start: int
    ended: float
    cause: str
    code: int | None
    signal: int | None
    cpu: float | None = None
    resident: int | None = None

    @classmethod
    def of(cls, pid: int, start: int, ended: float, status: int | None, cause: str) -> Ending:
        """From a wait status, None when unknown."""
        code = None if status is None or not os.WIFEXITED(status) else os.WEXITSTATUS(status)
        number = None if status is None or not os.WIFSIGNALED(status) else os.WTERMSIG(status)
        return cls(pid, start, ended, cause, code, number)

    def words(self) -> str:
        """One line of `status`; empty where there is nothing to tell."""
        how = self.how()
        who = f"PID {self.pid}" if self.pid else "the one"
        return f"the model's process before this one, {who}, {how}" if how else ""

    def how(self) -> str:
        """``was ended by signal 9, 2026-11-30 08:00:00 UTC``; empty where there is nothing to tell."""
        how = {
            "exit_nonzero": f"with exit code {self.code}",
            "signal": f"by signal {self.signal}",
            "oom": "by the kernel, for want of memory",
        }.get(self.cause)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.ended))
        used = "" if self.cpu is None else f" after {self.cpu:.1f} s of CPU"
        used += "" if not self.resident else f" and at most {self.resident / (1 << 20):.0f} MiB"
        return f"was ended {how}, {stamp}{used}" if how else ""


def told(environ: Mapping[str, str]) -> tuple[int | None, str] | None:
    """(wait status, cause) as systemd tells them; None where it does not: not run by ``ExecStopPost=``.

    ``oom`` only for the process which the kernel killed itself: the result also says so when another of the unit was.
    """
    code, status = environ.get("EXIT_CODE", ""), environ.get("EXIT_STATUS", "")
    if code == "exited" and status.isdecimal():
        wait = int(status) << 8
        return wait, exitstatus.cause(wait)
    if code not in {"killed", "dumped"}:
        return None
    number = _signal_number(status)
    cause = "oom" if environ.get("SERVICE_RESULT") == "oom-kill" and number == signal.SIGKILL else "signal"
    return (None if number is None else number | (_CORE if code == "dumped" else 0)), cause


def _signal_number(name: str) -> int | None:
    """``KILL`` is 9, ``RTMIN+1`` the one after the first real-time signal."""
    base, _, more = name.partition("+")
    number = getattr(signal, f"SIG{base}", None)
    if number is None:
        return int(name) if name.isdecimal() else None
    return int(number) + (int(more) if more.isdecimal() else 0)


def write(folder: str, lock: str, wait: int | None, cause: str) -> None:
    """Writes ``last_exit.json`` after the guard has, or where it could not.

    Args:
        folder: the instance's state folder.
        lock: ``lock`` of its runtime folder; it stays there when the guard was killed.
        wait: the wait status, None when unknown.
        cause: as of `told`.

    Raises:
        OSError: the file cannot be written.
    """
    _let_the_guard_leave(folder)
    before = read(folder)
    pid, start = _holder(lock) or ((before.pid, before.start) if before else (0, 0))
    if before is not None and (not before.pid or (before.pid, before.start) != (pid, start)):
        before = None  # of another process
    ended = before.ended if before is not None else time.time()
    used = (
        exitstatus.Used(round(before.cpu * 1e6), 0, before.resident or 0) if before and before.cpu is not None else None
    )
    exitstatus.save(folder, exitstatus.record(pid, start, wait, ended, cause, used))


def _let_the_guard_leave(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + GUARD_SECONDS
        while not places.try_lock(fd) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        os.close(fd)


def _holder(lock: str) -> tuple[int, int] | None:
    try:
        with open(lock, encoding="ascii", errors="replace") as file:
            words = file.read(200).split()
    except OSError:
        return None
    return (int(words[0]), int(words[1])) if len(words) > 1 and words[0].isdigit() and words[1].isdigit() else None


def read(folder: str) -> Ending | None:
    """What ``last_exit.json`` says; None where there is none, or none that can be understood."""
    try:
        with open(f"{folder}/last_exit.json", "rb") as file:
            found: Any = json.loads(file.read(4096))
        code, number = (None if found[name] is None else int(found[name]) for name in ("code", "signal"))
        pid, start = int(found["pid"]), int(found["start_time"])
        cpu, resident = found.get("cpu_seconds"), found.get("max_resident_bytes")  # an older guard has not told
        used = (None if cpu is None else float(cpu), None if resident is None else int(resident))
        return Ending(pid, start, float(found["ended"]), str(found["cause"]), code, number, *used)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def news(folder: str) -> Ending | None:
    """What ``last_exit.json`` says that no agent has told yet: each ending is counted once."""
    found = read(folder) if folder else None
    if found is None:
        return None
    key = f"{found.pid} {found.start} {found.ended}\n"
    path = f"{folder}/last_exit.told"
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            if file.read(200) == key:
                return None
    except OSError:
        pass
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(key)
    except OSError:
        return None  # a full disk: better not told than told at each start
    return found


def state_folder(instance: str, bases: Sequence[str]) -> str | None:
    """The state folder of an instance, the first that is there."""
    name = places.safe_name(instance)
    return next((f"{base}/{name}" for base in bases if os.path.isdir(f"{base}/{name}")), None)
