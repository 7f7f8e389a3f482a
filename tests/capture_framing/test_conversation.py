"""Timings, copies, lost bytes and bounds of one connection."""

from __future__ import annotations

import mmap

import pytest

from pilotfish import exchange
from pilotfish_agent.capture import _head
from pilotfish_agent.capture.http1 import Conversation
from tests.capture_framing.driver import CLIENT, SERVER, Seen, Sink, Step, play, recorder, run

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NO = b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno"


class Wire:
    """One connection whose recorder keeps every body."""

    def __init__(self, *, joined: bool = False, **more: object) -> None:
        self.sink = Sink()
        self.recorder = recorder(self.sink, **{"bodies": "all"} | more)
        self.talk = Conversation(80, self.recorder, joined=joined)

    def client(self, data: bytes, now: int = 0) -> None:
        """The client's segment."""
        self.talk.request(data, 0, len(data), now)

    def server(self, data: bytes, now: int = 0) -> None:
        """The server's segment."""
        self.talk.response(data, 0, len(data), now)

    def records(self) -> list[exchange.Record]:
        """What was told, copies included, by their start."""
        self.recorder.flush(0.0)
        return sorted([c.record for c in self.sink.copies()] + [r for _, r in self.sink.records()])

    def seen(self) -> list[Seen]:
        """As `driver.run`: only what went as a record."""
        self.recorder.flush(0.0)
        return [(line, r.status, r.flags) for line, r in self.sink.records()]


@pytest.mark.parametrize("bodies", ["none", "all"])
@pytest.mark.parametrize("twice", [False, True])  # the second time the heads are known: the short path
def test_one_segment_each_way(bodies: str, *, twice: bool) -> None:
    """Duration and first byte count from the request's first byte, sizes are those of the wire."""
    wire = Wire(bodies=bodies)
    for at in (1_000, 5_000) if twice else (1_000,):
        wire.client(POST, at)
        assert wire.talk.in_flight == 1
        wire.server(OK, at + 70)
        assert wire.talk.in_flight == 0
    assert wire.records()[-1] == exchange.Record(at, 70, 70, len(POST), len(OK), 80, 200, 0, 0)
    assert wire.recorder.holder.held == 0


