"""One running pf-capture, seen from the agent: started, given orders, listened to, ended."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Final

from pilotfish_agent.capture.control import LARGEST, Orders, Report

CHILD_FD: Final = 3
_ONE_ARENA: Final = {"MALLOC_ARENA_MAX": "1"}  # no threads there: one arena keeps what is freed in use
_FIRST_FD: Final = 16  # ours live above the numbers the child is given


class Child:
    """One capture process.

    Args:
        orders: its first ones.
        now: monotonic seconds.
        command: program and first arguments, the descriptor's number is added; for tests.

    Attributes:
        pid: its process id.
        orders: those it has.
        heard: when it last said that it is well; the start counts.
        beats: heartbeats so far.
        report: the last one, None before the first.
        usage: CPU seconds, known after `reap`.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, orders: Orders, now: float, command: list[str] | None = None) -> None:
        self.orders = orders
        self.started = self.heard = now
        self.beats = 0
        self.report: Report | None = None
        self.usage = 0.0
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._connection.setblocking(False)
            self.send(orders)
            self.pid = _spawn(theirs, command or entry())
        except OSError:
            self._connection.close()
            raise
        finally:
            theirs.close()
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:  # before Linux 5.3: its end is seen by the socket's
            self.pidfd = -1

    def fileno(self) -> int:
        """Readable when it has said something, or has closed its end."""
        return self._connection.fileno()

    def send(self, orders: Orders) -> None:
        """Gives new orders; where it does not read, it hangs, and is ended for that."""
        self.orders = orders
        try:
            self._connection.send(orders.to_bytes(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            pass

    def listen(self, now: float) -> None:
        """Takes in what it has said."""
        while True:
            try:
                data = self._connection.recv(LARGEST)
            except OSError:
                return
            if not data:
                return
            try:
                self.report = Report.from_bytes(data)
            except (ValueError, TypeError):
                continue
            self.heard = now
            self.beats += 1

    @property
    def counters(self) -> Mapping[str, int]:
        """Its absolute counts as it last told them."""
        return {} if self.report is None else self.report.counters

    def gone(self) -> bool:
        """Whether it has ended; it stays a zombie until `reap`."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def kill(self) -> None:
        """Ends it at once, also when it is stopped."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close(self, seconds: float) -> None:
        """Asks it to end by closing the socket, and kills it when that takes longer than ``seconds``."""
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if self.pidfd >= 0:
            poller = select.poll()
            poller.register(self.pidfd, select.POLLIN)
            poller.poll(seconds * 1_000)
        if not self.gone():
            self.kill()

    def reap(self, now: float) -> int:
        """Waits for its end; its exit code, negative for a signal. What it had said last is taken in."""
        self.listen(now)
        code = 0
        try:
            _, status, used = os.wait4(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            self.usage = used.ru_utime + used.ru_stime
        except ChildProcessError:
            pass  # somebody else waited for it
        self._connection.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        return code


def entry() -> list[str]:
    """Interpreter and arguments of a capture process, without its descriptor."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [sys.executable, "-I", f"{here}/__main__.py", "capture"]


def _spawn(connection: socket.socket, command: list[str]) -> int:
    """Descriptors 0 to 3, nothing blocked or ignored: the rest closes by itself (PEP 446)."""
    import fcntl

    high = fcntl.fcntl(connection.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST_FD)
    try:
        return os.posix_spawn(
            command[0],
            [*command, str(CHILD_FD)],
            {**os.environ, **_ONE_ARENA},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
                (os.POSIX_SPAWN_DUP2, high, CHILD_FD),
            ],
            setsigmask=[],
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    finally:
        os.close(high)
