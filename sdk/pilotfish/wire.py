"""The frame codec: what senders put into the agent's socket, one datagram a frame (docs/reference/frames.md).

A frame describes itself: names and kinds of its columns travel with it, so a lost datagram loses its own rows only.
Standard library only; both the senders and the agent's intake use it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

MAGIC = b"PF"
VERSION = 1
MAX_FRAME = 65_536
MAX_COLUMNS = 4_096
MAX_ROWS = 65_535

SOURCES = ("sdk", "capture", "tail")
OUTCOMES = ("success", "server_error")
FEATURE, PREDICTION, PROBABILITY, LATENCY, ID, SLICE = range(6)
ROLES = (FEATURE, PREDICTION, PROBABILITY, LATENCY, ID, SLICE)
FLOAT, INTEGER, TEXT, LIST = range(4)
BY_ROW, BY_COLUMN = range(2)

_HEADER = struct.Struct("<2sBBIIdHH")  # magic, version, source, lost, rows, sent, bytes of name, bytes of version
_SECTION = struct.Struct("<BBHIII")  # outcome, layout, columns, rows, bytes of the descriptor, bytes of the text
_COLUMN = struct.Struct("<BBH")  # role, kind, bytes of the name
_WIDTH = struct.Struct("<H")  # in front of the name of a column of lists
MAX_WIDTH = 4_096
HEADER_BYTES = _HEADER.size
SECTION_BYTES = _SECTION.size

SEPARATOR = "\0"
MISSING = "\x01"
_ESCAPES = (("\x01", "\x01\x01"), ("\0", "\x01\x02"))

Column = tuple[int, int, str]
"""(role, kind, name); the name of a probability is its class, of prediction, latency and id it is empty.

A kind is `FLOAT`, `INTEGER`, `TEXT` or `lists_of(width)`.
"""


def lists_of(width: int) -> int:
    """The kind of a column of lists of so many numbers: float32, two a cell, the last cell filled up with zeros."""
    return LIST | width << 2


def width_of(kind: int) -> int:
    """The numbers of each list of a column, 0 where it has none."""
    return kind >> 2


def cells_of(kind: int) -> int:
    """The number cells, of 8 bytes, that a row has in a column."""
    return 0 if kind == TEXT else (width_of(kind) + 1) // 2 or 1


class FrameError(ValueError):
    """A datagram that is no frame. ``reason`` is one of `REASONS`."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}")


REASONS = ("frame_magic", "frame_version", "frame_truncated", "frame_columns", "frame_rows", "frame_text")


class Section:
    """Rows of one schema.

    Attributes:
        descriptor: the encoded columns, see `columns`; equal bytes mean equal schemas.
        count: number of columns.
        rows: number of rows.
        outcome: index into `OUTCOMES`, the same for all rows.
        layout: `BY_ROW` or `BY_COLUMN`: the order of the cells in ``numbers`` and ``text``.
        numbers: 8 bytes a number cell, little endian: float64, or int64 in columns of kind `INTEGER`, or two float32 in
            columns of lists, whose cells of a row stand together in both layouts.
        text: the text cells, UTF-8, joined by NUL, see `escape`.
    """

    __slots__ = ("count", "descriptor", "layout", "numbers", "outcome", "rows", "text")

    def __init__(
        self,
        descriptor: bytes,
        count: int,
        rows: int,
        numbers: bytes,
        text: bytes = b"",
        *,
        outcome: int = 0,
        layout: int = BY_ROW,
    ) -> None:
        self.descriptor = descriptor
        self.count = count
        self.rows = rows
        self.numbers = numbers
        self.text = text
        self.outcome = outcome
        self.layout = layout


class Frame:
    """One decoded datagram.

    Attributes:
        source: index into `SOURCES`.
        lost: rows that the sender lost since its last frame that arrived.
        sent: epoch seconds by the sender's clock.
        model: "" where the sender knows none; version: "" where unknown.
        sections: its rows.
    """

    __slots__ = ("lost", "model", "sections", "sent", "source", "version")

    def __init__(self, source: int, lost: int, sent: float, model: str, version: str, sections: list[Section]) -> None:
        self.source = source
        self.lost = lost
        self.sent = sent
        self.model = model
        self.version = version
        self.sections = sections


