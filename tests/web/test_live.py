"""`/api/v1/live`: every viewer gets the newest view, a stalled one is dropped, none takes a scraper's place."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from pilotfish_agent.web import live
from pilotfish_agent.web.connections import Limits
from pilotfish_agent.web.server import Served
from tests.standard import standard_snapshot
from tests.web.live import Site, ask, close, connect, get, play, until

GET = b"GET /api/v1/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(live, "LEAST_SECONDS", 0.02)


async def open_viewer(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A viewer that has read the head of its answer."""
    reader, writer = await connect(served)
    writer.write(GET)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    assert b"text/event-stream" in head
    assert b"no-store" in head
    return reader, writer


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """One chunk of the answer."""
    size = int(await reader.readuntil(b"\r\n"), 16)
    return (await reader.readexactly(size + 2))[:-2]


def view_of(content: bytes) -> Any:
    """The document of an event."""
    lines = content.decode().split("\n")
    assert lines[-4:][0] == "event: view"
    assert lines[-2:] == ["", ""]
    return json.loads(lines[-3].removeprefix("data: "))


def test_a_viewer_gets_the_view_at_once_and_each_new_one() -> None:
    """First how soon to come back, then the view; a new Snapshot comes by itself, an old one not again."""
    site = Site()

    async def story(served: Served) -> None:
        reader, writer = await open_viewer(served)
        first = await read_chunk(reader)
        assert first.startswith(b"retry: 2000\n\n")
        assert view_of(first)["at"] == standard_snapshot().at
        for at in (5.0, 6.0):
            site.snapshot = replace(standard_snapshot(), at=at)
            assert view_of(await read_chunk(reader))["at"] == at
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.1)
        await close(writer)
        await until(lambda: not served.connections.viewers)

    play(story, site)


def test_before_the_first_snapshot_the_view_says_so() -> None:
    """A page that is open early is told when it begins."""
    site = Site()
    site.snapshot = None

    async def story(served: Served) -> None:
        reader, writer = await open_viewer(served)
        assert view_of(await read_chunk(reader))["at"] is None
        site.snapshot = standard_snapshot()
        assert view_of(await read_chunk(reader))["at"] == standard_snapshot().at
        await close(writer)

    play(story, site)


def test_a_comment_shows_that_the_connection_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is new, a proxy still sees something."""
    monkeypatch.setattr(live, "COMMENT_SECONDS", 0.05)

    async def story(served: Served) -> None:
        reader, writer = await open_viewer(served)
        await read_chunk(reader)
        assert await read_chunk(reader) == b":\n\n"
        await close(writer)

    play(story)


def test_all_viewers_share_one_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten viewers, two Snapshots: two views are made."""
    made: list[object] = []
    whole = live.event

    def counted(document: object) -> bytes:
        made.append(document)
        return whole(document)

    monkeypatch.setattr(live, "event", counted)
    site = Site()

    async def story(served: Served) -> None:
        viewers = [await open_viewer(served) for _ in range(10)]
        for reader, _ in viewers:
            await read_chunk(reader)
        site.snapshot = replace(standard_snapshot(), at=7.0)
        for reader, _ in viewers:
            assert view_of(await read_chunk(reader))["at"] == 7.0
        assert len(made) == 2
        for _, writer in viewers:
            await close(writer)

    play(story, site)


def test_no_deadline_of_a_request_ends_a_viewer_that_reads() -> None:
    """Neither the time for an answer nor that between requests counts for it."""
    site = Site()

    async def story(served: Served) -> None:
        reader, writer = await open_viewer(served)
        await read_chunk(reader)
        for number in range(12):
            await asyncio.sleep(0.03)
            site.snapshot = replace(standard_snapshot(), at=float(number))
            assert view_of(await read_chunk(reader))["at"] == number
        await close(writer)

    play(story, site, Limits(head_seconds=0.1, answer_seconds=0.1, idle_seconds=0.1))


def test_a_viewer_that_does_not_read_is_dropped_and_counted() -> None:
    """It holds its place until the deadline; the other one sees every view meanwhile."""
    site = Site()
    words = "x" * 50_000

    async def story(served: Served) -> None:
        reader, writer = await open_viewer(served)
        await read_chunk(reader)
        _, stalled = await connect(served)
        stalled.transport.pause_reading()  # type: ignore[attr-defined]
        stalled.write(GET)
        await until(lambda: len(served.connections.viewers) == 2)
        at = 0.0
        while len(served.connections.viewers) == 2:
            at += 1
            status = replace(standard_snapshot().status, notices=(words,), instance=words)
            site.snapshot = replace(standard_snapshot(), at=at, status=status)
            assert view_of(await read_chunk(reader))["at"] == at
        await until(lambda: site.event_counts().get("viewer_stalled") == 1)
        await close(stalled)
        await close(writer)

    play(story, site, Limits(stall_seconds=0.2))


def test_viewers_have_places_of_their_own_and_their_number_a_bound() -> None:
    """All places of viewers taken: the next is told so in words; scrapes go on all the while."""

    async def story(served: Served) -> None:
        viewers = [await open_viewer(served) for _ in range(5)]
        status, _, body = await get(served, "/api/v1/live")
        assert status == 503
        assert b"5 viewers are connected" in body
        assert (await get(served, "/metrics"))[0] == 200
        assert served.connections.evicted == 0
        await close(viewers[0][1])
        await until(lambda: len(served.connections.viewers) == 4)
        await close((await open_viewer(served))[1])
        for _, writer in viewers[1:]:
            await close(writer)

    play(story, limits=Limits(connections=2, viewers=5))


def test_a_viewer_that_says_more_is_dropped() -> None:
    """Requests behind one that never ends would only pile up."""

    async def story(served: Served) -> None:
        reader, writer = await open_viewer(served)
        await read_chunk(reader)
        writer.write(GET)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        await until(lambda: not served.connections.viewers)
        await close(writer)

    play(story)


def test_an_old_client_and_a_head_get_no_stream() -> None:
    """HTTP/1.0 has no chunks; HEAD has no body."""

    async def story(served: Served) -> None:
        assert b" 505 " in (await ask(served, b"GET /api/v1/live HTTP/1.0\r\n\r\n")).split(b"\r\n")[0]
        assert (await get(served, "/api/v1/live", method="HEAD"))[0] == 405

    play(story)


def test_a_view_that_fails_is_told_and_the_viewers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """One event, a comment in its place, the next view comes."""
    site = Site()
    whole = live.event

    def failing(document: Any) -> bytes:
        if document["at"] == 1.0:
            raise ValueError("no")
        return whole(document)

    monkeypatch.setattr(live, "event", failing)

    async def story(served: Served) -> None:
        reader, writer = await open_viewer(served)
        await read_chunk(reader)
        site.snapshot = replace(standard_snapshot(), at=1.0)
        assert await read_chunk(reader) == b":\n\n"
        site.snapshot = replace(standard_snapshot(), at=2.0)
        assert view_of(await read_chunk(reader))["at"] == 2.0
        assert site.event_counts()["view_failed"] == 1
        await close(writer)

    play(story, site)


def test_stopping_lets_no_viewer_wait() -> None:
    """The end of the server is the end of every stream, without an event of a failure."""
    site = Site()

    async def story(served: Served) -> None:
        reader, writer = await open_viewer(served)
        await read_chunk(reader)
        await served.stop()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        await close(writer)

    play(story, site)
    assert site.event_counts() == {}
