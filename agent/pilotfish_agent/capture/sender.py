"""The way to the agent's socket: datagrams that never wait."""

from __future__ import annotations

import socket
import time

SEND_BUFFER = 1 << 20
"""Sixteen full frames; the kernel's queue of datagrams (11 by default) is usually the nearer bound."""
RETRY_S = 1.0
"""Between two attempts to find an agent that is not there."""


class Sender:
    """Sends datagrams to a Unix socket without ever blocking, and finds a new agent behind the same path.

    Args:
        path: of the agent's intake socket.

    Attributes:
        retry_at: monotonic seconds; no connection is tried before.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self.retry_at = 0.0

    def __call__(self, frame: bytes) -> bool:
        """True when the kernel took it; False: the agent is slow or absent, try again later."""
        if self._socket is None and not self._connect():
            return False
        assert self._socket is not None
        try:
            self._socket.send(frame, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as error:  # the agent went away, or made its socket anew
            if error.errno not in _FULL:
                self.close()
            return False
        return True

    def close(self) -> None:
        """Forgets the socket; the next frame connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> bool:
        now = time.monotonic()
        if now < self.retry_at:
            return False
        self.retry_at = now + RETRY_S
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            made.connect(self._path)
        except OSError:
            made.close()
            return False
        self._socket = made
        return True


_FULL = (12, 105)  # ENOMEM, ENOBUFS: no room now, the socket is fine
