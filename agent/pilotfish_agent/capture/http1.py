"""Framing of one captured connection that speaks HTTP/1.1 (or does not), both directions, in order.

The short path is a request and an answer of one segment each whose heads were seen before; `Conversation.request` and
`Conversation.response` hold it. Everything else goes through one state a direction.

What can be read in two ways (`_head.REASONS`) ends the framing: requests answered before are unharmed, the others are
AMBIGUOUS, and the rest of the connection is one AMBIGUOUS record, because nobody can know again where a message begins.
After lost bytes framing goes on at a segment that begins a request, on connections whose client waits for answers.
"""

from __future__ import annotations

from typing import Final

from pilotfish import exchange
from pilotfish_agent.capture import _answering, _asking, _head
from pilotfish_agent.capture._body import Chunks
from pilotfish_agent.capture._pending import CHOSEN, IF_ERROR, NOTHING, PENDING_BYTES, Kept, Pending
from pilotfish_agent.capture._states import (
    BODY,
    CAUGHT,
    CLOSE,
    DEAD,
    DONE,
    HEAD,
    HEAD_END,
    IGNORE,
    PART,
    SHORT,
    SYNC,
    Buffer,
)
from pilotfish_agent.capture.recorder import IN_FLIGHT_FULL, Recorder

_pack = exchange.RECORD.pack
_requests: Final = _head.requests
_answers: Final = _head.answers
LONGEST: Final = _head.LONGEST_IN_TABLE
_ILL: Final = exchange.AMBIGUOUS | exchange.OPAQUE | exchange.INCOMPLETE | exchange.UPGRADED