def test_parts_of_both_sides() -> None:
    """The first byte of the request starts, the first byte of the answer is `first`, its last byte ends."""
    wire = Wire(bodies="none")
    for now, piece in enumerate((POST[:5], POST[5:-2], POST[-2:])):
        wire.client(piece, 1_000 + now)
    for now, piece in enumerate((b"HTTP/1.1 100 Continue\r\n\r\n", OK[:3], OK[3:-1], OK[-1:])):
        wire.server(piece, 2_000 + now)
    got = len(OK) + 25
    assert wire.records() == [exchange.Record(1_000, 1_003, 1_001, len(POST), got, 80, 200, 0, 0)]


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_copies_hold_what_was_said(size: int) -> None:
    """Heads as they came, bodies without their chunks."""
    ask = b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire = Wire()
    for side, data in (
        (CLIENT, ask + b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: 1\r\n\r\n"),
        (SERVER, answer + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    ):
        for at in range(0, len(data), size):
            (wire.client if side == CLIENT else wire.server)(data[at : at + size])
    wire.recorder.flush(0.0)
    (copy,) = wire.sink.copies()
    assert copy[1:5] == (ask, b"abcd", answer, b"hello")
    assert wire.sink.records() == []


def test_any_buffer() -> None:
    """bytes, bytearray and mmap are read alike, and nothing of them is kept."""
    with mmap.mmap(-1, 4_096) as ring:
        wire = Wire()
        for kind in (bytes, bytearray, None):
            for data, read in ((POST, wire.talk.request), (NO, wire.talk.response)):
                if kind is None:
                    ring[7 : 7 + len(data)] = data
                    read(ring, 7, 7 + len(data), 1)
                    ring[:] = bytes(len(ring))
                else:
                    made = kind(data)
                    read(made, 0, len(data), 1)
    wire.recorder.flush(0.0)
    assert [c[1:5] for c in wire.sink.copies()] == [(POST[:-4], b"body", NO[:-2], b"no")] * 3


def test_marks_of_a_stream() -> None:
    """Every part of an event stream is marked with where it begins and when it came."""
    wire = Wire()
    wire.client(GET, 1_000_000)
    wire.server(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", 3_000_000)
    for n in range(3):
        wire.server(b"6\r\ndata:\n\r\n", 5_000_000 + n * 1_000_000)
    wire.server(b"0\r\n\r\n", 9_000_000)
    wire.recorder.flush(0.0)
    (copy,) = wire.sink.copies()
    assert copy.record.flags == exchange.STREAM
    assert (copy.record.first, copy.record.duration) == (2_000_000, 8_000_000)
    assert copy.marks == ((0, 4_000), (6, 5_000), (12, 6_000))


def test_marks_have_an_end() -> None:
    """A stream of many parts has as many marks as a copy may hold."""
    wire = Wire()
    wire.client(GET)
    wire.server(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n", 1)
    for n in range(exchange.MAX_MARKS + 100):
        wire.server(b"{}\n", 2 + n)
    wire.talk.end(9_000_000)
    wire.recorder.flush(0.0)
    (copy,) = wire.sink.copies()
    assert len(copy.marks) == exchange.MAX_MARKS
    assert copy.record.duration == 1 + exchange.MAX_MARKS + 100
    assert len(copy.response_body) == 3 * (exchange.MAX_MARKS + 100)


def test_bodies_are_cut_at_their_limit() -> None:
    """A copy holds the beginning, says so, and the sizes stay true."""
    wire = Wire(body_limit=3)
    wire.client(POST)
    wire.server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    wire.client(b"POST /p HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
    wire.server(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxyz")
    wire.recorder.flush(0.0)
    first, second = wire.sink.copies()
    assert (first.request_body, first.response_body) == (b"bod", b"hel")
    assert first.record.flags == exchange.REQUEST_CUT | exchange.RESPONSE_CUT
    assert (second.request_body, second.response_body, second.record.flags) == (b"abc", b"xyz", 0)


def test_a_long_head_is_kept_in_part() -> None:
    """A copy's head has at most 16 KiB, of whole lines, and still ends as a head."""
    wire = Wire()
    wire.client(b"GET /a HTTP/1.1\r\n" + b"X: y\r\n" * 8_000 + b"\r\n")
    wire.server(OK)
    wire.recorder.flush(0.0)
    (copy,) = wire.sink.copies()
    assert len(copy.request_head) <= _head.MAX_KEPT_HEAD
    assert copy.request_head.endswith(b"X: y\r\n\r\n")


def test_the_process_holds_a_bounded_number_of_bytes() -> None:
    """Beyond the cap of open exchanges bodies are dropped and counted; the timings are not."""
    sink = Sink()
    made = recorder(sink, bodies="all")
    talks = [Conversation(80, made) for _ in range(100)]
    for talk in talks:
        play(talk, [(CLIENT, b"POST /p HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))])
        assert made.holder.held <= made.holder.limit
    for talk in talks:
        play(talk, [(SERVER, OK)])
    made.flush(0.0)
    copies, records = len(sink.copies()), len(sink.records())
    assert copies + records == 100
    assert copies >= 40
    assert made.counters["dropped:bodies_in_flight"] == records
    assert made.holder.held == 0


def test_an_aborted_answer_is_copied_as_such() -> None:
    """What a client saw before it went is told, with the flag."""
    wire = Wire()
    wire.client(GET, 10)
    wire.server(OK[:-1], 20)
    wire.talk.end(50, reset=True)
    wire.recorder.flush(0.0)
    (copy,) = wire.sink.copies()
    assert (copy.record.flags, copy.record.duration, copy.response_body) == (exchange.ABORTED, 40, b"o")


def test_end_and_reset_of_a_close_delimited_answer() -> None:
    """It is complete when the connection ends, with its last byte; after a reset nobody knows."""
    for reset, flags, took in ((False, 0, 10), (True, exchange.ABORTED, 40)):
        wire = Wire(bodies="none")
        wire.client(GET, 10)
        wire.server(b"HTTP/1.0 200 OK\r\n\r\nok", 20)
        wire.talk.end(50, reset=reset)
        (record,) = wire.records()
        assert (record.flags, record.duration) == (flags, took)


def test_encrypted() -> None:
    """A connection the relay cannot read is one record of its timings."""
    wire = Wire()
    wire.talk.encrypted(5)
    wire.client(b"\x16\x03\x01hello", 10)
    wire.server(b"\x16\x03\x03", 30)
    wire.server(b"\x17\x03\x03", 60)
    assert wire.talk.in_flight == 0
    wire.talk.end(100)
    assert wire.records() == [exchange.Record(5, 55, 25, 8, 6, 80, 0, 0, exchange.OPAQUE)]
    assert wire.recorder.counters["exchanges:opaque"] == 1


def test_after_the_end_nothing_is_told() -> None:
    """A second end, and bytes after it, change nothing."""
    wire = Wire(bodies="none")
    wire.client(GET)
    wire.talk.end(1)
    wire.client(GET)
    wire.server(OK)
    wire.talk.end(2)
    assert len(wire.records()) == 1


INCOMPLETE = exchange.INCOMPLETE
A_OK, P_OK = (b"GET /a", 200, 0), (b"POST /p", 200, 0)
LOST_CLIENT, LOST_SERVER = "lost of the client", "lost of the server"


@pytest.mark.parametrize(
    ("script", "seen"),
    [
        pytest.param(
            [(CLIENT, GET), (SERVER, OK[:-1]), (LOST_SERVER, b""), (CLIENT, POST), (SERVER, OK)],
            [(b"GET /a", 200, INCOMPLETE), P_OK],
            id="the end of an answer",
        ),
        pytest.param(
            [(CLIENT, GET), (LOST_SERVER, b""), (SERVER, b"k"), (CLIENT, POST), (SERVER, OK)],
            [(b"GET /a", 0, INCOMPLETE), P_OK],
            id="the beginning of an answer",
        ),
        pytest.param(
            [(CLIENT, GET), (CLIENT, POST), (LOST_SERVER, b""), (SERVER, OK)],
            [(b"GET /a", 0, INCOMPLETE), (b"POST /p", 0, INCOMPLETE)],
            id="a whole answer, noticed at the next one: the tap knows earlier where the client waits",
        ),
        pytest.param(
            [(CLIENT, GET), (SERVER, OK), (SERVER, NO), (LOST_CLIENT, b""), (CLIENT, POST), (SERVER, OK)],
            [A_OK, P_OK],
            id="a whole request, noticed after its answer",
        ),
        pytest.param(
            [(CLIENT, POST[:-2]), (SERVER, OK), (LOST_CLIENT, b""), (CLIENT, GET), (SERVER, OK)],
            [P_OK, A_OK],
            id="the end of a body, noticed after its answer",
        ),
        pytest.param(
            [(CLIENT, POST[:-2]), (LOST_CLIENT, b""), (CLIENT, b"y"), (SERVER, OK), (CLIENT, GET), (SERVER, OK)],
            [(b"POST /p", 200, INCOMPLETE), A_OK],
            id="the middle of a body",
        ),
        pytest.param(
            [(CLIENT, POST[:9]), (LOST_CLIENT, b""), (CLIENT, b"y"), (SERVER, OK), (CLIENT, GET), (SERVER, OK)],
            [A_OK],
            id="within a request's head",
        ),
        pytest.param(
            [
                (CLIENT, GET),
                (SERVER, OK),
                (CLIENT, GET),
                (LOST_CLIENT, b""),
                (LOST_SERVER, b""),
                (CLIENT, POST),
                (SERVER, OK),
            ],
            [A_OK, (b"GET /a", 0, INCOMPLETE), P_OK],
            id="both directions",
        ),
        pytest.param(
            [(CLIENT, GET), (SERVER, OK[:-1]), (LOST_SERVER, b"")],
            [(b"GET /a", 200, INCOMPLETE)],
            id="then the end",
        ),
        pytest.param(
            [
                (CLIENT, GET),
                (SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
                (LOST_SERVER, b""),
                (SERVER, OK),
                (CLIENT, POST),
                (SERVER, OK),
            ],
            [(b"GET /a", 200, INCOMPLETE), P_OK],
            id="a body that looks like an answer",
        ),
        pytest.param(
            [(CLIENT, GET + GET + GET), (SERVER, OK), (LOST_SERVER, b""), (SERVER, OK), (CLIENT, POST), (SERVER, OK)],
            [A_OK, (b"GET /a", 0, INCOMPLETE), (b"GET /a", 0, INCOMPLETE)],
            id="a client that does not wait: nothing after it can be paired",
        ),
    ],
)
def test_lost_bytes(script: list[Step], seen: list[Seen]) -> None:
    """What was cut is incomplete, what follows is paired rightly, nothing is invented."""
    wire = Wire(bodies="none")
    for side, data in script:
        if side in (LOST_CLIENT, LOST_SERVER):
            wire.talk.lost(from_client=side == LOST_CLIENT)
        else:
            (wire.client if side == CLIENT else wire.server)(data)
    wire.talk.end(0)
    assert wire.seen() == seen
    assert not any(k.startswith("framing:") for k in wire.recorder.counters)


def test_joined_while_open() -> None:
    """A connection that was there before begins to count at its next request."""
    wire = Wire(bodies="none", joined=True)
    wire.server(b"the end of an answer")
    wire.client(b"the end of a body")
    wire.server(OK)
    wire.client(GET)
    wire.server(OK)
    wire.client(POST[:20])
    wire.client(POST[20:])
    wire.server(OK)
    wire.talk.end(0)
    assert wire.seen() == [A_OK, P_OK]


def test_a_copy_with_a_gap_is_not_told() -> None:
    """Bodies in which bytes are missing are never decoded."""
    wire = Wire()
    wire.client(GET)
    wire.server(OK[:-1])
    wire.talk.lost(from_client=False)
    wire.talk.end(0)
    wire.recorder.flush(0.0)
    assert wire.sink.copies() == []
    assert wire.recorder.holder.held == 0


def test_foreign_methods_after_a_gap_are_skipped() -> None:
    """Only what surely begins a request does."""
    seen, problems = run([(CLIENT, GET), (SERVER, OK)])
    assert (seen, problems) == ([A_OK], {})
    wire = Wire(bodies="none", joined=True)
    wire.client(b"GETTING /a HTTP/1.1\r\n\r\n")
    wire.server(OK)
    wire.talk.end(0)
    assert wire.seen() == []


def test_heads_of_many_connections_are_bounded() -> None:
    """Half heads, and requests nobody answers, share a bound; beyond it a connection is given up, and counted."""
    for ask, answer in (
        (b"GET /" + b"a" * 50_000, b""),
        (GET, b"HTTP/1.1 200 " + b"a" * 50_000),
        (b"GET /%b HTTP/1.1\r\n\r\n" % (b"a" * 9_000) * 9, b""),
    ):
        sink = Sink()
        made = recorder(sink)
        talks = [Conversation(80, made) for _ in range(200)]
        for talk in talks:
            play(talk, [(CLIENT, ask), (SERVER, answer)])
            assert made.holder.heads <= made.holder.heads_limit + 64_000
        assert made.counters["framing:no_room_for_heads"] > 50
        for talk in talks:
            talk.end(0)
        assert made.holder.heads == 0


def test_our_own_requests_are_not_the_models_traffic() -> None:
    """Scrapes and probes on the model's port are paired and forgotten; another product of our name is a client's."""
    _head.set_own("0123abcd")
    try:
        wire = Wire()
        for agent in (b"pilotfish/1 (0123abcd)", b"pilotfish/1 (0123abce)", b"curl"):
            wire.client(b"GET /" + agent[-2:] + b" HTTP/1.1\r\nUser-Agent: " + agent + b"\r\n\r\n")
            wire.server(OK)
        assert len(wire.records()) == 2
        assert wire.recorder.counters["exchanges:success"] == 2
    finally:
        _head.set_own("")
