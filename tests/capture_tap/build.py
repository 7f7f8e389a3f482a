"""IP packets with TCP segments, rings' blocks of them, and connections that talk HTTP."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from pilotfish import exchange
from pilotfish_agent.capture.flows import Flows
from pilotfish_agent.capture.http1 import Conversation
from pilotfish_agent.capture.packets import ACK, FIN, RST, SYN
from pilotfish_agent.capture.recorder import Recorder

PORT = 8501
CLIENT, SERVER = "10.0.0.2", "10.0.0.1"
PUSH = ACK | 8
TICK = 1_000_000
"""Nanoseconds between two packets."""


def packet(
    data: bytes = b"",
    *,
    source: tuple[str, int] = (CLIENT, 40_000),
    to: tuple[str, int] = (SERVER, PORT),
    seq: int = 0,
    ack: int = 0,
    flags: int = PUSH,
    options: bytes = b"",
    extensions: Iterable[tuple[int, bytes]] = (),
    fragment: int = 0,
    protocol: int = 6,
) -> bytes:
    """An IPv4 or IPv6 packet, by its addresses; ``extensions``: (kind, header without its first byte) of IPv6."""
    tcp = struct.pack("!HHIIBBHHH", source[1], to[1], seq % 2**32, ack % 2**32, 0x50, flags, 64_000, 0, 0) + data
    one, other = ipaddress.ip_address(source[0]).packed, ipaddress.ip_address(to[0]).packed
    if len(one) == 4:
        size = 20 + len(options)
        head = struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, size + len(tcp), 7, fragment, 64, protocol, 0)
        return head + one + other + options + tcp
    kinds = [kind for kind, _ in extensions] + [protocol]
    chain = b"".join(bytes([kinds[i + 1]]) + rest for i, (_, rest) in enumerate(extensions))
    return struct.pack("!IHBB", 0x60000000, len(chain) + len(tcp), kinds[0], 64) + one + other + chain + tcp


def block(packets: Iterable[tuple[int, bytes]], *, held: int = 1 << 20) -> tuple[bytes, int]:
    """What a ring's block holds of (time, packet), and how many."""
    made, count = [], 0
    for now, data in packets:
        kept = data[:held]
        size = (96 + len(kept) + 15) // 16 * 16
        head = struct.pack("=IIIII", size, now // 10**9, now % 10**9, len(kept), len(data))
        made.append((head.ljust(96, b"\0") + kept).ljust(size, b"\0"))
        count += 1
    return b"".join(made) + bytes(64), count


@dataclass
class Side:
    """Where one direction of a connection is."""

    source: tuple[str, int]
    to: tuple[str, int]
    seq: int


@dataclass
class Link:
    """One connection: packets in the order in which they happen, with the right numbers."""

    client: tuple[str, int] = (CLIENT, 40_000)
    server: tuple[str, int] = (SERVER, PORT)
    client_seq: int = 1_000
    server_seq: int = 900_000
    packets: list[bytes] = field(default_factory=list)

    def _add(self, data: bytes, flags: int, *, from_client: bool) -> None:
        mine, its = (self.client_seq, self.server_seq) if from_client else (self.server_seq, self.client_seq)
        source, to = (self.client, self.server) if from_client else (self.server, self.client)
        first = flags & SYN and not flags & ACK
        self.packets.append(packet(data, source=source, to=to, seq=mine, ack=0 if first else its, flags=flags))
        grown = len(data) + bool(flags & (SYN | FIN))
        if from_client:
            self.client_seq = (self.client_seq + grown) % 2**32
        else:
            self.server_seq = (self.server_seq + grown) % 2**32

    def opens(self) -> Link:
        """SYN and its answer."""
        self._add(b"", SYN, from_client=True)
        self._add(b"", SYN | ACK, from_client=False)
        return self

    def asks(self, *pieces: bytes) -> Link:
        """The client sends."""
        for piece in pieces:
            self._add(piece, PUSH, from_client=True)
        return self

    def answers(self, *pieces: bytes) -> Link:
        """The server sends."""
        for piece in pieces:
            self._add(piece, PUSH, from_client=False)
        return self

    def ends(self, *, server_first: bool = False) -> Link:
        """FIN both ways."""
        for from_client in (not server_first, server_first):
            self._add(b"", FIN | ACK, from_client=from_client)
        return self

    def resets(self, *, from_client: bool) -> Link:
        """RST."""
        self._add(b"", RST | ACK, from_client=from_client)
        return self


class Seen:
    """What the flows make of packets: with the real framing and the real recorder."""

    def __init__(self, ports: Iterable[int] = (PORT,)) -> None:
        self.frames: list[bytes] = []
        self.recorder = Recorder(self._take, bodies="none")
        self.flows = Flows(tuple(ports), lambda port, joined: Conversation(port, self.recorder, joined=joined))
        self.now = 1_700_000_000 * 10**9

    def _take(self, frame: bytes) -> bool:
        self.frames.append(frame)
        return True

    def give(self, packets: Iterable[bytes], *, held: int = 1 << 20) -> Seen:
        """Packets a millisecond apart."""
        timed = []
        for data in packets:
            self.now += TICK
            timed.append((self.now, data))
        memory, count = block(timed, held=held)
        self.flows.block(memory, 0, count)
        return self

    def later(self, seconds: float) -> Seen:
        """Time goes by without a packet."""
        self.now += int(seconds * 10**9)
        self.flows.tick(self.now)
        return self

    def records(self, *, close: bool = True) -> list[tuple[bytes, exchange.Record]]:
        """(line, record) of all exchanges, in the order of their ends."""
        if close:
            self.flows.close(self.now)
        self.recorder.flush(0.0)
        found = []
        for frame in self.frames:
            timings = exchange.unpack(frame)
            assert isinstance(timings, exchange.Timings)
            for values in exchange.RECORD.iter_unpack(timings.records):
                record = exchange.Record(*values)
                found.append((timings.lines[record.line], record))
        return found


def request(number: int, size: int = 20) -> bytes:
    """A request whose path names it."""
    return b"POST /r%d HTTP/1.1\r\nHost: m\r\nContent-Length: %d\r\n\r\n" % (number, size) + b"q" * size


def answer(number: int) -> bytes:
    """Its answer: status and size are its own."""
    size = 5 + number * 7
    return b"HTTP/1.1 %d Fine\r\nContent-Length: %d\r\n\r\n" % (210 + number % 80, size) + b"a" * size
