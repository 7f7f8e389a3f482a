"""What is known of one TCP connection: its two directions, and where their bytes go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from pilotfish_agent.capture import packets
from pilotfish_agent.capture.packets import Buffer

SECOND: Final = 1_000_000_000
MASK: Final = 0xFFFFFFFF
"""Sequence numbers are modulo 2^32."""
FAR: Final = 1 << 30
"""The largest window of TCP: a sequence number farther away is of another time."""


class Talk(Protocol):
    """What a connection's bytes are given to: `http1.Conversation`."""

    @property
    def in_flight(self) -> int:
        """Requests without a complete answer."""

    def request(self, data: Buffer, start: int, stop: int, now: int) -> None:
        """Bytes of the client."""

    def response(self, data: Buffer, start: int, stop: int, now: int) -> None:
        """Bytes of the server."""

    def lost(self, *, from_client: bool) -> None:
        """Bytes of that direction are missing here."""

    def end(self, now: int, *, reset: bool = False) -> None:
        """The connection is over."""


class Half:
    """One direction of a flow.

    Attributes:
        next: sequence number of the next byte; -1: not known.
        start: that of the first byte; -1: the begin was not seen.
        feed: takes its bytes.
        held: later segments (sequence, bytes, acknowledgement or -1, time) that wait for `next`, in order.
        fin: sequence number of the end; -1: not seen.
    """

    __slots__ = ("client", "feed", "fin", "flow", "held", "held_bytes", "key", "next", "peer", "since", "start")

    def __init__(self, flow: Flow, key: bytes, *, client: bool) -> None:
        self.flow, self.key, self.client = flow, key, client
        self.peer = self
        self.next = self.start = self.fin = -1
        self.feed: Callable[[Buffer, int, int, int], None] = nowhere
        self.held: list[tuple[int, bytes, int, int]] = []
        self.held_bytes = self.since = 0

    def misses(self, seq: int) -> bool:
        """Whether bytes before ``seq`` are still to come."""
        return self.next >= 0 and 0 < serial(seq, self.next) < FAR


class Flow:
    """One TCP connection."""

    __slots__ = ("client", "fast", "idle", "joined", "mark", "over", "port", "server", "talk")

    def __init__(self, key: bytes, port: int, *, joined: bool) -> None:
        self.port, self.joined = port, joined
        self.talk: Talk | None = None
        self.fast = self.over = False
        self.mark, self.idle = (-1, -1), 0
        self.client = Half(self, key, client=True)
        self.server = Half(self, packets.reverse(key), client=False)
        self.client.peer, self.server.peer = self.server, self.client


def serial(a: int, b: int) -> int:
    """``a - b`` of two sequence numbers, from -2^31 on (RFC 1982)."""
    return ((a - b + 0x80000000) & MASK) - 0x80000000


def nowhere(data: Buffer, start: int, stop: int, now: int) -> None:
    """Where bytes go that nobody waits for."""
