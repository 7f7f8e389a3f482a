"""The codec: what is encoded decodes equal, and no bytes do more than raise FrameError."""

from __future__ import annotations

import pathlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish import wire
from pilotfish.wire import Frame, FrameError, Section
from pilotfish_agent.intake.listener import REASONS

NAMES = st.text(max_size=12).filter(lambda t: t.isprintable())
KINDS = st.sampled_from((wire.FLOAT, wire.INTEGER, wire.TEXT, wire.lists_of(1), wire.lists_of(2), wire.lists_of(5)))
CELL = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=8))


@st.composite
def sections(draw: st.DrawFn) -> Section:
    """Sections with feature columns of any kind, by row or by column."""
    columns = [(wire.FEATURE, draw(KINDS), name) for name in draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))]
    rows = draw(st.integers(1, 4))
    numeric = sum(wire.cells_of(kind) for _, kind, _ in columns)
    text_columns = sum(kind == wire.TEXT for _, kind, _ in columns)
    numbers = draw(st.binary(min_size=8 * numeric * rows, max_size=8 * numeric * rows))
    texts = draw(st.lists(CELL, min_size=text_columns * rows, max_size=text_columns * rows))
    text = "\0".join(map(wire.escape, texts)).encode()
    outcome, layout = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    return Section(wire.describe(columns), len(columns), rows, numbers, text, outcome=outcome, layout=layout)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    return Frame(
        draw(st.integers(0, 2)),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.floats(allow_nan=False)),
        draw(NAMES),
        draw(NAMES),
        draw(st.lists(sections(), max_size=3)),
    )


def parts(frame: Frame) -> tuple[object, ...]:
    """A frame as something that compares."""
    inner = tuple(tuple(getattr(s, name) for name in Section.__slots__) for s in frame.sections)
    return (frame.source, frame.lost, frame.sent, frame.model, frame.version, inner)


def small() -> bytes:
    """A frame of one row: a number and a text."""
    columns = ((wire.FEATURE, wire.FLOAT, "age"), (wire.FEATURE, wire.TEXT, "country"))
    section = Section(wire.describe(columns), 2, 1, struct.pack("<d", 41.0), b"NO")
    return wire.encode(Frame(0, 7, 1.5, "ranker", "3", [section]))


@given(frames())
def test_a_frame_decodes_as_it_was_encoded(frame: Frame) -> None:
    """Header, sections, columns and cells come back equal."""
    assert parts(wire.decode(wire.encode(frame))) == parts(frame)


@given(st.lists(CELL, min_size=1, max_size=6))
def test_text_cells_survive_any_character(texts: list[str | None]) -> None:
    """Separators, escapes and missing texts inside cells come back as they were."""
    text = "\0".join(map(wire.escape, texts)).encode()
    section = Section(wire.describe([(wire.FEATURE, wire.TEXT, "a")]), 1, len(texts), b"", text)
    assert wire.cells(section, 1) == texts


def trouble(data: bytes) -> str:
    """The reason for which a datagram is refused, down to its cells; empty for a frame."""
    try:
        for section in wire.decode(data).sections:
            kinds = [kind for _, kind, _ in wire.columns(section.descriptor, section.count)]
            if wire.TEXT in kinds:
                wire.cells(section, kinds.count(wire.TEXT))
    except FrameError as error:
        return error.reason
    return ""


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_raise(data: bytes) -> None:
    """Any datagram is a frame or a FrameError with a known reason."""
    assert trouble(data) in {"", *wire.REASONS}