def escape(text: str | None) -> str:
    """A text cell without NUL; None, a missing text, is a lone U+0001."""
    if text is None:
        return MISSING
    for plain, escaped in _ESCAPES:
        text = text.replace(plain, escaped)
    return text


def unescape(cell: str) -> str | None:
    """The inverse of `escape`."""
    if cell == MISSING:
        return None
    if MISSING not in cell:
        return cell
    return "\x01".join(part.replace("\x01\x02", "\0") for part in cell.split("\x01\x01"))


def utf8(text: str) -> bytes:
    """UTF-8 of any text; half surrogates, which UTF-8 cannot hold, become question marks."""
    return text.encode("utf-8", "replace")


def describe(columns: Iterable[Column]) -> bytes:
    """The descriptor of a section. The names of features are at most 65,535 bytes each."""
    parts = []
    for role, kind, name in columns:
        encoded = utf8(name)[:MAX_ROWS]
        listed = kind & LIST == LIST
        if listed:
            encoded = (_WIDTH.pack(width_of(kind)) + encoded)[:MAX_ROWS]
        parts.append(_COLUMN.pack(role, LIST if listed else kind, len(encoded)) + encoded)
    return b"".join(parts)


def columns(descriptor: bytes, count: int) -> tuple[Column, ...]:
    """The columns of a descriptor.

    Raises:
        FrameError: when it does not hold exactly ``count`` known columns with unique names.
    """
    found: list[Column] = []
    at = 0
    try:
        for _ in range(count):
            role, kind, size = _COLUMN.unpack_from(descriptor, at)
            at += _COLUMN.size + size
            if role not in ROLES or kind > LIST or at > len(descriptor):
                raise FrameError("frame_columns", f"role {role}, kind {kind}, {size} bytes of name")
            name = descriptor[at - size : at]
            if kind == LIST:
                kind, name = _list(role, name), name[_WIDTH.size :]
            found.append((role, kind, name.decode("utf-8", "strict")))
    except (struct.error, UnicodeDecodeError) as error:
        raise FrameError("frame_columns", str(error)) from None
    if at != len(descriptor):
        raise FrameError("frame_columns", f"{len(descriptor) - at} bytes behind the last column")
    _check_roles(found)
    return tuple(found)


def _list(role: int, name: bytes) -> int:
    (width,) = _WIDTH.unpack_from(name)
    if role != FEATURE or not 0 < width <= MAX_WIDTH:
        raise FrameError("frame_columns", f"role {role} with lists of {width} numbers")
    return lists_of(width)


def _check_roles(found: Sequence[Column]) -> None:
    names = [(role, name) for role, _, name in found if role != PROBABILITY]
    if len(set(names)) != len(names):
        raise FrameError("frame_columns", "two columns of one name")
    for role, kind, name in found:
        alone = role in (PREDICTION, LATENCY, ID)
        number_only = role in (LATENCY, PROBABILITY) and kind != FLOAT
        text_only = role in (ID, SLICE) and kind != TEXT
        if (alone and name) or number_only or text_only:
            raise FrameError("frame_columns", f"role {role} with kind {kind} and name {name!r}")


def pack_section(section: Section) -> bytes:
    """A section's bytes, as they stand in a frame's body."""
    head = _SECTION.pack(
        section.outcome, section.layout, section.count, section.rows, len(section.descriptor), len(section.text)
    )
    return b"".join((head, section.descriptor, section.numbers, section.text))


def pack_header(source: int, lost: int, rows: int, sent: float, model: bytes, version: bytes) -> bytes:
    """What stands in front of the sections; ``model`` and ``version`` are UTF-8, at most 65,535 bytes each."""
    return (
        _HEADER.pack(MAGIC, VERSION, source, min(lost, 0xFFFFFFFF), rows, sent, len(model), len(version))
        + model
        + version
    )


def encode(frame: Frame) -> bytes:
    """A whole frame; the caller keeps it within `MAX_FRAME`."""
    rows = sum(section.rows for section in frame.sections)
    header = pack_header(frame.source, frame.lost, rows, frame.sent, utf8(frame.model), utf8(frame.version))
    return header + b"".join(map(pack_section, frame.sections))


