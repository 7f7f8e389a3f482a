"""Framing of one captured connection that speaks HTTP/1.1 (or does not), both directions, in order.

The short path is a request and an answer of one segment each whose heads were seen before; `Conversation.request` and
`Conversation.response` hold it. Everything else goes through one state a direction.

What can be read in two ways (`_head.REASONS`) ends the framing: requests answered before are unharmed, the others are
AMBIGUOUS, and the rest of the connection is one AMBIGUOUS record, because nobody can know again where a message begins.
After lost bytes framing goes on at a segment that begins a request, on connections whose client waits for answers.
"""

from __future__ import annotations

import mmap
from collections import deque
from typing import Final

from pilotfish import exchange
from pilotfish_agent.capture import _head
from pilotfish_agent.capture._body import Chunks
from pilotfish_agent.capture._pending import CHOSEN, IF_ERROR, Kept, Pending
from pilotfish_agent.capture.recorder import IN_FLIGHT_FULL, Recorder

Buffer = bytes | bytearray | mmap.mmap
MAX_OPEN: Final = 256
"""Requests that wait for their answers on one connection."""
MAX_INTERIM: Final = 32
"""1xx answers to one request."""
_END: Final = b"\r\n\r\n"
_NO_HEAD: Final = _head.RequestHead(b"")
_LF_OR_NOT_YET: Final = (bytearray(b"\n"), bytearray())
_ILL: Final = exchange.AMBIGUOUS | exchange.OPAQUE | exchange.INCOMPLETE | exchange.UPGRADED

# Both directions. HEAD must be 0: a message may begin, and nothing is unusual (the short path).
HEAD, PART, BODY, CHUNK, SYNC, DEAD, IGNORE, DONE, CAUGHT, HOLD, CLOSE = range(11)
"""PART: within a head. BODY, CHUNK: within a body. SYNC: bytes were lost, skip to a message's beginning. DEAD:
ambiguous or opaque, count only. IGNORE: a tunnel, or over. DONE: the last message is over. CAUGHT (requests): an answer
came that nobody asked for. HOLD (requests): CONNECT waits. CLOSE (answers): a body that ends with the connection."""


