"""Streamed answers: their events, and when each arrived. An event is not a token, nor a part of the network's."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from pilotfish_agent.decode._coding import decoded
from pilotfish_agent.decode._part import Unreadable
from pilotfish_core.nouns import Exchange

MAX_STREAM: Final = 8 << 20
"""Bytes of a stream without content coding, which is read where it lies."""
MAX_HEAD: Final = 2 << 20
MAX_EVENTS: Final = 8_000
MAX_LINES: Final = 30_000
"""How much of a stream's beginning is read: an event costs some 5 us. Of a longer one its end is too, with `usage`."""
TAIL: Final = 16 << 10
MAX_EVENT: Final = 1 << 20
_NO_CODING: Final = ("", "identity")
_CR: Final = 13


def body(exchange: Exchange) -> tuple[bytes, bool]:
    """The streamed bytes, and whether the marks' offsets are theirs (they are not under a content coding).

    Raises:
        Unreadable: body_large, or as `decoded` says.
    """
    coding = exchange.response_headers.get("content-encoding", "")
    if coding.strip().lower() not in _NO_CODING:
        return decoded(exchange.response_body, coding, cut=exchange.response_cut), False
    if len(exchange.response_body) > MAX_STREAM:
        raise Unreadable("body_large")
    return exchange.response_body, True


class Events:
    """(offset of its last byte, type, data) of each server-sent event (WHATWG HTML, section 9.2) or line of JSON.

    Events without data are left out. A line ``error: ...``, which old llama.cpp sends, is an event of type ``error``.

    Args:
        data: the stream.
        lines: it is lines of JSON, each an event.

    Attributes:
        partial: the stream was too long: only its beginning and its end were read.
    """

    def __init__(self, data: bytes, *, lines: bool = False) -> None:
        self._data = data
        self._read = self._lines if lines else self._events
        self._between = b"\n" if lines else b"\n\n"
        self._at = 0
        self.partial = False

    def __iter__(self) -> Iterator[tuple[int, bytes, bytes]]:
        size = len(self._data)
        yield from self._read(0, min(size, MAX_HEAD))
        if self._at < size:
            self.partial = True
            start = self._data.find(self._between, max(self._at, size - TAIL))
            if start >= 0:
                yield from self._read(start + len(self._between), size)

    def _events(self, at: int, end: int) -> Iterator[tuple[int, bytes, bytes]]:
        data, size = self._data, len(self._data)
        held: list[bytes] = []
        kind, count = b"", 0
        for _ in range(MAX_LINES):
            if at >= end or count >= MAX_EVENTS:
                break
            stop = data.find(b"\n", at, end)
            last = stop < 0
            if last and end < size:
                break  # the rest of this line is beyond the head
            stop = end if last else stop
            until = stop - 1 if stop > at and data[stop - 1] == _CR else stop
            if data.startswith(b"data:", at):
                start = at + 6 if data.startswith(b" ", at + 5) else at + 5
                held.append(data[start:until] if until - start <= MAX_EVENT else b"")
            elif data.startswith(b"event:", at):
                kind = data[at + 6 : min(until, at + 100)].strip()
            elif data.startswith(b"error:", at):
                held, kind = [data[at + 6 : min(until, at + 1_000)].strip()], b"error"
            empty = until == at
            at = self._at = stop + 1
            if held and (empty or at >= size):  # the last one, too, when its empty line was lost
                count += 1
                yield min(stop, size - 1), kind, b"\n".join(held) if len(held) > 1 else held[0]
            if empty:
                held, kind = [], b""

    def _lines(self, at: int, end: int) -> Iterator[tuple[int, bytes, bytes]]:
        data, size = self._data, len(self._data)
        for _ in range(TAIL if self.partial else MAX_EVENTS):  # the end has fewer lines than bytes: all are read
            if at >= end:
                break
            stop = data.find(b"\n", at, end)
            if stop < 0 and end < size:
                break
            stop = end if stop < 0 else stop
            line = data[at:stop].strip() if stop - at <= MAX_EVENT else b""
            at = self._at = stop + 1
            if line:
                yield min(stop, size - 1), b"", line


class Times:
    """When the parts with content arrived.

    Args:
        exchange: with its marks.
        aligned: whether the marks' offsets are those of the bytes that are read.
    """

    def __init__(self, exchange: Exchange, *, aligned: bool) -> None:
        marks = exchange.marks if aligned else ()
        self._offsets = [offset for offset, _ in marks]
        self._seconds = [seconds for _, seconds in marks]
        self._last = -1
        self._found: list[float] = []

    def content(self, offset: int) -> None:
        """An event with content ended at ``offset``; several in one part arrived together."""
        part = bisect_right(self._offsets, offset) - 1
        if part > self._last:
            self._last = part
            self._found.append(self._seconds[part])

    @property
    def first(self) -> float | None:
        """Seconds to the first part with content."""
        return self._found[0] if self._found else None

    @property
    def gaps(self) -> tuple[float, ...]:
        """Seconds between the parts with content."""
        return tuple(max(0.0, b - a) for a, b in zip(self._found, self._found[1:], strict=False))
