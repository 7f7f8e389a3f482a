"""Server-sent events and lines of JSON, and when their parts came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.decode import _stream
from pilotfish_core.nouns import Exchange


def exchange(marks: tuple[tuple[int, float], ...]) -> Exchange:
    return Exchange(1, 0, 1, 0.1, "POST", "/", 200, "success", {}, b"", {}, b"", marks=marks)


def test_events() -> None:
    """As the standard says: comments and other fields are no data, lines of one event are joined."""
    data = b": hi\n\nid: 1\nevent: e\ndata: a\ndata:b\n\nretry: 1\n\ndata:  c\r\n\r\ndata: [DONE]"
    assert [(kind, event) for _, kind, event in _stream.Events(data)] == [
        (b"e", b"a\nb"),
        (b"", b" c"),
        (b"", b"[DONE]"),
    ]


def test_old_llama_errors() -> None:
    """`error: {...}`, which is no field of the standard, is an error."""
    assert [(k, e) for _, k, e in _stream.Events(b'data: 1\n\nerror: {"code":500}\n\n')] == [
        (b"", b"1"),
        (b"error", b'{"code":500}'),
    ]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1), max_size=20))
def test_offsets(texts: list[str]) -> None:
    """An event's offset is that of its last byte: it is in the part that the event came whole with."""
    parts = [f"data: {text}\n\n".encode() for text in texts]
    found = list(_stream.Events(b"".join(parts)))
    assert [event.decode() for _, _, event in found] == texts
    at = 0
    for part, (offset, _, _) in zip(parts, found, strict=True):
        assert at <= offset < at + len(part)
        at += len(part)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Whatever the bytes: events and lines within them."""
    for offset, _, event in _stream.Events(data):
        assert 0 <= offset < len(data)
        assert len(event) <= len(data)
    for offset, _, line in _stream.Events(data, lines=True):
        assert 0 <= offset < len(data)
        assert line in data


def test_a_long_stream() -> None:
    """Of more than is read, the beginning and the end are: the first events, and the last one with the tokens."""
    head = b"data: 1\n\n"
    for data, count in (
        (head * 20_000, _stream.MAX_EVENTS),
        (head + b": keep-alive\n\n" * 40_000, 1),
        (head + b"data: " + b"x" * 3_000_000 + b"\n\n", 1),
        (head * 10 + b"\n" * 40_000, 10),
    ):
        events = _stream.Events(data + head * 3_000 + b"data: last\n\n")
        found = [event for _, _, event in events]
        assert events.partial
        assert found[:count] == [b"1"] * count
        assert found[-1] == b"last"
        assert len(found) <= count + _stream.TAIL // len(head)
    lines = _stream.Events(b"1\n" * 20_000 + b"last\n", lines=True)
    assert [line for _, _, line in lines][-1] == b"last"
    assert lines.partial


def test_times() -> None:
    """Events of one part arrived together; before the first mark, and without marks, nothing is known."""
    times = _stream.Times(exchange(((10, 0.5), (20, 0.75), (40, 1.75))), aligned=True)
    for offset in (5, 12, 19, 25, 60):
        times.content(offset)
    assert times.first == 0.5
    assert times.gaps == (0.25, 1.0)
    for unknown in (
        _stream.Times(exchange(()), aligned=True),
        _stream.Times(exchange(((0, 0.5),)), aligned=False),
    ):
        unknown.content(3)
        assert (unknown.first, unknown.gaps) == (None, ())
