"""Exchange frames: what pf-capture puts into the same socket as the SDK's frames (docs/reference/frames.md).

Every exchange travels exactly once: as a record of a timings frame, or, where the sample chose its bodies, as a
copy, which begins with the same record. A copy may be larger than a datagram and then goes in parts.
Standard library only; the capture process and the agent's intake use it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pilotfish.wire import MAX_FRAME, FrameError

MAGIC = b"PX"
VERSION = 1
TIMINGS, COPIES, COUNTERS = range(3)
KINDS = (TIMINGS, COPIES, COUNTERS)

ABORTED = 1
"""The connection died before the answer was complete."""
INCOMPLETE = 2
"""Bytes of it were lost by the capture (never by the client): its sizes, and its duration, may be short."""
AMBIGUOUS = 4
"""Its framing could be read in two ways: timings only, nothing in it is believed."""
UPGRADED = 8
"""101 Switching Protocols, or CONNECT: what follows is not HTTP/1.1."""
OPAQUE = 16
"""Not HTTP/1.1 that we can read (TLS, another protocol): a connection's timings, no head."""
STREAM = 32
"""The answer was text/event-stream or NDJSON; marks say when its parts arrived."""
REQUEST_CUT = 64
"""The copy holds only the beginning of the request's body."""
RESPONSE_CUT = 128
"""The copy holds only the beginning of the answer's body."""
EXTRA = 256
"""An informational answer (1xx) or an answer without a request: not an exchange of its own; reserved."""
FLAGS = (ABORTED, INCOMPLETE, AMBIGUOUS, UPGRADED, OPAQUE, STREAM, REQUEST_CUT, RESPONSE_CUT, EXTRA)

HEADER = struct.Struct("<2sBBIId")  # magic, version, kind, lost, rows, sent: begins as wire's
RECORD = struct.Struct("<QqqQQHHHH")
"""started (epoch ns), duration, first (ns from the start; -1: there was none), request and response bytes on the
connection, server port, status (0: none), line (index into the frame's lines), flags."""
NONE = -1
MAX_LINE = 2_048
MAX_MARKS = 4_096
MAX_COPY = 8 << 20
_PART = struct.Struct("<QIII")  # copy, bytes of the whole copy, offset, bytes of this part
_COPY = struct.Struct("<IIIIH")  # bytes of request head and body, response head and body, marks
_MARK = struct.Struct("<II")  # offset in the answer's body, microseconds since the start
_LINE = struct.Struct("<H")
ROOM = MAX_FRAME - HEADER.size


class Record(NamedTuple):
    """One exchange's numbers, see `RECORD`."""

    started: int
    duration: int
    first: int
    request_bytes: int
    response_bytes: int
    port: int
    status: int
    line: int
    flags: int


class Copy(NamedTuple):
    """One exchange with what was said: heads as they came, bodies without their transfer coding.

    ``marks``: (offset in the response's body, microseconds since the start) of the parts of a streamed answer.
    """

    record: Record
    request_head: bytes
    request_body: bytes
    response_head: bytes
    response_body: bytes
    marks: tuple[tuple[int, int], ...]


class Timings(NamedTuple):
    """A timings frame: ``records`` are packed `RECORD`s, ``lines`` the request lines (``METHOD target``)."""

    lost: int
    rows: int
    lines: tuple[bytes, ...]
    records: bytes


class Part(NamedTuple):
    """A piece of a copy; (``copy``, ``total``) name it, it is whole when ``offset`` 0 holds ``total`` bytes."""

    copy: int
    total: int
    offset: int
    data: bytes


class Copies(NamedTuple):
    """A frame of copies or parts of one."""

    lost: int
    parts: tuple[Part, ...]


class Counters(NamedTuple):
    """The capture's own absolute counts since its start."""

    lost: int
    values: Mapping[str, Any]


