"""Drives a `Conversation` with scripts of bytes and gives back what was recorded."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from pilotfish import exchange
from pilotfish_agent.capture.http1 import Conversation
from pilotfish_agent.capture.recorder import Recorder

CLIENT, SERVER = "client", "server"
Step = tuple[str, bytes]
Seen = tuple[bytes, int, int]
"""(METHOD target, status, flags) of one exchange."""


class Sink:
    """An agent that takes every frame and reads it."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.frames: list[bytes] = []

    def __call__(self, frame: bytes) -> bool:
        assert len(frame) <= 65_536
        if self.takes:
            self.frames.append(frame)
        return self.takes

    def records(self) -> list[tuple[bytes, exchange.Record]]:
        """(line, record) of every timing record, in order."""
        found = []
        for frame in self.frames:
            read = exchange.unpack(frame)
            if isinstance(read, exchange.Timings):
                found += [
                    (read.lines[r.line], r)
                    for r in map(exchange.Record._make, exchange.RECORD.iter_unpack(read.records))
                ]
        return found

    def copies(self) -> list[exchange.Copy]:
        """Every copy, put together."""
        parts: dict[int, bytearray] = {}
        for frame in self.frames:
            read = exchange.unpack(frame)
            if isinstance(read, exchange.Copies):
                for part in read.parts:
                    whole = parts.setdefault(part.copy, bytearray(part.total))
                    whole[part.offset : part.offset + len(part.data)] = part.data
        return [exchange.unpack_copy(bytes(whole)) for whole in parts.values()]


def recorder(sink: Sink, **more: object) -> Recorder:
    """A recorder with a fixed clock; bodies are not kept unless asked for."""
    return Recorder(sink, **{"bodies": "none", "clock": lambda: 1.0} | more)  # type: ignore[arg-type]


def play(
    talk: Conversation, script: Iterable[Step], cuts: Sequence[int] = (), *, now: int = 1_000, step: int = 1_000
) -> int:
    """Gives the script's bytes, each step cut at the positions of ``cuts`` that fall into it; the last time used."""
    for side, data in script:
        edges = [0, *sorted({c for c in cuts if 0 < c < len(data)}), len(data)]
        for start, stop in itertools.pairwise(edges):
            if start < stop:
                (talk.request if side == CLIENT else talk.response)(b"##" + data + b"##", start + 2, stop + 2, now)
                now += step
    return now


def run(script: Iterable[Step], cuts: Sequence[int] = (), *, reset: bool = False) -> tuple[list[Seen], dict[str, int]]:
    """The exchanges and the framing problems (without zeros) of a connection that then ends."""
    sink = Sink()
    made = recorder(sink)
    talk = Conversation(80, made)
    last = play(talk, script, cuts)
    talk.end(last, reset=reset)
    made.flush(0.0)
    assert talk.in_flight == 0
    assert (made.holder.held, made.holder.heads) == (0, 0)
    seen = [(line, r.status, r.flags) for line, r in sink.records()]
    problems = {k.removeprefix("framing:"): n for k, n in made.counters.items() if k.startswith("framing:")}
    return seen, problems