class Conversation:
    """One TCP connection; the bytes of each direction are given in order, with their kernel timestamps (epoch ns).

    Args:
        port: the server's.
        recorder: takes the exchanges.
        joined: the connection was open before the capture saw it: bytes are skipped until a request begins.
    """

    __slots__ = (
        "_asked", "_began_q", "_began_r", "_blank", "_fresh", "_holder", "_left_q", "_left_r", "_one", "_one_body",
        "_one_draw", "_one_sent", "_one_started", "_open", "_part_q", "_part_r", "_pipelined", "_q", "_r", "_reading_q",
        "_reading_r", "_recorder", "_shaken", "_tail", "port",
    )  # fmt: skip

    def __init__(self, port: int, recorder: Recorder, *, joined: bool = False) -> None:
        self.port = port
        self._recorder = recorder
        self._holder = recorder.holder
        self._q = self._r = SYNC if joined else HEAD
        self._one: _head.RequestHead | None = None  # the only open request, on the short path; else in `_open`
        self._one_started = self._one_sent = 0
        self._one_body: bytes | None = None
        self._one_draw = 1.0
        self._open: deque[Pending] = deque()
        self._asked: Pending | None = None  # whose request is being read
        self._part_q, self._part_r = bytearray(), bytearray()
        self._began_q = self._began_r = 0
        self._left_q = self._left_r = 0
        self._reading_q: Chunks | None = None
        self._reading_r: Chunks | None = None
        self._blank = self._pipelined = False
        self._fresh = not joined  # nothing was understood yet: it may be another protocol
        self._shaken = joined  # bytes are missing: a client that does not wait for answers cannot be followed
        self._tail: Pending | None = None  # what is ambiguous or opaque

    @property
    def in_flight(self) -> int:
        """Requests without a complete answer."""
        return len(self._open) + (self._one is not None)

    def request(self, data: Buffer, start: int, stop: int, now: int) -> None:
        """``data[start:stop]`` came from the client at ``now`` (epoch ns); nothing of it is kept after the call."""
        if not self._q and self._one is None and not self._open:
            end = data.find(_END, start, stop) + 4
            head = _head.requests.get(bytes(data[start:end])) if end > 3 else None
            if head is not None and end + head.fast == stop:
                recorder = self._recorder
                self._one_started = now
                self._one_sent = size = stop - start
                if recorder.keep:
                    holder = self._holder
                    if head.fast > recorder.error_body or holder.held + size > holder.limit:
                        self._read_request(data, start, stop, now)
                        return
                    holder.held += size
                    self._one_draw = recorder.draw()
                    self._one_body = bytes(data[end:stop])
                else:
                    self._one_body = None
                self._one = head
                return
        self._read_request(data, start, stop, now)

    def response(self, data: Buffer, start: int, stop: int, now: int) -> None:
        """``data[start:stop]`` came from the server at ``now``; nothing of it is kept after the call."""
        ask = self._one
        if ask is not None and not self._r and not self._q:
            end = data.find(_END, start, stop) + 4
            head = _head.answers.get(bytes(data[start:end])) if end > 3 else None
            if head is not None and end + head.fast == stop:
                recorder = self._recorder
                draw = 1.0
                if self._one_body is not None:
                    self._holder.held -= self._one_sent
                    draw = self._one_draw
                self._one = None
                self._fresh = False
                started = self._one_started
                took = now - started if now > started else 0
                if self._one_body is None or not (draw < recorder.threshold or head.status >= 400):
                    recorder.finish(
                        ask.line, started, took, took, self._one_sent, stop - start, self.port, head.status, 0
                    )
                    return
                self._copy_short(ask, head, bytes(data[end:stop]), took, stop - start)
                return
        self._read_answer(data, start, stop, now)

    def lost(self, *, from_client: bool) -> None:
        """The capture lost bytes of that direction here; what they belonged to is `exchange.INCOMPLETE`."""
        self._leave_short_path()
        self._fresh = False
        self._shaken = True
        if (self._q if from_client else self._r) in (DEAD, IGNORE, DONE):
            if self._tail is not None:
                self._tail.flags |= exchange.INCOMPLETE
        elif self._pipelined:
            self._give_up()
        elif from_client:
            self._lost_request_bytes()
        elif self._r != CAUGHT:
            self._lost_answer_bytes()

    def encrypted(self, now: int) -> None:
        """What follows is TLS nobody opens here: one OPAQUE record of the connection's timings."""
        self._leave_short_path()
        if self._tail is None and not self._open:
            self._opaque(now, 0)

    def end(self, now: int, *, reset: bool = False) -> None:
        """The connection is over: what is open is aborted, a close-delimited answer is complete unless ``reset``."""
        self._leave_short_path()
        if self._q == CAUGHT:
            self._recorder.problem(_head.UNASKED)
        if self._open and self._r == CLOSE and not reset:
            self._finish(self._open.popleft(), 0, 0)
        while self._open:
            item = self._open.popleft()
            cut = self._r == SYNC or item.flags & exchange.INCOMPLETE
            self._finish(item, 0 if cut else now, exchange.INCOMPLETE if cut else exchange.ABORTED)
        if self._tail is not None:
            self._finish(self._tail, 0, 0)
        self._ignore()

    # Requests.

    def _read_request(self, data: Buffer, at: int, stop: int, now: int) -> None:
        self._leave_short_path()
        while at < stop:
            state = self._q
            if state in (HEAD, PART):
                at = self._read_request_head(data, at, stop, now)
            elif state == BODY:
                at = self._read_request_body(data, at, stop)
            elif state == CHUNK:
                at = self._read_request_chunks(data, at, stop, now)
            elif state == SYNC:
                if not _head.message_begins(data, at, stop):
                    return
                self._settle()
                self._r = HEAD
                self._q = PART
            elif state in (CAUGHT, DONE, HOLD):
                reason = {CAUGHT: _head.UNASKED, DONE: _head.AFTER_CLOSE, HOLD: _head.TUNNEL}[state]
                self._bad_request(reason, now, 0)
            else:
                if state == DEAD:
                    self._tail_sent(stop - at, now)
                return

    def _read_request_head(self, data: Buffer, at: int, stop: int, now: int) -> int:
        """Reads on in a head; where it stopped."""
        part = self._part_q
        old = len(part)
        if not old:
            self._began_q = now
            end = data.find(_END, at, min(stop, at + _head.MAX_HEAD)) + 4
            if end > 3 and data.find(b"\r\n", at, at + 2) != at:
                return self._ask(_head.request_head(bytes(data[at:end])), end - at, end)
        part += data[at : min(stop, at + _head.MAX_HEAD - old)]
        if part[:1] == b"\r" and part[1:2] in _LF_OR_NOT_YET:  # one empty line may come before a request
            self._q = PART
            if len(part) == 1:
                return at + 1
            part.clear()
            if self._blank:
                return self._bad_request(_head.EMPTY_LINES, now, 2, at + 2 - old)
            self._blank = True
            return at + 2 - old
        end = part.find(_END, max(0, old - 3)) + 4
        if end > 3:
            head = _head.request_head(bytes(part[:end]))
            part.clear()
            return self._ask(head, end, at + end - old)
        reason = _head.early(part, old, asked=True)
        if reason is None and len(part) >= _head.MAX_HEAD:
            reason = _head.HEAD_TOO_LARGE
        self._q = PART
        if reason is None:
            return stop
        at += len(part) - old
        return self._no_head(reason, len(part), at)

    def _no_head(self, reason: str, size: int, at: int) -> int:
        """What came is no request's head."""
        self._part_q.clear()
        if reason == _head.FOREIGN:
            if self._fresh and not self._open:
                self._opaque(self._began_q, size)
                return at
            reason = _head.REQUEST_LINE
        return self._bad_request(reason, self._began_q, size, at)

    def _ask(self, head: _head.RequestHead, size: int, at: int) -> int:
        """A request's head is whole, ``size`` bytes up to ``at``."""
        if head.reason is not None:
            return self._no_head(head.reason, size, at)
        self._blank = False
        if self._r == SYNC:  # the answer in which bytes were lost is over: this client waits for answers
            self._settle()
            self._r = HEAD
        if len(self._open) >= MAX_OPEN:
            return self._bad_request(_head.OPEN, self._began_q, size, at)
        item = self._asked = Pending(head, self._began_q, size)
        self._open.append(item)
        recorder = self._recorder
        if recorder.keep:
            item.draw = recorder.draw()
            chosen = item.draw < recorder.threshold
            item.keep = CHOSEN if chosen else IF_ERROR
            item.question = Kept(recorder.body_limit if chosen else recorder.error_body, self._holder)
        if head.length > 0:
            self._q, self._left_q = BODY, head.length
        elif head.length < 0:
            self._q, self._reading_q = CHUNK, Chunks()
        else:
            self._asked_all()
        return at

    def _read_request_body(self, data: Buffer, at: int, stop: int) -> int:
        taken = min(self._left_q, stop - at)
        self._left_q -= taken
        item = self._asked
        assert item is not None
        item.sent += taken
        if item.question is not None:
            item.question.add(data, at, at + taken)
        if not self._left_q:
            self._asked_all()
        return at + taken

    def _read_request_chunks(self, data: Buffer, at: int, stop: int, now: int) -> int:
        item, chunks = self._asked, self._reading_q
        assert item is not None
        assert chunks is not None
        end = chunks.feed(data, at, stop, item.question)
        item.sent += end - at
        if chunks.reason is not None:
            return self._bad_request(chunks.reason, now, 0, end)
        if chunks.done:
            self._asked_all()
        return end

    def _asked_all(self) -> None:
        """The request is whole."""
        assert self._asked is not None
        head = self._asked.head
        self._q = HOLD if head.is_connect else DONE if head.close else HEAD
        self._asked = self._reading_q = None

    def _bad_request(self, reason: str, began: int, size: int, at: int = 0) -> int:
        """From here on, or from the request being read, the connection is ambiguous."""
        self._recorder.problem(reason)
        item = self._asked
        if item is not None and self._open and self._open[-1] is item:
            self._open.pop()
            if not self._open and self._r in (PART, BODY, CHUNK, CLOSE):
                self._r = DEAD
        else:
            item = Pending(_NO_HEAD, began, size)
        item.release()
        item.flags |= exchange.AMBIGUOUS
        self._q = DEAD
        self._asked = self._reading_q = None
        self._tail = item
        return at

    # Answers.

    def _read_answer(self, data: Buffer, at: int, stop: int, now: int) -> None:
        self._leave_short_path()
        while at < stop:
            state = self._r
            if state in (DEAD, IGNORE) or (state == CAUGHT and self._q != DEAD):
                if state == DEAD:
                    self._tail_got(stop - at, now)
                return
            if not self._open:
                self._unasked(data, at)
            elif state in (HEAD, PART):
                at = self._read_answer_head(data, at, stop, now)
            elif state == DONE:
                self._bad_answer(_head.AFTER_CLOSE, now)
            elif state == SYNC:
                item = self._open[0]
                if item.answer_head is not None or data[at : min(stop, at + 7)] != b"HTTP/1.":
                    item.got += stop - at
                    item.seen = now
                    return
                self._r = HEAD
            else:
                at = self._read_answer_body(data, at, stop, now)

    def _unasked(self, data: Buffer, at: int) -> None:
        """Bytes of the server that answer nothing."""
        if self._q == DEAD:
            self._r = DEAD
        elif self._fresh and self._q == HEAD and data[at : at + 1] != b"H":
            self._opaque(0, 0)  # a protocol in which the server speaks first
        elif SYNC in (self._q, self._r):
            self._r = SYNC  # the request may have been among the lost bytes
        else:  # the lost bytes may not be noticed yet: judged when the client's next bytes come
            self._r = self._q = CAUGHT

    def _read_answer_head(self, data: Buffer, at: int, stop: int, now: int) -> int:
        part = self._part_r
        old = len(part)
        if not old:
            self._began_r = now
            end = data.find(_END, at, min(stop, at + _head.MAX_HEAD)) + 4
            if end > 3:
                return self._answer(_head.answer_head(bytes(data[at:end])), end - at, end, now)
        part += data[at : min(stop, at + _head.MAX_HEAD - old)]
        end = part.find(_END, max(0, old - 3)) + 4
        if end > 3:
            head = _head.answer_head(bytes(part[:end]))
            part.clear()
            return self._answer(head, end, at + end - old, now)
        reason = _head.early(part, old, asked=False)
        if reason is None and len(part) >= _head.MAX_HEAD:
            reason = _head.HEAD_TOO_LARGE
        self._r = PART
        if reason is None:
            return stop
        self._open[0].got += len(part)
        return self._bad_answer(reason, now, at + len(part) - old)

    def _answer(self, head: _head.AnswerHead, size: int, at: int, now: int) -> int:
        """An answer's head is whole, ``size`` bytes up to ``at``."""
        item = self._open[0]
        item.got += size
        item.seen = now
        self._fresh = False
        reason = head.reason
        if reason is None and head.length == _head.CHUNKED and not item.head.minor:
            reason = _head.CODING_IN_1_0
        if reason is not None:
            return self._bad_answer(reason, now, at)
        status = head.status
        if status < 200 and status != 101:
            self._r = HEAD
            item.interim += 1
            return self._bad_answer(_head.INTERIM, now, at) if item.interim > MAX_INTERIM else at
        item.answer_head = head
        item.first = max(self._began_r - item.started, 0)
        if status == 101 or (item.head.is_connect and status < 300):
            return self._switch(item, now, at)
        if item.keep and (status >= 400 or (item.keep == CHOSEN and item.draw < self._recorder.threshold)):
            item.answer = Kept(self._recorder.body_limit, self._holder)
        if head.stream:
            item.flags |= exchange.STREAM
            item.marks = []
        if head.empty or item.head.is_head or not head.length:
            self._answered(now)
        elif head.length > 0:
            self._r, self._left_r = BODY, head.length
        elif head.length == _head.CHUNKED:
            self._r, self._reading_r = CHUNK, Chunks()
        else:
            self._r = CLOSE
        return at

    def _read_answer_body(self, data: Buffer, at: int, stop: int, now: int) -> int:
        item = self._open[0]
        kept = item.answer
        item.seen = now
        if item.marks is not None:
            item.mark(now)
        if self._r == CHUNK:
            chunks = self._reading_r
            assert chunks is not None
            end = chunks.feed(data, at, stop, kept)
            item.got += end - at
            if chunks.reason is not None:
                return self._bad_answer(chunks.reason, now, end)
            if chunks.done:
                self._answered(now)
            return end
        end = stop if self._r == CLOSE else min(stop, at + self._left_r)
        item.got += end - at
        if kept is not None:
            kept.add(data, at, end)
        if self._r == BODY:
            self._left_r -= end - at
            if not self._left_r:
                self._answered(now)
        return end

    def _answered(self, now: int) -> None:
        """The answer is whole."""
        item = self._open.popleft()
        head = item.answer_head
        assert head is not None
        self._r = DONE if head.close else HEAD
        self._reading_r = None
        if self._q == HOLD and not self._open:
            self._q = HEAD
        self._finish(item, now, 0)
        if self._open:
            self._pipelined = True
            if self._shaken:
                self._give_up()

    def _switch(self, item: Pending, now: int, at: int) -> int:
        """101, or CONNECT is granted: the connection is a tunnel."""
        whole = self._q == HOLD if item.head.is_connect else item.head.upgrade and self._q in (HEAD, PART, DONE)
        if not whole or len(self._open) > 1 or self._part_q:
            return self._bad_answer(_head.UPGRADE, now, at)
        self._finish(self._open.popleft(), now, exchange.UPGRADED)
        self._ignore()
        return at

    def _bad_answer(self, reason: str, now: int, at: int = 0) -> int:
        """Nobody knows which answer belongs to which request any more."""
        self._recorder.problem(reason)
        while self._open:
            self._finish(self._open.popleft(), now, exchange.AMBIGUOUS)
        self._q = self._r = DEAD
        self._part_r.clear()
        self._part_q.clear()
        self._asked = self._reading_q = self._reading_r = None
        return at

    # What is lost, ambiguous, opaque or over.

    def _lost_request_bytes(self) -> None:
        if self._asked is not None:
            self._asked.flags |= exchange.INCOMPLETE
        self._part_q.clear()
        self._asked = self._reading_q = None
        self._q = SYNC
        if self._r == CAUGHT or (self._r in (HEAD, DONE) and not self._open):
            self._r = SYNC

    def _lost_answer_bytes(self) -> None:
        if len(self._open) > 1:  # this client waits, so the gap holds the answers to all but the last request
            while len(self._open) > 1:
                self._finish(self._open.popleft(), 0, exchange.INCOMPLETE)
        elif self._open:
            self._open[0].flags |= exchange.INCOMPLETE
        self._part_r.clear()
        self._reading_r = None
        self._r = SYNC
        if self._q == HEAD:
            self._q = PART  # off the short path: the next request settles the answer that was cut

    def _settle(self) -> None:
        """A new request begins after bytes were lost: what is open was answered, we do not know when."""
        while self._open:
            self._finish(self._open.popleft(), 0, exchange.INCOMPLETE)
        self._part_r.clear()
        self._reading_r = None

    def _give_up(self) -> None:
        """A client that does not wait for answers, and bytes are missing: nothing can be paired for sure."""
        self._settle()
        self._ignore()

    def _opaque(self, now: int, size: int) -> None:
        self._tail = Pending(_NO_HEAD, now, size)
        self._tail.flags = exchange.OPAQUE
        self._q = self._r = DEAD

    def _ignore(self) -> None:
        self._q = self._r = IGNORE
        self._tail = self._asked = self._reading_q = self._reading_r = None
        self._part_q, self._part_r = bytearray(), bytearray()

    def _tail_sent(self, size: int, now: int) -> None:
        tail = self._tail
        if tail is None:
            tail = self._tail = Pending(_NO_HEAD, now, 0)
            tail.flags = exchange.AMBIGUOUS
        tail.started = tail.started or now
        tail.sent += size
        tail.seen = max(tail.seen, now)

    def _tail_got(self, size: int, now: int) -> None:
        tail = self._tail
        if tail is not None:
            tail.started = tail.started or now
            tail.got += size
            tail.seen = max(tail.seen, now)
            if tail.first < 0:
                tail.first = max(now - tail.started, 0)

    # Handing over.

    def _leave_short_path(self) -> None:
        head = self._one
        if head is None:
            return
        item = Pending(head, self._one_started, self._one_sent)
        if self._one_body is not None:
            item.draw = self._one_draw
            item.keep = CHOSEN if item.draw < self._recorder.threshold else IF_ERROR
            item.question = Kept(0, self._holder)
            item.question.body, item.question.held = self._one_body, self._one_sent
        self._one = self._one_body = None
        self._open.append(item)

    def _copy_short(self, ask: _head.RequestHead, head: _head.AnswerHead, body: bytes, took: int, got: int) -> None:
        assert self._one_body is not None
        record = exchange.Record(self._one_started, took, took, self._one_sent, got, self.port, head.status, 0, 0)
        limit, flags = self._recorder.body_limit, 0
        question = self._one_body
        if len(body) > limit:
            body, flags = body[:limit], exchange.RESPONSE_CUT
        self._one_body = None
        copy = exchange.Copy(record._replace(flags=flags), ask.raw, question, head.raw, body, ())
        self._recorder.copy(ask.line, copy, self._one_draw)

    def _finish(self, item: Pending, ended: int, flags: int) -> None:
        """An exchange is over at ``ended`` (epoch ns; 0: with its last byte)."""
        flags |= item.flags
        head, question, answer = item.answer_head, item.question, item.answer
        ill = flags & _ILL
        ambiguous = flags & (exchange.AMBIGUOUS | exchange.OPAQUE)
        status = 0 if head is None or ambiguous else head.status
        line = b"" if ambiguous else item.head.line
        took = max((ended or item.seen) - item.started, 0)
        record = (item.started, took, item.first, item.sent, item.got, self.port, status, 0)
        recorder = self._recorder
        copied = False
        if item.keep and not ill and head is not None and question is not None and answer is not None:
            if question.failed or answer.failed:
                recorder.dropped(IN_FLIGHT_FULL)
            elif recorder.wants(item.draw, status):
                copied = True
                cut = (exchange.REQUEST_CUT if question.cut else 0) | (exchange.RESPONSE_CUT if answer.cut else 0)
                bodies = (item.head.raw, bytes(question.body), head.raw, bytes(answer.body))
                copy = exchange.Copy(exchange.Record(*record, flags | cut), *bodies, tuple(item.marks or ()))
                recorder.copy(line, copy, item.draw)
        item.release()
        item.question = item.answer = None
        if not copied:
            recorder.finish(line, *record[:7], flags)
