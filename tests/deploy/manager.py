"""The socket a service manager listens on, and what comes out of it."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Listener:
    """A bound datagram socket; ``name`` is what $NOTIFY_SOCKET says."""

    name: str
    socket: socket.socket
    told: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def hear(self) -> list[dict[str, str]]:
        """Every message so far, the new ones too, without waiting."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = self.socket.recvmsg(4096, 256)
                pid = next(struct.unpack("3i", d)[0] for _, kind, d in ancillary if kind == socket.SCM_CREDENTIALS)
                lines = (line.partition("=") for line in data.decode().split("\n"))
                self.told.append((pid, {name: text for name, _, text in lines}))
        return [message for _, message in self.told]

    def senders(self) -> set[int]:
        """The PIDs that have spoken: a manager hears the main process only."""
        return {pid for pid, _ in self.told}


@contextmanager
def listening(name: str) -> Iterator[Listener]:
    """Listens on a path, or on ``@NAME`` of the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        made.bind(b"\0" + os.fsencode(name[1:]) if name.startswith("@") else name)
        made.setblocking(False)
        yield Listener(name, made)
