"""The client's direction of a conversation: requests. `read` is its only way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pilotfish import exchange
from pilotfish_agent.capture import _head
from pilotfish_agent.capture._body import Chunks
from pilotfish_agent.capture._pending import CHOSEN, IF_ERROR, PENDING_BYTES, Kept, Pending
from pilotfish_agent.capture._states import (
    BODY,
    CAUGHT,
    CHUNK,
    CLOSE,
    DEAD,
    DONE,
    HEAD,
    HEAD_END,
    HOLD,
    MAX_OPEN,
    PART,
    SYNC,
    Buffer,
)  # fmt: skip

if TYPE_CHECKING:
    from pilotfish_agent.capture.http1 import Conversation

_LF_OR_NOT_YET: Final = (bytearray(b"\n"), bytearray())


def read(talk: Conversation, data: Buffer, at: int, stop: int, now: int) -> None:
    """``data[at:stop]`` came at ``now`` (epoch ns)."""
    talk.leave_short_path()
    while at < stop:
        state = talk.q
        if state in (HEAD, PART):
            at = _read_head(talk, data, at, stop, now)
        elif state == BODY:
            at = _body(talk, data, at, stop)
        elif state == CHUNK:
            at = _chunks(talk, data, at, stop, now)
        elif state == SYNC:
            if not _head.message_begins(data, at, stop):
                return
            talk.settle()
            talk.r = HEAD
            talk.q = PART
        elif state in (CAUGHT, DONE, HOLD):
            reason = {CAUGHT: _head.UNASKED, DONE: _head.AFTER_CLOSE, HOLD: _head.TUNNEL}[state]
            _bad_request(talk, reason, now, 0)
        else:
            if state == DEAD:
                talk.tail_sent(stop - at, now)
            return


def _read_head(talk: Conversation, data: Buffer, at: int, stop: int, now: int) -> int:
    """Reads on in a head; where it stopped."""
    part = talk.part_q
    old = len(part)
    if not old:
        talk.began_q = now
        end = data.find(HEAD_END, at, min(stop, at + _head.MAX_HEAD)) + 4
        if end > 3 and data.find(b"\r\n", at, at + 2) != at:
            return _ask(talk, _head.request_head(bytes(data[at:end])), end - at, end)
    part += data[at : min(stop, at + _head.MAX_HEAD - old)]
    talk.holder.heads += len(part) - old
    if part[:1] == b"\r" and part[1:2] in _LF_OR_NOT_YET:  # one empty line may come before a request
        talk.q = PART
        if len(part) == 1:
            return at + 1
        talk.clear_q()
        if talk.blank:
            return _bad_request(talk, _head.EMPTY_LINES, now, 2, at + 2 - old)
        talk.blank = True
        return at + 2 - old
    end = part.find(HEAD_END, max(0, old - 3)) + 4
    if end > 3:
        head = _head.request_head(bytes(part[:end]))
        talk.clear_q()
        return _ask(talk, head, end, at + end - old)
    reason = _head.early(part, old, asked=True)
    if reason is None and len(part) >= _head.MAX_HEAD:
        reason = _head.HEAD_TOO_LARGE
    if reason is None and talk.holder.heads > talk.holder.heads_limit:
        reason = _head.ROOM
    talk.q = PART
    if reason is None:
        return stop
    at += len(part) - old
    return _no_head(talk, reason, len(part), at)


def _no_head(talk: Conversation, reason: str, size: int, at: int) -> int:
    """What came is no request's head."""
    talk.clear_q()
    if reason == _head.FOREIGN:
        if talk.fresh and not talk.pending:
            talk.opaque(talk.began_q, size)
            return at
        reason = _head.REQUEST_LINE
    return _bad_request(talk, reason, talk.began_q, size, at)


def _ask(talk: Conversation, head: _head.RequestHead, size: int, at: int) -> int:
    """A request's head is whole, ``size`` bytes up to ``at``."""
    if head.reason is not None:
        return _no_head(talk, head.reason, size, at)
    talk.blank = False
    if talk.r == SYNC:  # the answer in which bytes were lost is over: this client waits for answers
        talk.settle()
        talk.r = HEAD
    if len(talk.pending) >= MAX_OPEN:
        return _bad_request(talk, _head.OPEN, talk.began_q, size, at)
    charge = len(head.raw) + len(head.line) + PENDING_BYTES
    if talk.holder.heads + charge > talk.holder.heads_limit:
        return _bad_request(talk, _head.ROOM, talk.began_q, size, at)
    talk.holder.heads += charge
    item = talk.asked = Pending(head, talk.began_q, size)
    item.charge = charge
    talk.pending.append(item)
    recorder = talk.recorder
    if recorder.keep:
        item.draw = recorder.draw()
        chosen = item.draw < recorder.threshold
        item.keep = CHOSEN if chosen else IF_ERROR
        item.question = Kept(recorder.body_limit if chosen else recorder.error_body, talk.holder)
    if head.length > 0:
        talk.q, talk.left_q = BODY, head.length
    elif head.length < 0:
        talk.q, talk.reading_q = CHUNK, Chunks()
    else:
        _asked_all(talk)
    return at


def _body(talk: Conversation, data: Buffer, at: int, stop: int) -> int:
    taken = min(talk.left_q, stop - at)
    talk.left_q -= taken
    item = talk.asked
    assert item is not None
    item.sent += taken
    if item.question is not None:
        item.question.add(data, at, at + taken)
    if not talk.left_q:
        _asked_all(talk)
    return at + taken


def _chunks(talk: Conversation, data: Buffer, at: int, stop: int, now: int) -> int:
    item, chunks = talk.asked, talk.reading_q
    assert item is not None
    assert chunks is not None
    end = chunks.feed(data, at, stop, item.question)
    item.sent += end - at
    if chunks.reason is not None:
        return _bad_request(talk, chunks.reason, now, 0, end)
    if chunks.done:
        _asked_all(talk)
    return end


def _asked_all(talk: Conversation) -> None:
    """The request is whole."""
    assert talk.asked is not None
    head = talk.asked.head
    talk.q = HOLD if head.is_connect else DONE if head.close else HEAD
    talk.asked = talk.reading_q = None


def _bad_request(talk: Conversation, reason: str, began: int, size: int, at: int = 0) -> int:
    """From here on, or from the request being read, the connection is ambiguous."""
    talk.recorder.problem(reason)
    item = talk.asked
    if item is not None and talk.pending and talk.pending[-1] is item:
        talk.pending.pop()
        if not talk.pending and talk.r in (PART, BODY, CHUNK, CLOSE):
            talk.r = DEAD
    else:
        item = Pending(_head.NO_HEAD, began, size)
    item.release()
    item.question = item.answer = None
    item.flags |= exchange.AMBIGUOUS
    talk.q = DEAD
    talk.asked = talk.reading_q = None
    talk.tail = item
    return at
