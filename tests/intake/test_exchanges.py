"""Exchange frames become one table of timings and whole copies, whatever was lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish import exchange
from pilotfish.exchange import Copy, Record
from pilotfish.wire import FrameError
from pilotfish_agent.intake import exchanges
from pilotfish_agent.intake.exchanges import Assembly, exchange_of
from pilotfish_agent.intake.listener import Intake
from pilotfish_core.clock import ManualClock
from pilotfish_core.events import Events
from tests.pipeline.frames import copies, record, timings
from tests.sockets import sender_to

REQUEST = b"POST /v1/x?q=1 HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type:application/json \r\n\r\n"


def copy(size: int = 10, **fields: Any) -> Copy:
    """A copy with a body of ``size`` bytes."""
    whole = Copy(record(), REQUEST, b"q" * size, ANSWER, b"{}", ((0, 1_500_000),))
    return whole._replace(**fields)


def test_timings_of_many_frames_are_one_table() -> None:
    """Each record keeps its own line; equal lines of different frames are one."""
    assembly = Assembly()
    assembly.add(timings([("GET /a", record(status=200)), ("GET /b", record(status=404))]), 0.0)
    assembly.add(timings([("GET /b", record(status=500))]), 0.0)
    found = assembly.take(0.0).timings
    assert [found.lines[i] for i in found.line] == [b"GET /a", b"GET /b", b"GET /b"]
    assert found.records["status"].tolist() == [200, 404, 500]
    assert assembly.take(0.0).timings.lines == ()


def test_the_table_is_the_codecs_record() -> None:
    """Column for column."""
    one = Record(1, 2, 3, 4, 5, 6, 7, 0, 9)
    assembly = Assembly()
    assembly.add(timings([("GET /", one)]), 0.0)
    assert tuple(assembly.take(0.0).timings.records[0].tolist()) == tuple(one)
    assert exchanges.RECORDS.names == Record._fields


def test_a_record_without_its_line_is_refused() -> None:
    """Nothing of such a frame is taken."""
    bad = exchange.pack_timings([b"GET /"], exchange.RECORD.pack(*record(line=1)), 0.0)
    assembly = Assembly()
    with pytest.raises(FrameError):
        assembly.add(bad, 0.0)
    assert not len(assembly.take(0.0).timings.records)


@pytest.mark.parametrize("size", [0, 100, 70_000, 500_000])
def test_copies_are_put_together(size: int) -> None:
    """Whatever their size, in order."""
    assembly = Assembly()
    sent = [copy(size), copy(5), copy(size)]
    for frame in copies(sent, first=40):
        assembly.add(frame, 0.0)
    assert [exchange.unpack_copy(packed) for packed in assembly.take(0.0).copies] == sent
    assert assembly.cut == 0


@given(st.lists(st.booleans(), min_size=8, max_size=8), st.booleans())
def test_lost_frames_never_mix_copies(kept: list[bool], again: bool) -> None:
    """Of copies in three parts each, any frames lost, and the sender started anew: what comes out was sent."""
    sent = [copy(150_000, response_body=bytes([i]) * 9) for i in range(3)]
    frames = list(copies(sent, first=1))
    assembly = Assembly()
    for i, frame in enumerate(frames):
        if kept[i % len(kept)]:
            assembly.add(frame, 0.0)
    if again:
        for frame in copies([copy(150_000, response_body=b"anew")], first=1_000):
            assembly.add(frame, 0.0)
    found = [exchange.unpack_copy(packed) for packed in assembly.take(0.0).copies]
    assert all(c in sent or c.response_body == b"anew" for c in found)
    assert [c.response_body for c in found][-1:] == [b"anew"] or not again


def test_a_copy_that_never_gets_whole_leaves_its_record() -> None:
    """It is counted once, and its timings are kept, after the wait; later parts change nothing."""
    assembly = Assembly()
    first, *_, last = copies([copy(200_000)], first=1)
    assembly.add(first, 0.0)
    assert not assembly.take(exchanges.MAX_AGE).timings.lines
    found = assembly.take(exchanges.MAX_AGE + 0.1)
    assert found.timings.lines == (b"POST /v1/x?q=1",)
    assert found.timings.records["status"].tolist() == [200]
    assembly.add(last, 11.0)
    assert assembly.take(11.0).copies == ()
    assert assembly.cut == 1


def test_a_copy_whose_beginning_is_lost_is_counted() -> None:
    """Once, by its last part."""
    assembly = Assembly()
    for frame in list(copies([copy(200_000)], first=1))[1:]:
        assembly.add(frame, 0.0)
    assert (assembly.cut, assembly.take(0.0).copies) == (1, ())


def test_what_waits_is_bounded() -> None:
    """Beginnings of large copies that never end: the oldest go."""
    assembly = Assembly()
    for i in range(20):
        assembly.add(next(copies([copy(100_000)], first=i)), 0.0)
    assert assembly.cut == 20 - exchanges.MAX_OPEN
    assert len(assembly.take(0.0).timings.records) == assembly.cut


def test_an_exchange_is_what_was_said() -> None:
    """Times in seconds, headers in lower case, repeated ones joined, bodies as they are."""
    _, line, found = exchange_of(exchange.pack_copy(copy(3)))
    assert line == b"POST /v1/x?q=1"
    assert (found.method, found.target, found.status, found.outcome) == ("POST", "/v1/x?q=1", 200, "success")
    assert found.request_headers == {"host": "a", "x-a": "1, 2"}
    assert found.response_headers == {"content-type": "application/json"}
    assert (found.request_body, found.response_body) == (b"qqq", b"{}")
    assert (found.started, found.duration, found.first) == (1_000.0, 0.002, 0.001)
    assert found.marks == ((0, 1.5),)
    assert not found.request_cut


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_heads_become_an_exchange(asked: bytes, answered: bytes) -> None:
    """Heads are the model's clients': nothing in them raises."""
    packed = exchange.pack_copy(copy(request_head=asked, response_head=answered))
    _, _, found = exchange_of(packed)
    assert all(name == name.lower() for name in found.request_headers)


def test_heads_are_bounded() -> None:
    """Headers beyond the limit are passed over, long values are cut."""
    head = b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: %s\r\n" % (i, b"v" * 20_000) for i in range(300)) + b"\r\n"
    _, _, found = exchange_of(exchange.pack_copy(copy(request_head=head)))
    assert len(found.request_headers) <= exchanges.MAX_HEADERS
    assert {len(value) for value in found.request_headers.values()} == {exchanges.MAX_HEADER}


@pytest.mark.parametrize(
    ("status", "flags", "outcome"),
    [
        (200, 0, "success"),
        (302, exchange.STREAM, "success"),
        (404, 0, "client_error"),
        (503, 0, "server_error"),
        (200, exchange.ABORTED, "aborted"),
        (0, 0, "aborted"),
    ],
)
def test_outcomes(status: int, flags: int, outcome: str) -> None:
    """The status says it, unless the answer broke off or never came."""
    assert exchanges.outcome_of(status, flags) == outcome


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    made = Intake(str(tmp_path / "intake.sock"), events=Events(ManualClock()))
    made.start()
    yield made
    made.stop()


def test_exchanges_come_through_the_socket_beside_rows(intake: Intake) -> None:
    """Both kinds of frames in one socket; bad ones of either are counted by reason."""
    with sender_to(intake.path) as send:
        send(timings([("GET /a", record())] * 3))
        for frame in copies([copy(90_000)], first=1):
            send(frame)
        send(b"PX\1\0" + bytes(5))
        send(b"PF\1\0" + bytes(5))
        assert intake.drain() == []
        found = intake.exchanges(0.0)
    assert len(found.timings.records) == 3
    assert len(found.copies) == 1
    dropped = {s.labels[0]: s.value for s in intake.samples()}
    assert dropped["frame_truncated"] == 2.0
    assert intake.exchanges(0.0).copies == ()


def test_exchanges_that_found_no_room_are_counted(tmp_path: Path) -> None:
    """The buffer's bound counts exchanges as it counts rows."""
    intake = Intake(str(tmp_path / "small.sock"), events=Events(ManualClock()), max_bytes=4_096)
    intake.start()
    try:
        with sender_to(intake.path) as send:
            for _ in range(10):
                send(timings([("GET /a", record())] * 10))
        intake.drain()
        kept = len(intake.exchanges(0.0).timings.records)
        dropped = {s.labels[0]: s.value for s in intake.samples()}
        assert dropped["intake_buffer"] == 100 - kept
        assert 0 < kept < 100
    finally:
        intake.stop()


def test_tables_are_fast_enough() -> None:
    """Many frames with many lines stay one pass of arrays, not a loop a record."""
    assembly = Assembly()
    for i in range(20):
        assembly.add(timings([(f"GET /{i % 3}", record())] * 1_000), 0.0)
    found = assembly.take(0.0).timings
    assert len(found.lines) == 3
    assert np.bincount(found.line).sum() == 20_000
