"""Exchange frames: what pf-capture puts into the same socket as the SDK's frames (docs/reference/frames.md).

Every exchange travels exactly once: as a record of a timings frame, or, where the sample chose its bodies, as a
copy, which begins with the same record. A copy may be larger than a datagram and then goes in parts.
Standard library only; the capture process and the agent's intake use it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pilotfish.wire import MAX_FRAME, FrameError

MAGIC = b"PX"
VERSION = 1
TIMINGS, COPIES = KINDS = (0, 1)

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
FLAGS = (ABORTED, INCOMPLETE, AMBIGUOUS, UPGRADED, OPAQUE, STREAM, REQUEST_CUT, RESPONSE_CUT)

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
    """A piece of a copy, whole when all ``total`` bytes are there; a sender sends a copy's pieces in order.

    ``copy`` is the sender's number for it. It counts up from a random number, so that the copies of a capture
    process and of the one that followed it are not taken for each other's.
    """

    copy: int
    total: int
    offset: int
    data: bytes


class Copies(NamedTuple):
    """A frame of copies or parts of one."""

    lost: int
    parts: tuple[Part, ...]


def pack_timings(lines: Sequence[bytes], records: bytes, sent: float, lost: int = 0) -> bytes:
    """A timings frame; the caller keeps it within `wire.MAX_FRAME` and each line within `MAX_LINE` bytes."""
    head = HEADER.pack(MAGIC, VERSION, TIMINGS, min(lost, 0xFFFFFFFF), len(records) // RECORD.size, sent)
    table = b"".join([_LINE.pack(len(line)) + line for line in lines])
    return b"".join((head, _LINE.pack(len(lines)), table, records))


def pack_copy(copy: Copy) -> bytes:
    """A copy's bytes, still without a frame; the caller keeps them within `MAX_COPY`."""
    return pack_said(RECORD.pack(*copy.record), *copy[1:5], copy.marks)


def pack_said(
    record: bytes,
    request_head: bytes,
    request_body: bytes | bytearray,
    response_head: bytes,
    response_body: bytes | bytearray,
    marks: Sequence[tuple[int, int]] = (),
) -> bytes:
    """As `pack_copy`, of a packed record and the parts."""
    marks = marks[:MAX_MARKS]
    sizes = _COPY.pack(len(request_head), len(request_body), len(response_head), len(response_body), len(marks))
    packed = b"".join([_MARK.pack(*mark) for mark in marks]) if marks else b""
    return b"".join((record, sizes, request_head, request_body, response_head, response_body, packed))


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


def unpack(data: bytes) -> Timings | Copies:
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
    return Copies(lost, tuple(_parts(data)))


def counts_of(data: bytes) -> int:
    """The exchanges a datagram says end in it, 0 when it is no frame or cannot hold that many; it is not decoded."""
    if len(data) < HEADER.size or data[:2] != MAGIC:
        return 0
    rows = int(HEADER.unpack_from(data)[4])
    return rows if rows * _PART.size <= len(data) else 0


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


def record_of(data: bytes) -> tuple[Record, bytes] | None:
    """The record at the beginning of a copy, and its request line (``METHOD target``, empty where it is not there).

    For what is left of a copy that is not whole, or is not wanted; None where less than a record is left.
    """
    if len(data) < RECORD.size + _COPY.size:
        return None
    record = Record(*RECORD.unpack_from(data))
    start = RECORD.size + _COPY.size
    head = data[start : start + _COPY.unpack_from(data, RECORD.size)[0]]
    line, _, version = head.partition(b"\r\n")[0].rpartition(b" ")
    return record, line[:MAX_LINE] if version.startswith(b"HTTP/") else b""


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
