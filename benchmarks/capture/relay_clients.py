"""Clients and models for the relay's rows: streams whose chunks say when they left, large bodies, a sudden death."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.capture_relay.box import exactly

STAMP = struct.Struct("<d")
CHUNK_S = 0.002
CHUNKS = 10
ASK = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
LARGE = 10 << 20
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"


class Stream:
    """A model that answers with `CHUNKS` chunks, each with the moment it was sent.

    Args:
        kind: content type.
    """

    def __init__(self, kind: bytes) -> None:
        self._head = _HEAD % kind

    def __call__(self, connection: socket.socket) -> None:
        """One connection."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while len(exactly(connection, len(ASK))) == len(ASK):
            connection.sendall(self._head)
            for _ in range(CHUNKS):
                time.sleep(CHUNK_S)
                connection.sendall(b"8\r\n" + STAMP.pack(time.monotonic()) + b"\r\n")
            connection.sendall(b"0\r\n\r\n")

    def delays(self, port: int, rounds: int) -> tuple[list[float], list[float]]:
        """Seconds of the first chunks, and of all, from their leaving to their arrival."""
        first, every = [], []
        with socket.create_connection(("127.0.0.1", port)) as client:
            for _ in range(rounds):
                client.sendall(ASK)
                exactly(client, len(self._head))
                for n in range(CHUNKS):
                    chunk = exactly(client, 13)
                    late = time.monotonic() - STAMP.unpack_from(chunk, 3)[0]
                    every.append(late)
                    first += [late] if n == 0 else []
                exactly(client, 5)
        return first, every


def swallow(connection: socket.socket) -> None:
    """A model that takes a body of `LARGE` bytes and gives one back."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE
    block = memoryview(bytearray(1 << 18))
    asked = b""
    while not asked.endswith(b"\r\n\r\n"):
        asked += connection.recv(1)
    left = LARGE
    while left:
        left -= connection.recv_into(block, min(left, len(block))) or left
    connection.sendall(head)
    for _ in range(LARGE // len(block)):
        connection.sendall(block)


def large_bodies(port: int, clients: int) -> int:
    """How many of ``clients`` sent `LARGE` bytes and got as many, all at once."""
    done = []

    def one() -> None:
        block = memoryview(bytearray(1 << 18))
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % LARGE)
            for _ in range(LARGE // len(block)):
                client.sendall(block)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            left = LARGE
            while left:
                left -= client.recv_into(block, min(left, len(block))) or left
            done.append(head.startswith(b"HTTP/1.1 200"))

    threads = [threading.Thread(target=one) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return sum(done)


@dataclass(slots=True)
class Seen:
    """What clients with one connection each, and a request at a time, met.

    Attributes:
        answered: requests with an answer.
        broken: requests that were under way when their connection died.
        refused: attempts to connect that failed.
        answers: monotonic seconds of the answers, for the longest gap.
        last: of each client, its newest one.
    """

    answered: int = 0
    broken: int = 0
    refused: int = 0
    answers: list[float] = field(default_factory=list)
    last: dict[int, float] = field(default_factory=dict)

    def gap(self) -> float:
        """The longest time without any answer, in seconds."""
        return max((b - a for a, b in zip(self.answers, self.answers[1:], strict=False)), default=float("inf"))


@contextmanager
def steady(port: int, clients: int, pause: float = 0.01) -> Iterator[Seen]:
    """Clients that go on whatever happens, and try again after ``pause`` seconds."""
    seen, end = Seen(), threading.Event()

    async def one(me: int) -> None:
        while not end.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                seen.refused += 1
                await asyncio.sleep(pause)
                continue
            try:
                while not end.is_set():
                    writer.write(ASK)
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r")[0]))
                    seen.answered += 1
                    seen.answers.append(time.monotonic())
                    seen.last[me] = seen.answers[-1]
                    await asyncio.sleep(pause)
            except (OSError, EOFError, asyncio.IncompleteReadError):
                seen.broken += 1
            finally:
                writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(one(me) for me in range(clients)))

    thread = threading.Thread(target=asyncio.run, args=(all_of_them(),))
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join(30)
