"""Any bytes, in any order: nothing is raised, nothing grows, every exchange goes once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish import exchange
from pilotfish_agent.capture import _head
from pilotfish_agent.capture.http1 import Conversation
from tests.capture_framing.corpus import CASES
from tests.capture_framing.driver import CLIENT, SERVER, Sink, recorder, run

PIECES = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b":", b"0\r\n\r\n", b"5\r\nhello\r\n", b"GET /a HTTP/1.1\r\n",
    b"POST /b HTTP/1.0\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Go\r\n\r\n", b"HTTP/1.1 101 S\r\n\r\n",
    b"HTTP/1.0 204 No\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Upgrade: x\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n",
    b"Content-Type: text/event-stream\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\n", b"x" * 3_000, b"hello",
    *(data for case in CASES for _, data in case.script if len(data) < 200),
)  # fmt: skip
BYTES = st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join))
STEP = st.one_of(
    st.tuples(st.sampled_from(["request", "response"]), BYTES, st.integers(0, 1 << 62)),
    st.tuples(
        st.sampled_from(["lost client", "lost server", "encrypted", "end", "reset", "flush"]),
        st.just(b""),
        st.integers(0, 1 << 62),
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(STEP, max_size=30), st.booleans(), st.sampled_from(["none", "all", "sampled"]))
def test_anything(steps: list[tuple[str, bytes, int]], joined: bool, bodies: str) -> None:
    """No error, no bytes held at the end, every exchange counted is told once."""
    sink = Sink()
    made = recorder(sink, bodies=bodies, body_limit=100)
    talk = Conversation(80, made, joined=joined)
    for what, data, now in steps:
        if what in ("request", "response"):
            getattr(talk, what)(data, 0, len(data), now)
        elif what.startswith("lost"):
            talk.lost(from_client=what == "lost client")
        elif what == "encrypted":
            talk.encrypted(now)
        elif what == "flush":
            made.flush(now / 1e9)
        else:
            talk.end(now, reset=what == "reset")
        assert talk.in_flight <= 128
        assert len(talk.part_q) + len(talk.part_r) <= 2 * _head.MAX_HEAD
    talk.end(1 << 62)
    assert (made.holder.held, made.holder.heads) == (0, 0)
    for at in range(3):
        made.flush(1e10 + at)
    told = sum(n for k, n in made.counters.items() if k.startswith("exchanges:"))
    assert len(sink.records()) + len(sink.copies()) == told


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([CLIENT, SERVER]), BYTES.filter(bool)), max_size=8),
    st.lists(st.integers(1, 400), max_size=20),
)
def test_any_bytes_in_any_split(script: list[tuple[str, bytes]], cuts: list[int]) -> None:
    """The exchanges are a function of the bytes, not of the segments."""
    assert run(script, cuts) == run(script)


def test_a_given_up_connection_still_tells_what_was_ambiguous() -> None:
    """Giving up after lost bytes lets nothing go untold, and nothing held."""
    sink = Sink()
    made = recorder(sink)
    talk = Conversation(80, made)
    get = b"GET /a HTTP/1.1\r\n\r\n"
    talk.lost(from_client=True)
    bad = get * 2 + b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"
    talk.request(bad, 0, len(bad), 1)
    talk.response(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 38, 2)
    talk.end(3)
    made.flush(0.0)
    assert [(line, r.flags) for line, r in sink.records()] == [
        (b"GET /a", 0),
        (b"GET /a", exchange.INCOMPLETE),
        (b"", exchange.AMBIGUOUS),
    ]
    assert (made.holder.held, made.holder.heads) == (0, 0)


def test_endless_beginnings_stay_small() -> None:
    """Heads, chunk lines, trailers and interim answers without an end are bounded."""
    beginnings = (
        (b"GET /" + b"a" * 60_000, b""),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 60_000, b""),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 10_000, b""),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 102 P\r\n\r\n" * 3_000),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 60_000),
        (b"GET / HTTP/1.1\r\n\r\n" * 3_000, b""),
    )
    for ask, answer in beginnings:
        made = recorder(Sink(), bodies="all")
        talk = Conversation(80, made)
        for at in range(3):
            talk.request(ask, 0, len(ask), at)
            talk.response(answer, 0, len(answer), at)
            assert len(talk.part_q) + len(talk.part_r) <= 2 * _head.MAX_HEAD
            assert talk.in_flight <= 128
            assert made.holder.held <= 1 << 20
        talk.end(9)
        assert (made.holder.held, made.holder.heads) == (0, 0)
    assert len(_head.requests) <= _head.TABLE
    assert len(_head.answers) <= _head.TABLE


def test_single_bytes_of_a_large_head_cost_little() -> None:
    """A head of 64 KiB that comes byte by byte is searched once, not once a byte."""
    made = recorder(Sink())
    talk = Conversation(80, made)
    data = b"GET / HTTP/1.1\r\nX: " + b"a" * (_head.MAX_HEAD + 10)
    for at in range(len(data)):
        talk.request(data, at, at + 1, at)
    talk.end(0)
    assert made.counters["framing:head_too_large"] == 1
