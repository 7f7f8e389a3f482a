"""Exchange frames to what the pipeline works with: all timings as one table, and copies that are whole.

A copy travels in parts, which come in order. What arrives of one that never gets whole (a frame was dropped, its sender
was started anew) is let go, but for the record at its beginning: the timings of an exchange are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish import exchange
from pilotfish.exchange import Record
from pilotfish.wire import FrameError
from pilotfish_core.nouns import Exchange, Outcome

RECORDS: Final = np.dtype(
    [
        ("started", "<u8"),
        ("duration", "<i8"),
        ("first", "<i8"),
        ("request_bytes", "<u8"),
        ("response_bytes", "<u8"),
        ("port", "<u2"),
        ("status", "<u2"),
        ("line", "<u2"),
        ("flags", "<u2"),
    ]
)
"""As `exchange.RECORD`."""
assert RECORDS.itemsize == exchange.RECORD.size
MAX_OPEN: Final = 4
"""Copies that wait for their parts: one a sender, and one more while a sender is replaced."""
MAX_OPEN_BYTES: Final = 16 << 20
MAX_AGE: Final = 10.0
"""Seconds: a sender sends the parts of a copy one after the other; its process is gone when none comes."""
MAX_HEADERS: Final = 200
MAX_HEADER: Final = 8_192
"""Bytes looked at of one header's value."""
CUT: Final = "copy_incomplete"
"""Reason of copies that never got whole."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Exchanges without their bodies.

    Attributes:
        records: of dtype `RECORDS`; its column ``line`` is of the frames they came in, and means nothing here.
        line: for each record, the place of its request line in ``lines``.
        lines: request lines, ``METHOD target`` as sent; empty where there was none.
    """

    records: NDArray[Any]
    line: NDArray[np.int64]
    lines: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Captured:
    """What came since the last time: ``copies`` are packed, for `exchange_of`."""

    timings: Timings
    copies: tuple[bytes, ...] = ()


@dataclass(slots=True)
class _Open:
    """A copy whose parts are coming in."""

    total: int
    since: float
    size: int = 0
    pieces: list[bytes] = field(default_factory=list)


class Table:
    """Collects records that name their lines, for one `Timings`."""

    def __init__(self) -> None:
        self._lines: dict[bytes, int] = {}
        self._records: list[bytes] = []
        self._places: list[NDArray[np.int64]] = []

    def add(self, records: bytes, lines: Sequence[bytes]) -> None:
        """Packed records, whose column ``line`` is a place in ``lines``.

        Raises:
            FrameError: a record names a line that is not there.
        """
        places = np.frombuffer(records, RECORDS)["line"]
        if len(places) and int(places.max()) >= len(lines):
            raise FrameError("frame_rows", f"line {int(places.max())} of {len(lines)}")
        known = self._lines
        mapped = np.array([known.setdefault(line, len(known)) for line in lines], np.int64)
        self._records.append(records)
        self._places.append(mapped[places])

    def add_one(self, record: Record, line: bytes) -> None:
        """One record."""
        self.add(exchange.RECORD.pack(*record[:7], 0, record.flags), (line,))

    def timings(self) -> Timings:
        """All of them, in order; the table is empty again."""
        records = np.frombuffer(b"".join(self._records), RECORDS)
        places = np.concatenate(self._places) if self._places else np.empty(0, np.int64)
        found = Timings(records, places, tuple(self._lines))
        self._lines, self._records, self._places = {}, [], []
        return found


class Assembly:
    """Takes exchange frames, gives timings and whole copies. One thread uses it.

    Attributes:
        cut: copies that never got whole.
    """

    def __init__(self) -> None:
        self.cut = 0
        self._table = Table()
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._gone: int | None = None  # the copy that was let go last: its other parts are not told again
        self._bytes = 0
        self._copies: list[bytes] = []

    def add(self, data: bytes, now: float) -> None:
        """One datagram that came at ``now``, monotonic seconds.

        Raises:
            FrameError: it is no exchange frame; nothing of it is taken.
        """
        frame = exchange.unpack(data)
        if isinstance(frame, exchange.Timings):
            self._table.add(frame.records, frame.lines)
            return
        for part in frame.parts:
            self._part(part, now)

    def take(self, now: float) -> Captured:
        """What is whole; what has waited too long for its other parts is let go."""
        while self._open and now - next(iter(self._open.values())).since > MAX_AGE:
            self._let_go(next(iter(self._open)))
        copies, self._copies = tuple(self._copies), []
        return Captured(self._table.timings(), copies)

    def _part(self, part: exchange.Part, now: float) -> None:
        found = self._open.get(part.copy)
        if found is not None and (part.total != found.total or part.offset != found.size):
            self._let_go(part.copy)
            found = None
        if found is None:
            if part.offset:  # the parts before it were dropped
                self.cut += part.offset + len(part.data) == part.total and part.copy != self._gone
                return
            if len(part.data) == part.total:  # by far the usual
                self._copies.append(part.data)
                return
            found = self._open[part.copy] = _Open(part.total, now)
        found.pieces.append(part.data)
        found.size += len(part.data)
        self._bytes += len(part.data)
        if found.size == found.total:
            del self._open[part.copy]
            self._bytes -= found.size
            self._copies.append(b"".join(found.pieces))
        while len(self._open) > MAX_OPEN or self._bytes > MAX_OPEN_BYTES:
            self._let_go(next(iter(self._open)))

    def _let_go(self, number: int) -> None:
        gone, self._gone = self._open.pop(number), number
        self._bytes -= gone.size
        self.cut += 1
        left = exchange.record_of(gone.pieces[0])
        if left is not None:
            self._table.add_one(*left)


def exchange_of(packed: bytes) -> tuple[Record, bytes, Exchange]:
    """The record, the request line and the noun of a copy; heads are read leniently, whatever the capture let pass.

    Raises:
        FrameError: when it is no copy.
    """
    copy = exchange.unpack_copy(packed)
    record = copy.record
    first, asked = _head(copy.request_head)
    _, answered = _head(copy.response_head)
    line, _, _ = first.rpartition(" ")
    method, _, target = line.partition(" ")
    found = Exchange(
        port=record.port,
        started=record.started / 1e9,
        duration=record.duration / 1e9,
        first=record.first / 1e9 if record.first >= 0 else None,
        method=method,
        target=target,
        status=record.status or None,
        outcome=outcome_of(record.status, record.flags),
        request_headers=asked,
        request_body=copy.request_body,
        response_headers=answered,
        response_body=copy.response_body,
        request_cut=bool(record.flags & exchange.REQUEST_CUT),
        response_cut=bool(record.flags & exchange.RESPONSE_CUT),
        marks=tuple((offset, micros / 1e6) for offset, micros in copy.marks),
    )
    return record, line.encode("latin-1"), found


def outcome_of(status: int, flags: int) -> Outcome:
    """How an exchange ended; one whose answer never began, or broke off, is aborted, whatever its status."""
    if flags & exchange.ABORTED or not status:
        return "aborted"
    return "success" if status < 400 else "client_error" if status < 500 else "server_error"


def _head(raw: bytes) -> tuple[str, Mapping[str, str]]:
    """The first line and the headers of a head."""
    first, *lines = raw.split(b"\r\n", MAX_HEADERS + 1)[: MAX_HEADERS + 1]
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name:
            continue
        key = name.strip().lower().decode("latin-1")
        text = value.strip(b" \t")[:MAX_HEADER].decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return first.decode("latin-1"), headers
