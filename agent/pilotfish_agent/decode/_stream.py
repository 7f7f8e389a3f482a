"""Streamed answers: their events, and when each arrived. An event is not a token, nor a part of the network's."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from pilotfish_agent.decode._coding import decoded
from pilotfish_agent.decode._part import Unreadable
from pilotfish_core.nouns import Exchange

MAX_STREAM: Final = 8 << 20
"""Bytes of a stream without content coding: event by event it takes no memory, and a long generation has MiB."""
MAX_EVENTS: Final = 40_000
_NO_CODING: Final = ("", "identity")


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


def events(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(offset of its last byte, type, data) of each server-sent event (WHATWG HTML, section 9.2).

    Events without data are left out. A line ``error: ...``, which old llama.cpp sends, is an event of type ``error``.

    Raises:
        Unreadable: json_wide: more events than a generation has.
    """
    held: list[bytes] = []
    kind, count, at, end = b"", 0, 0, len(data)
    while at < end:
        stop = data.find(b"\n", at)
        stop = end if stop < 0 else stop
        line = data[at:stop]
        if line.endswith(b"\r"):
            line = line[:-1]
        at = stop + 1
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                held.append(value[1:] if value.startswith(b" ") else value)
            elif name == b"event":
                kind = value.strip()
            elif name == b"error":
                held, kind = [value.strip()], b"error"
        if held and (not line or at >= end):  # the last one, too, when its empty line was lost
            count += 1
            if count > MAX_EVENTS:
                raise Unreadable("json_wide")
            yield min(stop, end - 1), kind, b"\n".join(held) if len(held) > 1 else held[0]
        if not line:
            held, kind = [], b""


def lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(offset of its last byte, line) of each line of NDJSON that is not empty.

    Raises:
        Unreadable: json_wide: more lines than a generation has.
    """
    at, end, count = 0, len(data), 0
    while at < end:
        stop = data.find(b"\n", at)
        stop = end if stop < 0 else stop
        line = data[at:stop].strip()
        at = stop + 1
        if line:
            count += 1
            if count > MAX_EVENTS:
                raise Unreadable("json_wide")
            yield min(stop, end - 1), line


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
