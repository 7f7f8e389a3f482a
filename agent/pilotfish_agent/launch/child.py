"""A process of the agent's own behind a socketpair, seen from the agent: started, listened to, ended."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Final

CHILD_FD: Final = 3
LARGEST: Final = 1 << 16
"""Bytes of one message; a longer one is cut by the kernel, and then is no JSON."""
_FIRST_FD: Final = 16  # ours live above the numbers the child is given
_ONE_ARENA: Final = {"MALLOC_ARENA_MAX": "1"}  # one arena keeps what is freed in use


class Child:
    """One process with our socket as its descriptor `CHILD_FD`.

    The thread that starts it must live as long: the kernel ends the child with it, see `settle.die_with`.

    Args:
        command: program and first arguments; the descriptor's number is added.
        now: monotonic seconds.
        environ: variables beside our own.

    Attributes:
        pid: its process id.
        pidfd: readable when it has ended; -1 before Linux 5.3.
        started: when it was.
        usage: CPU seconds, known after `reap`.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: list[str], now: float, environ: Mapping[str, str] | None = None) -> None:
        self.started = now
        self.usage = 0.0
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._connection.setblocking(False)
            self.pid = _spawn(theirs, command, environ or {})
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

    def send(self, data: bytes) -> None:
        """Tells it something; where it does not read, it hangs, which is for its supervisor to see."""
        try:
            self._connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            pass

    def messages(self) -> Iterator[bytes]:
        """What it has said since the last call; never waits."""
        while True:
            try:
                data = self._connection.recv(LARGEST)
            except OSError:
                return
            if not data:
                return
            yield data

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
        if not self.wait(seconds):
            self.kill()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, now or within so many seconds; one that hangs in the kernel does not, even killed."""
        if self.pidfd >= 0:
            poller = select.poll()
            poller.register(self.pidfd, select.POLLIN)
            poller.poll(seconds * 1_000)
        return self.gone()

    def reap(self) -> int:
        """Waits for its end; its exit code, negative for a signal. Read its last `messages` before."""
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


def entry(word: str) -> list[str]:
    """Interpreter and arguments of the process that ``__main__.py`` calls by this word, without its descriptor."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [sys.executable, "-I", f"{here}/__main__.py", word]


def _spawn(connection: socket.socket, command: list[str], environ: Mapping[str, str]) -> int:
    """Descriptors 0 to 3, nothing blocked or ignored: the rest closes by itself (PEP 446)."""
    import fcntl

    high = fcntl.fcntl(connection.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST_FD)
    try:
        return os.posix_spawn(
            command[0],
            [*command, str(CHILD_FD)],
            {**os.environ, **_ONE_ARENA, **environ},
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
