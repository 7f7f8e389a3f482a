"""Slow, greedy and broken clients: bounded, closed, and never in the way of a good one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotfish_agent.web.connections import Limits
from pilotfish_agent.web.server import Served, build_app, serve
from pilotfish_exporters.prometheus import Exporter
from tests.standard import standard_snapshot
from tests.web.live import ask, close, connect, get, play, until

QUICK = Limits(connections=8, head_seconds=0.15, answer_seconds=0.3, idle_seconds=30.0)
IMPATIENT = Limits(connections=8, head_seconds=0.15, answer_seconds=0.3, idle_seconds=0.15)


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HT", b"GET / HTTP/1.1\r\nHost: x\r\n", b"\r\n\r\n"])
def test_a_head_that_does_not_come_closes_the_connection(sent: bytes) -> None:
    """Nothing sent, half a line, half a head: the server closes by itself."""

    async def story(served: Served) -> None:
        reader, writer = await connect(served)
        writer.write(sent)
        assert b"200 OK" not in await reader.read()
        await close(writer)
        assert len(served.connections) == 0

    play(story, limits=QUICK)


def test_a_head_that_drips_in_does_not_move_its_deadline() -> None:
    """Slowloris: one byte now and then buys no time."""

    async def story(served: Served) -> None:
        reader, writer = await connect(served)

        async def drip() -> None:
            writer.write(b"GET / HTTP/1.1\r\n")
            while True:
                writer.write(b"X: y\r\n")
                await asyncio.sleep(0.02)

        dripping = asyncio.ensure_future(drip())
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        dripping.cancel()
        assert b"200 OK" not in answer
        await close(writer)

    play(story, limits=QUICK)


def test_the_second_head_of_a_kept_connection_has_the_same_deadline() -> None:
    """Keep-alive waits long for a first byte, and then as short as at the start."""

    async def story(served: Served) -> None:
        reader, writer = await connect(served)
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"ok\n")
        writer.write(b"GET /-/heal")
        assert await reader.read() == b""
        await close(writer)

    play(story, limits=QUICK)


def test_a_connection_is_kept_for_the_next_scrape() -> None:
    """Two requests on one connection, one after the other, longer apart than a head may take."""

    async def story(served: Served) -> None:
        reader, writer = await connect(served)
        for _ in range(2):
            writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"ok\n")
            await asyncio.sleep(2 * QUICK.head_seconds)
        await close(writer)

    play(story, limits=QUICK)


def test_a_client_that_has_sent_all_still_gets_its_answer() -> None:
    """`printf ... | nc` closes its side at once."""

    async def story(served: Served) -> None:
        reader, writer = await connect(served)
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.write_eof()
        assert (await reader.read()).endswith(b"ok\n")
        await close(writer)

    play(story, limits=QUICK)


def test_half_open_connections_make_room_for_a_good_client() -> None:
    """Many more than there are places: never more open than allowed, and a scrape gets through meanwhile."""

    async def story(served: Served) -> None:
        held = [await connect(served) for _ in range(5 * QUICK.connections)]
        assert len(served.connections) <= QUICK.connections
        assert (await get(served, "/metrics"))[0] == 200
        assert served.connections.evicted > 0
        for _, writer in held:
            await close(writer)

    play(story, limits=Limits(connections=8))


def test_a_connection_too_many_is_refused_when_all_are_at_work() -> None:
    """A place with a request in work is never taken away."""

    async def story(served: Served) -> None:
        held = [await connect(served) for _ in range(2)]
        await until(lambda: len(served.connections) == 2)
        for connection in list(served.connections._open.values()):
            connection.started()
        assert await ask(served, b"GET /-/healthy HTTP/1.0\r\n\r\n") == b""
        for _, writer in held:
            await close(writer)

    play(story, limits=Limits(connections=2))


def test_a_client_that_does_not_read_is_cut_off() -> None:
    """An answer that nobody takes does not hold its place."""

    async def story(served: Served) -> None:
        _, writer = await connect(served)
        for _ in range(4000):  # pipelined: far more answers than the kernel buffers
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: len(served.connections) == 0)
        await close(writer)

    play(story, limits=QUICK)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 10_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(200)) + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_wrong_request_gets_a_short_answer_and_the_server_goes_on(raw: bytes) -> None:
    """No traceback, no hang, the next one is served."""

    async def story(served: Served) -> None:
        answer = await ask(served, raw)
        assert b"Traceback" not in answer
        assert len(answer) < 20_000
        assert (await get(served, "/-/healthy"))[0] == 200

    play(story, limits=IMPATIENT)


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(
    [b"GET ", b"/metrics", b" HTTP/1.1", b"\r\n", b"Host: x\r\n", b"\r\n\r\n", b"Accept: ", b"Content-Length: 3\r\n",
     b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: keep-alive\r\n", b"\x00", b"\xff"]
)), max_size=12))  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_bytes_crash_the_server(parts: list[bytes]) -> None:
    """Whatever comes, an answer or a close, and the next request is served."""

    async def story(served: Served) -> None:
        answer = await ask(served, b"".join(parts))
        assert b"Traceback" not in answer
        assert (await get(served, "/-/healthy"))[0] == 200

    play(story, limits=IMPATIENT)


def test_a_body_is_not_read() -> None:
    """A refused upload ends at once, however long it says it is."""

    async def story(served: Served) -> None:
        reader, writer = await connect(served)
        writer.write(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + b"a" * 1000)
        answer = await reader.read()
        assert b"405" in answer.split(b"\r\n")[0]
        await close(writer)

    play(story)


def test_a_taken_port_is_an_error_that_leaves_nothing_behind() -> None:
    """The caller hears of it and can try again."""

    async def story(served: Served) -> None:
        host, _, port = served.address.rpartition(":")
        second = build_app(standard_snapshot, Exporter())
        with pytest.raises(OSError, match="in use"):
            await serve(second, host, int(port))
        assert (await get(served, "/-/healthy"))[0] == 200

    play(story)


def test_stopping_closes_every_connection_and_frees_the_port() -> None:
    """Nothing of ours stays behind."""

    async def run() -> None:
        served = await serve(build_app(standard_snapshot, Exporter()), "127.0.0.1", 0)
        reader, writer = await connect(served)
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"ok\n")
        await served.stop()
        assert await reader.read() == b""
        await close(writer)
        with pytest.raises(ConnectionRefusedError):
            await connect(served)

    asyncio.run(run())