def decode(data: bytes) -> Frame:
    """A datagram's frame; sections are cut out and sized, their columns and cells are not read yet.

    Raises:
        FrameError: when it is not one; nothing else is raised, whatever the bytes.
    """
    if len(data) < HEADER_BYTES:
        raise FrameError("frame_magic" if data[:2] != MAGIC[: len(data)] else "frame_truncated", f"{len(data)} bytes")
    magic, version, source, lost, rows, sent, name_bytes, version_bytes = _HEADER.unpack_from(data)
    if magic != MAGIC or source >= len(SOURCES):
        raise FrameError("frame_magic", f"{data[:4]!r}")
    if version != VERSION:
        raise FrameError("frame_version", f"version {version}, this side speaks {VERSION}")
    at = HEADER_BYTES + name_bytes + version_bytes
    if at > len(data):
        raise FrameError("frame_truncated", "the model's name runs over the end")
    model, model_version = data[HEADER_BYTES : at - version_bytes], data[at - version_bytes : at]
    sections = []
    while at < len(data):
        section, at = _section(data, at)
        sections.append(section)
    if rows != sum(section.rows for section in sections):
        raise FrameError("frame_rows", f"the header says {rows} rows")
    try:
        return Frame(source, lost, sent, model.decode(), model_version.decode(), sections)
    except UnicodeDecodeError as error:
        raise FrameError("frame_text", str(error)) from None


def counts_of(data: bytes) -> tuple[int, int]:
    """The rows a datagram says it holds, 0 when it cannot hold that many, and those its sender lost; it is not decoded.

    (0, 0) when it is no frame.
    """
    if len(data) < HEADER_BYTES or data[:2] != MAGIC:
        return 0, 0
    lost, rows = _HEADER.unpack_from(data)[3:5]
    return rows if rows <= len(data) else 0, lost


def _section(data: bytes, at: int) -> tuple[Section, int]:
    if at + SECTION_BYTES > len(data):
        raise FrameError("frame_truncated", "half a section's head")
    outcome, layout, count, rows, descriptor_bytes, text_bytes = _SECTION.unpack_from(data, at)
    if outcome >= len(OUTCOMES) or layout > BY_COLUMN or not 0 < count <= MAX_COLUMNS:
        raise FrameError("frame_columns", f"outcome {outcome}, layout {layout}, {count} columns")
    if not 0 < rows <= MAX_ROWS:
        raise FrameError("frame_rows", f"{rows} rows in a section")
    start = at + SECTION_BYTES
    descriptor = data[start : start + descriptor_bytes]
    numeric, texts = _cells(descriptor, count)
    numbers_at = start + descriptor_bytes
    text_at = numbers_at + 8 * numeric * rows
    end = text_at + text_bytes
    if end > len(data):
        raise FrameError("frame_truncated", "a section runs over the end")
    if not texts and text_bytes:
        raise FrameError("frame_text", "text behind columns of numbers")
    section = Section(
        descriptor, count, rows, data[numbers_at:text_at], data[text_at:end], outcome=outcome, layout=layout
    )
    return section, end


def _cells(descriptor: bytes, count: int) -> tuple[int, int]:
    """The number cells and the text cells of a row; the descriptor is checked in full by `columns`."""
    known = _KNOWN.get((descriptor, count))
    if known is None:
        kinds = [kind for _, kind, _ in columns(descriptor, count)]
        known = (sum(map(cells_of, kinds)), kinds.count(TEXT))
        if len(_KNOWN) >= 256:  # descriptors repeat; a sender that makes up new ones shall not fill the memory
            _KNOWN.clear()
        _KNOWN[descriptor, count] = known
    return known


_KNOWN: dict[tuple[bytes, int], tuple[int, int]] = {}


def cells(section: Section, texts: int) -> list[str | None]:
    """The text cells of a section with ``texts`` text columns, in the order of its layout.

    Raises:
        FrameError: when they are no UTF-8 or of another number than rows x text columns.
    """
    try:
        parts = section.text.decode("utf-8", "strict").split(SEPARATOR)
    except UnicodeDecodeError as error:
        raise FrameError("frame_text", str(error)) from None
    if len(parts) != texts * section.rows:
        raise FrameError("frame_text", f"{len(parts)} text cells for {section.rows} rows of {texts}")
    if MISSING.encode() in section.text:
        return [unescape(part) for part in parts]
    return list(parts)
