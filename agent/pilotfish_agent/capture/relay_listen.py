"""Where the relay listens, and how many connections it has room for."""

from __future__ import annotations

import errno
import resource
import socket
from typing import Final

from pilotfish_agent.capture.control import CaptureUnavailableError

BACKLOG: Final = 4_096
"""Connections that wait for accept; the kernel's net.core.somaxconn is the nearer bound."""
MOST: Final = 4_096
"""Pairs at once, where memory and descriptors allow."""
SPARE_DESCRIPTORS: Final = 64


def listen(address: str) -> list[socket.socket]:
    """Sockets that listen on ``HOST:PORT`` or ``[V6]:PORT``, one an address of the name; ``[::]`` takes IPv4 as well.

    Raises:
        CaptureUnavailableError: it cannot be had.
    """
    made: list[socket.socket] = []
    try:
        host, port = split(address)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, where in dict.fromkeys(found):
            one = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            made.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # at once after our own death
            one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # inherited: a client that vanished is found
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
            one.bind(where)
            one.listen(BACKLOG)
    except (OSError, ValueError) as error:
        for one in made:
            one.close()
        raise _cannot(address, error) from error
    return made


def _cannot(address: str, error: OSError | ValueError) -> CaptureUnavailableError:
    number = error.errno if isinstance(error, OSError) else None
    todo = {
        errno.EADDRINUSE: "the port is taken: give the relay a port of its own, and send the clients there",
        errno.EACCES: "ports below 1024 need the right CAP_NET_BIND_SERVICE: give a higher one",
        errno.EADDRNOTAVAIL: "this machine has no such address: give one of its own, or 0.0.0.0 or [::] for all",
    }.get(number or 0, "give HOST:PORT such as 127.0.0.1:8500")
    words = f"--relay-listen {address}: {error}; {todo}"
    return CaptureUnavailableError("permission" if number in (errno.EACCES, errno.EPERM) else "failed", words)


def split(address: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[V6]:PORT``.

    Raises:
        ValueError: it is neither.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ValueError("not HOST:PORT")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def room(pair_bytes: int) -> int:
    """How many pairs fit: two descriptors each, and memory where the process has a limit of it (RLIMIT_DATA)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = MOST if soft == resource.RLIM_INFINITY else min(MOST, (soft - SPARE_DESCRIPTORS) // 2)
    memory = resource.getrlimit(resource.RLIMIT_DATA)[0]
    if memory != resource.RLIM_INFINITY:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            used = next((int(line.split()[1]) << 10 for line in file if line.startswith("VmData:")), 0)
        most = min(most, (memory - used) // pair_bytes)
    return max(most, 1)
