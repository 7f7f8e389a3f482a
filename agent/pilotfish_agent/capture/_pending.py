"""An exchange that is not over yet, and what is kept of its bodies."""

from __future__ import annotations

import mmap
from typing import Final

from pilotfish.exchange import MAX_MARKS, NONE
from pilotfish_agent.capture._head import AnswerHead, RequestHead

NOTHING, IF_ERROR, CHOSEN = range(3)
"""What of an exchange is kept: nothing, bodies while it may become an error, bodies because the sample took it."""
OVERHEAD: Final = 64
"""What a small piece costs in memory beside its bytes."""
PENDING_BYTES: Final = 512
"""What a `Pending` costs in memory beside its head and bodies."""
Buffer = bytes | bytearray | mmap.mmap
_LATEST: Final = 0xFFFFFFFF


class Holder:
    """How many bytes this process holds for exchanges that are not over, all connections together.

    Attributes:
        held: bytes of bodies now; limit: at most this many.
        heads: bytes of heads now, whole or not; heads_limit: above it a connection is given up at its next head.
    """

    __slots__ = ("heads", "heads_limit", "held", "limit")

    def __init__(self, limit: int, heads_limit: int) -> None:
        self.held = self.heads = 0
        self.limit = limit
        self.heads_limit = heads_limit


class Kept:
    """The beginning of one body.

    Attributes:
        room: bytes that may still come; cut: more came than there was room for.
        size: bytes of the body so far, kept or not.
        body: what was kept.
        held: bytes counted in the holder.
        failed: the holder was full, the body is not whole and not to be used.
    """

    __slots__ = ("body", "cut", "failed", "held", "holder", "room", "size")

    def __init__(self, room: int, holder: Holder) -> None:
        self.room = room
        self.holder = holder
        self.cut = self.failed = False
        self.size = self.held = 0
        self.body: bytes | bytearray = b""

    def add(self, data: Buffer, start: int, stop: int) -> None:
        """``data[start:stop]`` is the next piece."""
        size = stop - start
        self.size += size
        if size > self.room:
            self.cut = True
            size = self.room
        if not size or self.failed:
            return
        holder = self.holder
        if holder.held + size + OVERHEAD > holder.limit:
            self.failed = True
            self.release()
            return
        self.room -= size
        if not self.held:
            self.body = bytes(data[start : start + size])
        else:
            if isinstance(self.body, bytes):
                self.body = bytearray(self.body)
            self.body += data[start : start + size]
        charged = size if self.held else size + OVERHEAD
        self.held += charged
        holder.held += charged

    def release(self) -> None:
        """Lets the bytes go."""
        self.holder.held -= self.held
        self.held = 0
        self.body = b""


class Pending:
    """One request, and what came of its answer.

    Attributes:
        head: the request's. started: ns of its first byte. sent: its bytes so far.
        keep: one of `NOTHING`, `IF_ERROR`, `CHOSEN`; draw: the number the sample drew for it.
        question, answer: what is kept of the bodies.
        answer_head: of the final answer; None before it came.
        first: ns from the start to the answer's first byte. got: bytes of the answer so far. seen: ns of the last one.
        charge: bytes counted in `Holder.heads`. interim: 1xx answers so far. flags: of `exchange`.
        marks: see `exchange.Copy`.
    """

    __slots__ = (
        "answer", "answer_head", "charge", "draw", "first", "flags", "got", "head", "interim", "keep", "marks",
        "question", "seen", "sent", "started",
    )  # fmt: skip

    def __init__(self, head: RequestHead, started: int, sent: int) -> None:
        self.head = head
        self.started = started
        self.sent = sent
        self.keep = NOTHING
        self.draw = 1.0
        self.question: Kept | None = None
        self.answer: Kept | None = None
        self.answer_head: AnswerHead | None = None
        self.first = NONE
        self.charge = self.got = self.interim = self.flags = 0
        self.seen = started
        self.marks: list[tuple[int, int]] | None = None

    def mark(self, offset: int, now: int) -> None:
        """A part of a streamed answer came at ``now``, if its body has grown beyond ``offset``."""
        marks, answer = self.marks, self.answer
        if marks is not None and answer is not None and answer.size > offset and len(marks) < MAX_MARKS:
            marks.append((min(offset, _LATEST), min(max(now - self.started, 0) // 1_000, _LATEST)))

    def release(self) -> None:
        """Lets the kept bytes go."""
        for kept in (self.question, self.answer):
            if kept is not None:
                kept.release()
