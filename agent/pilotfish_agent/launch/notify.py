"""What an agent tells the service manager that started it: sd_notify(3) by hand. Standard library only.

``$NOTIFY_SOCKET`` is a datagram socket: a path, or a name of the abstract namespace with ``@`` before it. The variables
are taken out of the environment, so that no child of ours speaks in our name. Under `run` they belong to the model:
nothing here is used there.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, MutableMapping

BUSY = frozenset({errno.EAGAIN, errno.ENOBUFS})


class Manager:
    """The service manager, or nobody: then every word is dropped. Never blocks, never raises.

    Args:
        environ: where the variables are taken from.
        monotonic: seconds.

    Attributes:
        watchdog: seconds between two signs of life; 0: none are expected.
    """

    __slots__ = ("_address", "_monotonic", "_next", "_owed", "watchdog")

    def __init__(self, environ: MutableMapping[str, str], monotonic: Callable[[], float]) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        limit = _number(environ.pop("WATCHDOG_USEC", ""))
        whose = environ.pop("WATCHDOG_PID", "")
        mine = whose in {"", str(os.getpid())}
        # Half of the limit, as sd_watchdog_enabled(3) recommends: one sign may come late.
        self.watchdog = limit / 2e6 if mine and self._address else 0.0
        self._monotonic = monotonic
        self._next = 0.0
        self._owed: dict[str, str] = {}

    def ready(self, status: str) -> None:
        """The start is over."""
        self._tell(READY="1", STATUS=status)

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self._tell(STATUS=text)

    def stopping(self) -> None:
        """We leave, by ourselves or because we were told to."""
        self._tell(STOPPING="1", STATUS="stopping")

    def beat(self) -> None:
        """We are well; told as often as it is asked for. What could not be told before is told now."""
        now = self._monotonic()
        if self.watchdog and now >= self._next:
            self._next = now + self.watchdog
            self._tell(WATCHDOG="1")
        elif self._owed:
            self._tell()

    def _tell(self, **words: str) -> None:
        """Sends the words, and those which a full queue refused before: the later word for a name is the true one."""
        if not self._address:
            return
        self._owed |= {name: " ".join(text.split()) for name, text in words.items()}
        message = "\n".join(f"{name}={text}" for name, text in self._owed.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as made:
                made.setblocking(False)
                made.sendto(message.encode("utf-8", "backslashreplace"), self._address)
        except OSError as error:
            if error.errno in BUSY:
                return
        self._owed = {}


def _address(text: str) -> str | bytes:
    """As `socket` takes it; empty where there is nobody, or a kind of socket that is not understood."""
    if text.startswith("@"):
        return b"\0" + os.fsencode(text[1:])
    return text if text.startswith("/") else ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