class Conversation:
    """One TCP connection; the bytes of each direction are given in order, with their kernel timestamps (epoch ns).

    Its state belongs to it, `_asking` (names with ``q``) and `_answering` (``r``); others use its methods.

    Args:
        port: the server's.
        recorder: takes the exchanges.
        joined: the connection was open before the capture saw it: bytes are skipped until a request begins.
    """

    __slots__ = (
        "asked",
        "began_q",
        "began_r",
        "blank",
        "fresh",
        "holder",
        "left_q",
        "left_r",
        "part_q",
        "part_r",
        "pending",
        "pipelined",
        "port",
        "q",
        "r",
        "reading_q",
        "reading_r",
        "recorder",
        "shaken",
        "short",
        "short_answer",
        "short_body",
        "short_draw",
        "short_first",
        "short_got",
        "short_seen",
        "short_sent",
        "short_started",
        "tail",
    )  # fmt: skip

    def __init__(self, port: int, recorder: Recorder, *, joined: bool = False) -> None:
        self.port = port
        self.recorder = recorder
        self.holder = recorder.holder
        self.q = self.r = SYNC if joined else HEAD
        self.short: _head.RequestHead | None = None  # the only open request, on the short path; else in `pending`
        self.short_started = self.short_sent = 0
        self.short_body: bytes | None = None
        self.short_draw = 1.0
        self.short_answer = _head.NO_ANSWER
        self.short_first = self.short_got = self.short_seen = 0
        self.pending: list[Pending] = []
        self.asked: Pending | None = None  # whose request is being read
        self.part_q, self.part_r = bytearray(), bytearray()
        self.began_q = self.began_r = 0
        self.left_q = self.left_r = 0
        self.reading_q: Chunks | None = None
        self.reading_r: Chunks | None = None
        self.blank = self.pipelined = False
        self.fresh = not joined  # nothing was understood yet: it may be another protocol
        self.shaken = joined  # bytes are missing: a client that does not wait for answers cannot be followed
        self.tail: Pending | None = None  # what is ambiguous or opaque

    @property
    def in_flight(self) -> int:
        """Requests without a complete answer."""
        return len(self.pending) + (self.short is not None)

    def request(self, data: Buffer, start: int, stop: int, now: int) -> None:
        """``data[start:stop]`` came from the client at ``now`` (epoch ns); nothing of it is kept after the call."""
        if not self.q and self.short is None and not self.pending:
            end = data.find(HEAD_END, start, stop) + 4
            if 3 < end <= start + LONGEST:
                raw = data[start:end]
                if type(raw) is not bytes:
                    raw = bytes(raw)
                head = _requests.get(raw) or _head.request_head(raw)
            else:
                head = _head.NO_HEAD
            if end + head.fast == stop:
                recorder = self.recorder
                self.short_started = now
                self.short_sent = size = stop - start
                if recorder.keep:
                    holder = self.holder
                    if head.fast > recorder.error_body or holder.held + size > holder.limit:
                        _asking.read(self, data, start, stop, now)
                        return
                    holder.held += size
                    self.short_draw = recorder.draw()
                    self.short_body = bytes(data[end:stop])
                else:
                    self.short_body = None
                self.short = head
                return
        _asking.read(self, data, start, stop, now)

    def response(self, data: Buffer, start: int, stop: int, now: int) -> None:
        """``data[start:stop]`` came from the server at ``now``; nothing of it is kept after the call."""
        if self.short is not None and not self.q:
            if not self.r:
                if self._short_answer(data, start, stop, now):
                    return
            elif self.r == SHORT and stop - start <= self.left_r:
                self.left_r -= stop - start
                self.short_got += stop - start
                self.short_seen = now
                if not self.left_r:
                    self.r = HEAD
                    self._short_over(self.short, self.short_answer, now)
                return
        _answering.read(self, data, start, stop, now)

    def _short_answer(self, data: Buffer, start: int, stop: int, now: int) -> bool:
        """Whether it was an answer, or one's beginning that nobody keeps, and is dealt with."""
        end = data.find(HEAD_END, start, stop) + 4
        if not 3 < end <= start + LONGEST:
            return False
        raw = data[start:end]
        if type(raw) is not bytes:
            raw = bytes(raw)
        head = _answers.get(raw) or _head.answer_head(raw)
        left = end + head.fast - stop
        ask = self.short
        if ask is None or head.fast < 0 or left < 0:
            return False
        took = now - self.short_started
        self.short_first = max(0, took)
        self.short_got = stop - start
        if self.short_body is not None and (self.short_draw < self.recorder.threshold or head.status >= 400):
            if left:
                return False
            self._copy_short(ask, head, bytes(data[end:stop]))
            return True
        if not left:
            self._short_over(ask, head, now)
            return True
        self.short_answer = head
        self.short_seen = now
        self.left_r = left
        self.r = SHORT
        return True

    def _short_over(self, ask: _head.RequestHead, head: _head.AnswerHead, now: int) -> None:
        """The answer of the short path is whole; it goes as a record."""
        if self.short_body is not None:
            self.holder.held -= self.short_sent
            self.short_body = None
        self.short = None
        self.fresh = False
        took = now - self.short_started
        self.recorder.finish(
            ask.line,
            self.short_started,
            max(0, took),
            self.short_first,
            self.short_sent,
            self.short_got,
            self.port,
            head.status,
            0,
        )

    def lost(self, *, from_client: bool) -> None:
        """The capture lost bytes of that direction here; what they belonged to is `exchange.INCOMPLETE`."""
        self.leave_short_path()
        self.fresh = False
        self.shaken = True
        if (self.q if from_client else self.r) in (DEAD, IGNORE, DONE):
            if self.tail is not None:
                self.tail.flags |= exchange.INCOMPLETE
        elif self.pipelined:
            self.give_up()
        elif from_client:
            self._lost_request_bytes()
        elif self.r != CAUGHT:
            self._lost_answer_bytes()

    def encrypted(self, now: int) -> None:
        """What follows is TLS nobody opens here: one OPAQUE record of the connection's timings."""
        self.leave_short_path()
        if self.tail is None and not self.pending:
            self.opaque(now, 0)

    def end(self, now: int, *, reset: bool = False) -> None:
        """The connection is over: what is open is aborted, a close-delimited answer is complete unless ``reset``."""
        self.leave_short_path()
        if self.q == CAUGHT:
            self.recorder.problem(_head.UNASKED)
        if self.pending and self.r == CLOSE and not reset:
            self.finish(self.pending.pop(0), 0, 0)
        while self.pending:
            item = self.pending.pop(0)
            cut = self.r == SYNC or item.flags & exchange.INCOMPLETE
            self.finish(item, 0 if cut else now, exchange.INCOMPLETE if cut else exchange.ABORTED)
        self.ignore()

    # For `_asking` and `_answering`: what is lost, ambiguous, opaque or over.

    def _lost_request_bytes(self) -> None:
        if self.asked is not None:
            self.asked.flags |= exchange.INCOMPLETE
        self.clear_q()
        self.asked = self.reading_q = None
        self.q = SYNC
        if self.r == SYNC:  # what comes may answer the request that is lost, not the one that is open
            self.settle()
        if self.r == CAUGHT or (self.r in (HEAD, DONE) and not self.pending):
            self.r = SYNC

    def _lost_answer_bytes(self) -> None:
        if len(self.pending) > 1:  # it does not wait: a client that does acknowledges the gap before its next request
            self.give_up()
            return
        if self.q == SYNC:  # what comes may answer a request that is lost as well
            self.settle()
        elif self.pending:
            self.pending[0].flags |= exchange.INCOMPLETE
        self.clear_r()
        self.reading_r = None
        self.r = SYNC
        if self.q == HEAD:
            self.q = PART  # off the short path: the next request settles the answer that was cut

    def settle(self) -> None:
        """A new request begins after bytes were lost: what is open was answered, we do not know when."""
        while self.pending:
            self.finish(self.pending.pop(0), 0, exchange.INCOMPLETE)
        self.clear_r()
        self.reading_r = None

    def give_up(self) -> None:
        """A client that does not wait for answers, and bytes are missing: nothing can be paired for sure."""
        self.settle()
        self.ignore()

    def opaque(self, now: int, size: int) -> None:
        """The connection speaks something else, since ``now``; its client sent ``size`` bytes already."""
        self.tail = Pending(_head.NO_HEAD, now, size)
        self.tail.flags = exchange.OPAQUE
        self.q = self.r = DEAD

    def ignore(self) -> None:
        """Nothing of what may still come is looked at."""
        if self.tail is not None:
            self.finish(self.tail, 0, 0)
        self.q = self.r = IGNORE
        self.tail = self.asked = self.reading_q = self.reading_r = None
        self.clear_q()
        self.clear_r()

    def clear_q(self) -> None:
        """The request's head is whole, or none."""
        self.holder.heads -= len(self.part_q)
        self.part_q.clear()

    def clear_r(self) -> None:
        """Likewise the answer's."""
        self.holder.heads -= len(self.part_r)
        self.part_r.clear()

    def tail_sent(self, size: int, now: int) -> None:
        """Bytes of the client nobody can read."""
        tail = self.tail
        if tail is None:
            tail = self.tail = Pending(_head.NO_HEAD, now, 0)
            tail.flags = exchange.AMBIGUOUS
        tail.started = tail.started or now
        tail.sent += size
        tail.seen = max(tail.seen, now)

    def tail_got(self, size: int, now: int) -> None:
        """Bytes of the server nobody can read."""
        tail = self.tail
        if tail is not None:
            tail.started = tail.started or now
            tail.got += size
            tail.seen = max(tail.seen, now)
            if tail.first < 0:
                tail.first = max(now - tail.started, 0)

    # Handing over.

    def leave_short_path(self) -> None:
        """The open request of the short path becomes a `Pending`."""
        head = self.short
        if head is None:
            return
        item = Pending(head, self.short_started, self.short_sent)
        item.charge = len(head.raw) + len(head.line) + PENDING_BYTES
        self.holder.heads += item.charge
        if self.short_body is not None:
            item.draw = self.short_draw
            item.keep = CHOSEN if item.draw < self.recorder.threshold else IF_ERROR
            item.question = Kept(0, self.holder)
            item.question.body, item.question.held = self.short_body, self.short_sent
        self.short = self.short_body = None
        self.pending.append(item)
        if self.r == SHORT:
            self.r = BODY
            item.answer_head = self.short_answer
            item.first, item.got, item.seen = self.short_first, self.short_got, self.short_seen
            item.keep = NOTHING

    def _copy_short(self, ask: _head.RequestHead, head: _head.AnswerHead, body: bytes) -> None:
        """The answer of the short path is whole and goes with its body."""
        recorder, question, flags = self.recorder, self.short_body, 0
        assert question is not None
        self.holder.held -= self.short_sent
        self.short = self.short_body = None
        self.fresh = False
        if len(body) > recorder.body_limit:
            body, flags = body[: recorder.body_limit], exchange.RESPONSE_CUT
        took = self.short_first
        record = _pack(
            self.short_started, took, took, self.short_sent, self.short_got, self.port, head.status, 0, flags
        )
        packed = exchange.pack_said(record, ask.raw, question, head.raw, body)
        recorder.copy(ask.line, packed, self.short_draw, head.status, flags)

    def finish(self, item: Pending, ended: int, flags: int) -> None:
        """An exchange is over at ``ended`` (epoch ns; 0: with its last byte)."""
        flags |= item.flags
        head, question, answer = item.answer_head, item.question, item.answer
        ill = flags & _ILL
        ambiguous = flags & (exchange.AMBIGUOUS | exchange.OPAQUE)
        status = 0 if head is None or ambiguous else head.status
        line = b"" if ambiguous else item.head.line
        took = max((ended or item.seen) - item.started, 0)
        record = (item.started, took, item.first, item.sent, item.got, self.port, status, 0)
        recorder = self.recorder
        copied = False
        if item.keep and not ill and head is not None and question is not None and answer is not None:
            if question.failed or answer.failed:
                recorder.dropped(IN_FLIGHT_FULL)
            elif recorder.wants(item.draw, status):
                copied = True
                cut = (exchange.REQUEST_CUT if question.cut else 0) | (exchange.RESPONSE_CUT if answer.cut else 0)
                packed = exchange.pack_said(
                    _pack(*record, flags | cut), item.head.raw, question.body, head.raw, answer.body, item.marks or ()
                )
                recorder.copy(line, packed, item.draw, status, flags | cut)
        item.release()
        self.holder.heads -= item.charge
        item.charge = 0
        item.question = item.answer = None
        if not copied:
            recorder.finish(line, *record[:7], flags)
