"""The tap overloaded: a reader too slow for its ring. What it says is counted against the client's own log."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import random
import re
import select
import socket
import time
from dataclasses import dataclass

from benchmarks.bars import Result, bar
from benchmarks.capture.tap_bench import nginx
from pilotfish import exchange
from pilotfish_agent.capture import ring
from pilotfish_agent.capture.recorder import Recorder
from pilotfish_agent.capture.tap import Tap

SECONDS = 4.0
CONNECTIONS = 32
RING_BLOCKS = 8
NAP_S = 0.1
"""The reader sleeps this long between its steps: 1 MiB of ring is full after a few thousand packets."""
STATUSES = (200, 404, 503)
_LOCATIONS = "".join(f"location /{s}/ {{ return {s} $uri; }}" for s in STATUSES)
_LINE = re.compile(rb"GET (/(\d+)/(\d+)/x*)")
_CUT = exchange.INCOMPLETE | exchange.ABORTED
_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """The client's log of one exchange: epoch ns, bytes, status."""

    sent: int
    done: int
    status: int
    request_bytes: int
    response_bytes: int


@dataclass(frozen=True, slots=True)
class Told:
    """What the slow reader ends with."""

    read: int
    dropped: int
    left: int
    kernel: int
    incomplete: int
    records: list[tuple[bytes, exchange.Record]]


@bar(
    "tap: a slow reader's ring overflows",
    "packets read + dropped + left = the kernel's count; none invented or paired wrongly",
)
def overload() -> Result:
    with nginx(_LOCATIONS) as port:
        ours, theirs = multiprocessing.Pipe()
        reader = multiprocessing.get_context("spawn").Process(target=read_slowly, args=(theirs, port))
        reader.start()
        try:
            ours.recv()
            log = client(port, SECONDS)
            ours.send("stop")
            if not ours.poll(30):
                raise TimeoutError("the reader does not end")
            told: Told = ours.recv()
        finally:
            reader.join(10)
            reader.kill()
    whole, cut, faults = judge(told.records, log)
    exact = told.read + told.dropped + told.left == told.kernel
    words = (
        f"{told.read} read + {told.dropped} dropped + {told.left} left {'=' if exact else '!='} {told.kernel}; "
        f"of {len(log)} exchanges {whole} whole, {cut} incomplete (counted: {told.incomplete}), {len(faults)} wrong"
        + (f": {'; '.join(faults[:3])}" if faults else "")
    )
    return Result(words, exact and not faults and told.dropped > 0 and cut == told.incomplete > 0)


def judge(records: list[tuple[bytes, exchange.Record]], log: dict[bytes, Asked]) -> tuple[int, int, list[str]]:
    """(whole, cut, faults): each record against what the client knows of the exchange of that name."""
    whole = cut = 0
    faults, seen = [], set[bytes]()
    for line, record in records:
        match = _LINE.fullmatch(line)
        asked = log.get(match[1]) if match else None
        if asked is None:
            faults.append(f"{line[:40]!r} was never asked")
            continue
        if line in seen:
            faults.append(f"{line[:40]!r} is told twice")
        seen.add(line)
        if record.status not in {0, asked.status}:
            faults.append(f"{line[:40]!r} has another one's status")
        # The tap's times are the kernel's: between the client's send and its receive, or it is another one's answer.
        early, late = asked.sent - record.started, record.started + record.duration - asked.done
        if early > 0 or (late > 0 and not record.flags & _CUT):
            faults.append(f"{line[:40]!r} was seen at another time: {early} ns early, {late} ns late")
        if record.flags & _CUT:
            cut += 1
            continue
        whole += 1
        if (record.request_bytes, record.response_bytes) != (asked.request_bytes, asked.response_bytes):
            faults.append(f"{line[:40]!r} has another one's size")
    return whole, cut, faults


def read_slowly(connection: multiprocessing.connection.Connection, port: int) -> None:
    """The reader's process: steps with naps, and stops in the middle when told to."""
    ring.BLOCKS, ring.MOST_BLOCKS = RING_BLOCKS, 2 * RING_BLOCKS
    frames: list[bytes] = []

    def take(frame: bytes) -> bool:
        frames.append(frame)
        return True

    recorder = Recorder(take, bodies="none")
    tap = Tap((port,), ("lo",), recorder)
    tap.rings["lo"].close()
    tap.rings["lo"] = ring.Ring("lo", loopback=True, ports=(port,), blocks=RING_BLOCKS)
    connection.send("ready")
    while not connection.poll():
        tap.step()
        recorder.flush(time.monotonic())
        time.sleep(NAP_S)
    time.sleep(0.2)  # the last block goes over after 20 ms
    ours = tap.rings["lo"]
    ours.count()
    read, left = tap.flows.counters["packets"], ours.left()
    tap.close()
    recorder.flush(time.monotonic())
    counters = recorder.counters
    told = Told(read, ours.dropped, left, ours.packets, counters["exchanges:incomplete"], list(_records(frames)))
    connection.send(told)


def _records(frames: list[bytes]) -> list[tuple[bytes, exchange.Record]]:
    found = []
    for frame in frames:
        timings = exchange.unpack(frame)
        if isinstance(timings, exchange.Timings):
            values = map(exchange.Record._make, exchange.RECORD.iter_unpack(timings.records))
            found += [(timings.lines[record.line], record) for record in values]
    return found


class _Connection:
    """One connection of the client: one exchange at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.target, self.request, self.got, self.sent = b"", b"", b"", 0

    def ask(self, number: int, draw: random.Random) -> None:
        """Status, number and length are the exchange's own."""
        status = draw.choice(STATUSES)
        self.target = b"/%d/%d/" % (status, number) + b"x" * draw.randrange(1_000)
        self.request = b"GET %s HTTP/1.1\r\nHost: m\r\n\r\n" % self.target
        self.got, self.sent = b"", time.time_ns()
        self.socket.sendall(self.request)

    def take(self) -> Asked | None:
        """The exchange, once its answer is whole."""
        self.got += self.socket.recv(1 << 16)
        head, found, body = self.got.partition(b"\r\n\r\n")
        size = _LENGTH.search(head)
        if not found or size is None or len(body) < int(size[1]):
            return None
        return Asked(self.sent, time.time_ns(), int(head[9:12]), len(self.request), len(self.got))


def client(port: int, seconds: float) -> dict[bytes, Asked]:
    """Asks over all connections as fast as it is answered; its own log by target."""
    draw, log, number = random.Random(4), dict[bytes, Asked](), 0
    connections = {c.socket: c for c in (_Connection(port) for _ in range(CONNECTIONS))}
    end = time.monotonic() + seconds
    for each in connections.values():
        each.ask(number := number + 1, draw)
    while connections:
        for ready in select.select(connections, (), (), 5)[0]:
            each = connections[ready]
            asked = each.take()
            if asked is None:
                continue
            log[each.target] = asked
            if time.monotonic() < end:
                each.ask(number := number + 1, draw)
            else:
                ready.close()
                del connections[ready]
    return log
