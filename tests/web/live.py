"""A live server on a free port, under blockbuster: a blocking call on the event loop fails the test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from blockbuster import BlockBuster

from pilotfish_agent.state.history import History
from pilotfish_agent.web.connections import Limits
from pilotfish_agent.web.server import Served, build_app, serve
from pilotfish_core.clock import ManualClock
from pilotfish_core.events import Events
from pilotfish_core.nouns import Snapshot
from pilotfish_exporters.prometheus import Exporter
from tests.standard import standard_snapshot

Story = Callable[[Served], Awaitable[None]]


class Site:
    """What the server reads, changeable while it runs."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = standard_snapshot()
        self.waiting: Sequence[str] = ()
        self.exporter = Exporter()
        self.history: History | None = None
        self.events = Events(ManualClock())

    def event_counts(self) -> dict[str | None, float]:
        """Events so far, by name."""
        return {s.labels[0]: float(s.value) for s in self.events.samples() if not hasattr(s.value, "counts")}


def play(story: Story, site: Site | None = None, limits: Limits | None = None) -> None:
    """Runs ``story`` against a live server and stops it."""
    asyncio.run(_play(story, site or Site(), limits))


async def _play(story: Story, site: Site, limits: Limits | None) -> None:
    app = build_app(
        lambda: site.snapshot,
        site.exporter,
        history=site.history,
        not_ready=lambda: site.waiting,
        events=site.events,
        limits=limits,
    )
    buster = BlockBuster()
    buster.activate()
    try:
        served = await serve(app, "127.0.0.1", 0)
        try:
            await story(served)
        finally:
            await served.stop()
    finally:
        buster.deactivate()


async def connect(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare connection."""
    host, _, port = served.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def ask(served: Served, raw: bytes) -> bytes:
    """Sends bytes on a fresh connection and reads until the server closes."""
    reader, writer = await connect(served)
    try:
        writer.write(raw)
        return await reader.read()
    except (ConnectionError, BrokenPipeError):
        return b""
    finally:
        await close(writer)


async def get(
    served: Served, path: str, *, method: str = "GET", headers: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """(status, headers in lower case, body) of one request."""
    raw = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode()
    head, _, body = (await ask(served, raw)).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return int(first.split(" ")[1]), {k.lower(): v for k, v in pairs}, body


async def until(true: Callable[[], bool]) -> None:
    """Waits for something that the server does by itself; the test's own timeout bounds it."""
    while not true():  # noqa: ASYNC110 - there is no event to wait for: it is the server's inside
        await asyncio.sleep(0.01)


async def close(writer: asyncio.StreamWriter) -> None:
    """Closes a connection that may be dead already."""
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass
