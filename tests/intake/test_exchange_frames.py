"""The codec of exchange frames: what is packed comes back, and foreign bytes are refused and nothing else."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish import exchange
from pilotfish.exchange import Copies, Copy, Part, Record, Timings
from pilotfish.wire import MAX_FRAME, REASONS, FrameError

U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-1, 2**63 - 1)
U16 = st.integers(0, 2**16 - 1)
LINES = st.lists(st.binary(max_size=60), min_size=1, max_size=5)
RECORDS = st.builds(Record, U64, I64, I64, U64, U64, U16, U16, st.just(0), U16)
BODIES = st.binary(max_size=300)
MARKS = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=5).map(tuple)
COPIES = st.builds(Copy, RECORDS, BODIES, BODIES, BODIES, BODIES, MARKS)


def copy_of(size: int) -> Copy:
    """A copy with a body of ``size`` bytes."""
    record = Record(1, 2, 3, 4, 5, 80, 200, 0, 0)
    return Copy(record, b"POST /x HTTP/1.1\r\n\r\n", bytes(size), b"HTTP/1.1 200 OK\r\n\r\n", b"yes", ((0, 7),))


def reason_of(read: Callable[[bytes], object], data: bytes) -> str | None:
    """Why ``data`` was refused, None when it was not."""
    try:
        read(data)
    except FrameError as error:
        return error.reason
    return None


def joined(frames: list[bytes]) -> dict[int, bytes]:
    """The whole copies of frames, by number."""
    found: dict[int, bytes] = {}
    for frame in frames:
        assert len(frame) <= MAX_FRAME
        unpacked = exchange.unpack(frame)
        assert isinstance(unpacked, Copies)
        for part in unpacked.parts:
            assert part.offset == len(found.get(part.copy, b""))
            found[part.copy] = found.get(part.copy, b"") + part.data
    return found


@given(LINES, st.lists(RECORDS, max_size=20), st.floats(allow_nan=False), st.integers(0, 2**40))
def test_timings_come_back(lines: list[bytes], records: list[Record], sent: float, lost: int) -> None:
    """Lines and records as they were; more loss than the field holds is the most it holds."""
    packed = b"".join(exchange.RECORD.pack(*record) for record in records)
    frame = exchange.pack_timings(lines, packed, sent, lost)
    assert exchange.unpack(frame) == Timings(min(lost, 2**32 - 1), len(records), tuple(lines), packed)
    assert exchange.counts_of(frame) == len(records)


@given(COPIES)
def test_copies_come_back(copy: Copy) -> None:
    """All of a copy, marks included."""
    assert exchange.unpack_copy(exchange.pack_copy(copy)) == copy


@pytest.mark.parametrize("sizes", [[0], [10, 20, 30], [70_000], [10, 200_000, 10], [40_000] * 5])
def test_copies_of_any_size_are_framed(sizes: list[int]) -> None:
    """Small ones share a frame, large ones go in parts that join again in order; each counts where it ends."""
    packed = {7 + i: exchange.pack_copy(copy_of(size)) for i, size in enumerate(sizes)}
    frames = list(exchange.pack_copies(list(packed.items()), 1.0))
    assert joined(frames) == packed
    assert sum(map(exchange.counts_of, frames)) == len(sizes)
    assert len(frames) == 1 or sum(sizes) > 60_000


def test_no_copies_no_frame() -> None:
    """Nothing is sent for nothing."""
    assert list(exchange.pack_copies([], 1.0)) == []


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """Whatever comes, `FrameError` with a known reason is all that is raised."""
    assert reason_of(exchange.unpack, data) in REASONS
    assert reason_of(exchange.unpack_copy, data) in REASONS
    exchange.counts_of(data)
    exchange.record_of(data)


@given(st.sampled_from(exchange.KINDS), st.integers(0, 50), st.binary(max_size=200))
def test_what_begins_as_a_frame_is_refused_too(kind: int, rows: int, rest: bytes) -> None:
    """Bytes behind a good header."""
    data = exchange.HEADER.pack(exchange.MAGIC, exchange.VERSION, kind, 0, rows, 0.0) + rest
    assert reason_of(exchange.unpack, data) in (*REASONS, None)
    assert exchange.counts_of(data) * 20 <= len(data)


@given(COPIES, st.data())
def test_half_a_copy_is_refused_and_keeps_its_record(copy: Copy, data: st.DataObject) -> None:
    """A copy cut anywhere is no copy; while its beginning is there its numbers are."""
    packed = exchange.pack_copy(copy)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(FrameError):
        exchange.unpack_copy(packed[:cut])
    left = exchange.record_of(packed[:cut])
    assert left is None or left[0] == copy.record


def test_the_request_line_of_what_is_left() -> None:
    """Method and target, as timings have them; nothing where the head does not begin with a request line."""
    assert exchange.record_of(exchange.pack_copy(copy_of(0))) == (copy_of(0).record, b"POST /x")
    odd = copy_of(0)._replace(request_head=b"junk")
    assert exchange.record_of(exchange.pack_copy(odd)) == (odd.record, b"")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda frame: b"PY" + frame[2:], "frame_magic"),
        (lambda frame: frame[:2] + b"\2" + frame[3:], "frame_version"),
        (lambda frame: frame[:3] + b"\7" + frame[4:], "frame_magic"),
        (lambda frame: frame[:-1], "frame_rows"),
        (lambda frame: frame[:19], "frame_truncated"),
        (lambda frame: frame[:21], "frame_truncated"),
    ],
)
def test_each_fault_has_its_reason(change: object, reason: str) -> None:
    """Reasons as the rows' frames have them."""
    frame = exchange.pack_timings([b"GET /"], exchange.RECORD.pack(*copy_of(0).record), 0.0)
    assert callable(change)
    with pytest.raises(FrameError) as caught:
        exchange.unpack(change(frame))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "part", [Part(1, 0, 0, b""), Part(1, 5, 3, b"abc"), Part(1, exchange.MAX_COPY + 1, 0, b"a"), Part(1, 3, 0, b"")]
)
def test_parts_that_make_no_sense_are_refused(part: Part) -> None:
    """Empty, beyond their copy's end, or of a copy above the limit."""
    head = exchange.HEADER.pack(exchange.MAGIC, exchange.VERSION, exchange.COPIES, 0, 0, 0.0)
    sizes = b"".join(
        [part.copy.to_bytes(8, "little"), *(n.to_bytes(4, "little") for n in (part.total, part.offset, len(part.data)))]
    )
    with pytest.raises(FrameError):
        exchange.unpack(head + sizes + part.data)


def test_the_example_of_the_reference_page() -> None:
    """The bytes printed in docs/reference/frames.md are the frame that the page says they are, its flags ours."""
    page = (pathlib.Path(__file__).parents[2] / "docs/reference/frames.md").read_text(encoding="utf-8")
    data = bytes.fromhex(page.split("```px\n")[1].split("```")[0])
    record = Record(10**16, 2_000_000, 2_000_000, 800, 1024, 8000, 200, 0, 0)
    assert data == exchange.pack_timings([b"POST /predict"], exchange.RECORD.pack(*record), 0.0)
    names = ("aborted", "incomplete", "ambiguous", "upgraded", "opaque", "stream", "request cut", "response cut")
    for flag, name in zip(exchange.FLAGS, names, strict=True):
        assert f"| {flag} | {name} |" in page