@given(st.data())
def test_no_damage_does_more_than_raise(data: st.DataObject) -> None:
    """A frame with bytes changed, cut or doubled is a frame or a FrameError, down to its cells."""
    frame = bytearray(wire.encode(data.draw(frames())))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(frame) - 1))
        frame[at] = data.draw(st.integers(0, 255))
    damaged = bytes(frame)[: data.draw(st.integers(0, len(frame)))] if data.draw(st.booleans()) else bytes(frame)
    assert trouble(damaged) in {"", *wire.REASONS}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: b"XX" + d[2:], "frame_magic"),
        (lambda d: b"P", "frame_truncated"),
        (lambda d: b"{}", "frame_magic"),
        (lambda d: d[:3] + b"\x09" + d[4:], "frame_magic"),
        (lambda d: d[:2] + b"\x02" + d[3:], "frame_version"),
        (lambda d: d[:-1], "frame_truncated"),
        (lambda d: d + b"\0", "frame_truncated"),
        (lambda d: d[: wire.HEADER_BYTES + 3], "frame_truncated"),
        (lambda d: d[:8] + b"\x63" + d[9:], "frame_rows"),
        (lambda d: d.replace(b"ranker", b"\xff\xff\xff\xff\xff\xff"), "frame_text"),
        (lambda d: d.replace(b"age", b"\xff\xfe\xfd"), "frame_columns"),
    ],
)
def test_the_reason_names_what_is_wrong(change, reason: str) -> None:  # type: ignore[no-untyped-def]
    """Each kind of damage has its own reason, so that the counter says what to look for."""
    with pytest.raises(FrameError) as caught:
        wire.decode(change(small()))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "columns",
    [
        [(wire.FEATURE, wire.FLOAT, "a"), (wire.FEATURE, wire.TEXT, "a")],
        [(wire.PREDICTION, wire.FLOAT, "named")],
        [(wire.LATENCY, wire.TEXT, "")],
        [(wire.ID, wire.FLOAT, "")],
        [(9, wire.FLOAT, "a")],
        [(wire.PREDICTION, wire.lists_of(3), "")],
        [(wire.FEATURE, wire.lists_of(wire.MAX_WIDTH + 1), "a")],
        [(wire.FEATURE, wire.LIST, "")],
        [(wire.FEATURE, 9, "a")],
    ],
)
def test_columns_that_make_no_sense_are_refused(columns: list[tuple[int, int, str]]) -> None:
    """Doubled names, roles with a wrong kind or a name, unknown roles and kinds."""
    descriptor = wire.describe(columns)
    with pytest.raises(FrameError) as caught:
        wire.columns(descriptor, len(columns))
    assert caught.value.reason == "frame_columns"


def test_a_descriptor_with_more_bytes_than_columns_is_refused() -> None:
    """The count and the bytes must agree."""
    descriptor = wire.describe([(wire.FEATURE, wire.FLOAT, "a"), (wire.FEATURE, wire.FLOAT, "b")])
    with pytest.raises(FrameError):
        wire.columns(descriptor, 1)


def test_cells_of_another_number_are_refused() -> None:
    """A text with one cell too few for its rows is no text."""
    section = Section(b"", 1, 3, b"", b"a\0b")
    with pytest.raises(FrameError) as caught:
        wire.cells(section, 1)
    assert caught.value.reason == "frame_text"


def test_rows_are_counted_without_decoding() -> None:
    """What is thrown away unread still counts its rows; a lie about their number does not."""
    frame = small()
    assert wire.counts_of(frame) == (1, 7)
    assert wire.counts_of(frame[:8] + b"\xff\xff\xff\xff" + frame[12:]) == (0, 7)
    assert wire.counts_of(b"junk") == (0, 0)


def test_the_example_of_the_reference_page() -> None:
    """The bytes printed in docs/reference/frames.md are the frame that the page says they are."""
    page = (pathlib.Path(__file__).parents[2] / "docs/reference/frames.md").read_text(encoding="utf-8")
    data = bytes.fromhex(page.split("```hex\n")[1].split("```")[0])
    columns = ((wire.FEATURE, wire.FLOAT, "age"), (wire.FEATURE, wire.TEXT, "country"))
    section = Section(wire.describe(columns), 2, 1, struct.pack("<d", 41.0), b"NO")
    assert data == wire.encode(Frame(0, 0, 0.0, "m", "", [section]))
    assert all(f"`{reason}`" in page for reason in REASONS)