def pack_timings(lines: Sequence[bytes], records: bytes, sent: float, lost: int = 0) -> bytes:
    """A timings frame; the caller keeps it within `wire.MAX_FRAME` and each line within `MAX_LINE` bytes."""
    head = HEADER.pack(MAGIC, VERSION, TIMINGS, min(lost, 0xFFFFFFFF), len(records) // RECORD.size, sent)
    table = b"".join([_LINE.pack(len(line)) + line for line in lines])
    return b"".join((head, _LINE.pack(len(lines)), table, records))


def pack_copy(copy: Copy) -> bytes:
    """A copy's bytes, still without a frame; the caller keeps them within `MAX_COPY`."""
    marks = copy.marks[:MAX_MARKS]
    sizes = _COPY.pack(
        len(copy.request_head), len(copy.request_body), len(copy.response_head), len(copy.response_body), len(marks)
    )
    packed = b"".join([_MARK.pack(*mark) for mark in marks])
    bodies = (copy.request_head, copy.request_body, copy.response_head, copy.response_body)
    return b"".join((RECORD.pack(*copy.record), sizes, *bodies, packed))


def pack_copies(copies: Sequence[tuple[int, bytes]], sent: float, lost: int = 0) -> Iterator[bytes]:
    """Frames that hold all of ``copies``, each a number of its own and the bytes of `pack_copy`."""
    parts: list[bytes] = []
    size = ended = 0
    for number, data in copies:
        offset = 0
        while offset < len(data):
            room = ROOM - size - _PART.size
            if room < min(len(data) - offset, 4_096):  # no crumbs: they cost a head and a step each
                yield HEADER.pack(MAGIC, VERSION, COPIES, lost, ended, sent) + b"".join(parts)
                parts, size, ended, lost = [], 0, 0, 0
                continue
            piece = data[offset : offset + room]
            parts += (_PART.pack(number, len(data), offset, len(piece)), piece)
            size += _PART.size + len(piece)
            offset += len(piece)
            ended += offset == len(data)
    if parts:
        yield HEADER.pack(MAGIC, VERSION, COPIES, lost, ended, sent) + b"".join(parts)


def pack_counters(values: Mapping[str, Any], sent: float, lost: int = 0) -> bytes:
    """A frame of counters."""
    return HEADER.pack(MAGIC, VERSION, COUNTERS, lost, 0, sent) + json.dumps(values).encode()


def unpack(data: bytes) -> Timings | Copies | Counters:
    """A datagram that begins with `MAGIC`.

    Raises:
        FrameError: when it is no such frame; nothing else is raised, whatever the bytes.
    """
    if len(data) < HEADER.size:
        raise FrameError("frame_magic" if data[:2] != MAGIC[: len(data)] else "frame_truncated", f"{len(data)} bytes")
    magic, version, kind, lost, rows, _ = HEADER.unpack_from(data)
    if magic != MAGIC or kind not in KINDS:
        raise FrameError("frame_magic", f"{data[:4]!r}")
    if version != VERSION:
        raise FrameError("frame_version", f"version {version}, this side speaks {VERSION}")
    if kind == TIMINGS:
        return _timings(data, lost, rows)
    if kind == COPIES:
        return Copies(lost, tuple(_parts(data)))
    try:
        values = json.loads(data[HEADER.size :])
    except (ValueError, RecursionError) as error:
        raise FrameError("frame_text", f"counters: {error}") from None
    if not isinstance(values, dict):
        raise FrameError("frame_text", "counters are no object")
    return Counters(lost, values)


def _timings(data: bytes, lost: int, rows: int) -> Timings:
    lines = []
    try:
        (count,) = _LINE.unpack_from(data, HEADER.size)
        at = HEADER.size + _LINE.size
        for _ in range(count):
            (size,) = _LINE.unpack_from(data, at)
            at += _LINE.size + size
            lines.append(data[at - size : at])
    except struct.error as error:
        raise FrameError("frame_truncated", str(error)) from None
    records = data[at:]
    if at > len(data) or len(records) != rows * RECORD.size:
        raise FrameError("frame_rows", f"{rows} rows in {len(records)} bytes")
    return Timings(lost, rows, tuple(lines), records)


def _parts(data: bytes) -> Iterator[Part]:
    at = HEADER.size
    while at < len(data):
        try:
            number, total, offset, size = _PART.unpack_from(data, at)
        except struct.error as error:
            raise FrameError("frame_truncated", str(error)) from None
        at += _PART.size + size
        if at > len(data):
            raise FrameError("frame_truncated", "a part runs over the end")
        if not 0 < size <= total <= MAX_COPY or offset + size > total:
            raise FrameError("frame_rows", f"{size} bytes at {offset} of a copy of {total}")
        yield Part(number, total, offset, data[at - size : at])


def unpack_copy(data: bytes) -> Copy:
    """The inverse of `pack_copy`.

    Raises:
        FrameError: when it is no copy.
    """
    at = RECORD.size + _COPY.size
    if len(data) < at:
        raise FrameError("frame_truncated", "half a copy's head")
    record = Record(*RECORD.unpack_from(data))
    *sizes, marks = _COPY.unpack_from(data, RECORD.size)
    pieces = []
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    if at + marks * _MARK.size != len(data) or marks > MAX_MARKS:
        raise FrameError("frame_truncated", f"a copy of {len(data)} bytes that says {at + marks * _MARK.size}")
    return Copy(record, pieces[0], pieces[1], pieces[2], pieces[3], tuple(_MARK.iter_unpack(data[at:])))
