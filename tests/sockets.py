"""A sender on a datagram socket that waits until the kernel takes each frame."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def sender_to(path: str) -> Iterator[Callable[[bytes], int]]:
    """What sends one datagram to the Unix socket at ``path``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        made.connect(path)
        yield made.send
