"""The server's direction of a conversation: answers. `read` is its only way in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilotfish import exchange
from pilotfish_agent.capture import _head
from pilotfish_agent.capture._body import Chunks
from pilotfish_agent.capture._pending import CHOSEN, Kept, Pending
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
    IGNORE,
    MAX_INTERIM,
    PART,
    SYNC,
    Buffer,
)  # fmt: skip

if TYPE_CHECKING:
    from pilotfish_agent.capture.http1 import Conversation


def read(talk: Conversation, data: Buffer, at: int, stop: int, now: int) -> None:
    """``data[at:stop]`` came at ``now`` (epoch ns)."""
    talk.leave_short_path()
    while at < stop:
        state = talk.r
        if state in (DEAD, IGNORE) or (state == CAUGHT and talk.q != DEAD):
            if state == DEAD:
                talk.tail_got(stop - at, now)
            return
        if not talk.pending:
            _unasked(talk, data, at)
            if talk.r == SYNC:
                return
            if talk.r == SYNC:
                return
        elif state in (HEAD, PART):
            at = _read_head(talk, data, at, stop, now)
        elif state == DONE:
            _bad_answer(talk, _head.AFTER_CLOSE, now)
        elif state == SYNC:
            item = talk.pending[0]
            if item.answer_head is not None or data[at : min(stop, at + 7)] != b"HTTP/1.":
                item.got += stop - at
                item.seen = now
                return
            talk.r = HEAD
        else:
            at = _body(talk, data, at, stop, now)


def _unasked(talk: Conversation, data: Buffer, at: int) -> None:
    """Bytes of the server that answer nothing."""
    if talk.q == DEAD:
        talk.r = DEAD
    elif talk.fresh and talk.q == HEAD and data[at : at + 1] != b"H":
        talk.opaque(0, 0)  # a protocol in which the server speaks first
    elif SYNC in (talk.q, talk.r):
        talk.r = SYNC  # the request may have been among the lost bytes
    else:  # the lost bytes may not be noticed yet: judged when the client's next bytes come
        talk.r = talk.q = CAUGHT


def _read_head(talk: Conversation, data: Buffer, at: int, stop: int, now: int) -> int:
    part = talk.part_r
    old = len(part)
    if not old:
        talk.began_r = now
        end = data.find(HEAD_END, at, min(stop, at + _head.MAX_HEAD)) + 4
        if end > 3:
            return _answer(talk, _head.answer_head(bytes(data[at:end])), end - at, end, now)
    part += data[at : min(stop, at + _head.MAX_HEAD - old)]
    talk.holder.heads += len(part) - old
    end = part.find(HEAD_END, max(0, old - 3)) + 4
    if end > 3:
        head = _head.answer_head(bytes(part[:end]))
        talk.clear_r()
        return _answer(talk, head, end, at + end - old, now)
    reason = _head.early(part, old, asked=False)
    if reason is None and len(part) >= _head.MAX_HEAD:
        reason = _head.HEAD_TOO_LARGE
    if reason is None and talk.holder.heads > talk.holder.heads_limit:
        reason = _head.ROOM
    talk.r = PART
    if reason is None:
        return stop
    talk.pending[0].got += len(part)
    return _bad_answer(talk, reason, now, at + len(part) - old)


def _answer(talk: Conversation, head: _head.AnswerHead, size: int, at: int, now: int) -> int:
    """An answer's head is whole, ``size`` bytes up to ``at``."""
    item = talk.pending[0]
    item.got += size
    item.seen = now
    talk.fresh = False
    reason = head.reason
    if reason is None and head.length == _head.CHUNKED and not item.head.minor:
        reason = _head.CODING_IN_1_0
    if reason is not None:
        return _bad_answer(talk, reason, now, at)
    status = head.status
    if status < 200 and status != 101:
        talk.r = HEAD
        item.interim += 1
        return _bad_answer(talk, _head.INTERIM, now, at) if item.interim > MAX_INTERIM else at
    item.answer_head = head
    item.first = max(talk.began_r - item.started, 0)
    if status == 101 or (item.head.is_connect and status < 300):
        return _switch(talk, item, now, at)
    if item.keep and (status >= 400 or (item.keep == CHOSEN and item.draw < talk.recorder.threshold)):
        item.answer = Kept(talk.recorder.body_limit, talk.holder)
    if head.stream:
        item.flags |= exchange.STREAM
        item.marks = []
    if head.empty or item.head.is_head or not head.length:
        _answered(talk, now)
    elif head.length > 0:
        talk.r, talk.left_r = BODY, head.length
    elif head.length == _head.CHUNKED:
        talk.r, talk.reading_r = CHUNK, Chunks()
    else:
        talk.r = CLOSE
    return at


def _body(talk: Conversation, data: Buffer, at: int, stop: int, now: int) -> int:
    item = talk.pending[0]
    kept = item.answer
    item.seen = now
    before = 0 if kept is None else kept.size
    if talk.r == CHUNK:
        chunks = talk.reading_r
        assert chunks is not None
        end = chunks.feed(data, at, stop, kept)
        item.got += end - at
        item.mark(before, now)
        if chunks.reason is not None:
            return _bad_answer(talk, chunks.reason, now, end)
        if chunks.done:
            _answered(talk, now)
        return end
    end = stop if talk.r == CLOSE else min(stop, at + talk.left_r)
    item.got += end - at
    if kept is not None:
        kept.add(data, at, end)
        item.mark(before, now)
    if talk.r == BODY:
        talk.left_r -= end - at
        if not talk.left_r:
            _answered(talk, now)
    return end


def _answered(talk: Conversation, now: int) -> None:
    """The answer is whole."""
    item = talk.pending.pop(0)
    head = item.answer_head
    assert head is not None
    talk.r = DONE if head.close else HEAD
    talk.reading_r = None
    if talk.q == HOLD and not talk.pending:
        talk.q = HEAD
    talk.finish(item, now, 0)
    if talk.pending:
        talk.pipelined = True
        if talk.shaken:
            talk.give_up()


def _switch(talk: Conversation, item: Pending, now: int, at: int) -> int:
    """101, or CONNECT is granted: the connection is a tunnel."""
    whole = talk.q == HOLD if item.head.is_connect else item.head.upgrade and talk.q in (HEAD, PART, DONE)
    if not whole or len(talk.pending) > 1 or talk.part_q:
        return _bad_answer(talk, _head.UPGRADE, now, at)
    talk.finish(talk.pending.pop(0), now, exchange.UPGRADED)
    talk.ignore()
    return at


def _bad_answer(talk: Conversation, reason: str, now: int, at: int = 0) -> int:
    """Nobody knows which answer belongs to which request any more."""
    talk.recorder.problem(reason)
    while talk.pending:
        talk.finish(talk.pending.pop(0), now, exchange.AMBIGUOUS)
    talk.q = talk.r = DEAD
    talk.clear_r()
    talk.clear_q()
    talk.asked = talk.reading_q = talk.reading_r = None
    return at
