"""`/api/v1/live`: the page's view as server-sent events. One encoding for all viewers, one task that writes to them.

A viewer that does not read holds what the kernel and one view hold, until its deadline; it is sent the newest view
afterwards, never those that it missed. Nothing runs while nobody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from aiohttp import web

from pilotfish_agent.web import documents
from pilotfish_agent.web.connections import Connections
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Metric, Sample
from pilotfish_core.nouns import Snapshot

VIEWERS = Metric(
    "pilotfish_web_viewers", "gauge", "Open pages that follow /api/v1/live; each costs the agent a little CPU."
)
METRICS = (VIEWERS,)
VIEWER_STALLED = Event("viewer_stalled", "info", "A viewer of the page did not read what it was sent; it was dropped.")
VIEW_FAILED = Event("view_failed", "error", "The view for /api/v1/live could not be made; the next one is tried.")
EVENTS = (VIEWER_STALLED, VIEW_FAILED)

LEAST_SECONDS: float = 0.95
"""Between two views: at most one a second, with room for the beat of the pipeline."""
LOOK_SECONDS: float = 0.25
"""Between two looks for a new Snapshot: what a view may come late."""
COMMENT_SECONDS: float = 15.0
"""Without a view after which a comment shows that the connection lives; proxies give up after 30 s and more."""
COMMENT: Final = b"3\r\n:\n\n\r\n"
RETRY: Final = b"retry: 2000\n\n"
HEADERS: Final = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}


def event(document: object) -> bytes:
    """A view as one server-sent event (its JSON has no line breaks)."""
    return b"event: view\ndata: " + documents.encode(document).rstrip() + b"\n\n"


def chunk(content: bytes) -> bytes:
    """Framed for the chunked coding, once for all viewers."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def samples(connections: Connections) -> Iterator[Sample]:
    """How many look."""
    yield Sample(VIEWERS, (), float(len(connections.viewers)))


class Live:
    """All viewers of one server; lives on the event loop.

    Args:
        connections: who is connected.
        latest: the newest Snapshot.
        encode: the event of a Snapshot; takes its time elsewhere.
        events: where dropped viewers are told.
    """

    def __init__(
        self,
        connections: Connections,
        latest: Callable[[], Snapshot | None],
        encode: Callable[[Snapshot | None], Awaitable[bytes]],
        events: Events | None,
    ) -> None:
        self._connections = connections
        self._latest = latest
        self._encode = encode
        self._events = events
        self._writing: asyncio.Task[None] | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """GET /api/v1/live, until the viewer goes."""
        connection = self._connections.of(request.protocol)
        if connection is None or request.version < (1, 1):
            return _refusal(505, "HTTP/1.1 is needed: a stream of events has no length")
        first = await self._encode(self._latest())
        if not connection.watch():
            most = self._connections.limits.viewers
            return _refusal(503, f"{most} viewers are connected, no more are served: close one, or read /api/v1/view")
        assert connection.gone is not None
        response = web.StreamResponse(headers=HEADERS)
        response.force_close()
        await response.prepare(request)  # writes the head
        connection.send(chunk(RETRY + first))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await connection.gone
        if connection.stalled and self._events is not None:
            self._events.emit(VIEWER_STALLED, seconds=self._connections.limits.stall_seconds)
        return response

    async def close(self, _: web.Application | None = None) -> None:
        """The end: every viewer goes at once."""
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
        for viewer in tuple(self._connections.viewers):
            viewer.abort()

    async def _write(self) -> None:
        """Sends to all until nobody is left."""
        loop = asyncio.get_running_loop()
        shown, sent = self._latest(), loop.time()
        while self._connections.viewers:
            await asyncio.sleep(LOOK_SECONDS)
            newest, idle = self._latest(), loop.time() - sent
            if newest is not shown and idle >= LEAST_SECONDS:
                shown = newest
                content = await self._view(newest)
            elif idle >= COMMENT_SECONDS:
                content = COMMENT
            else:
                continue
            sent = loop.time()
            for viewer in tuple(self._connections.viewers):
                viewer.send(content)

    async def _view(self, snapshot: Snapshot | None) -> bytes:
        try:
            return chunk(await self._encode(snapshot))
        except Exception as error:  # noqa: BLE001 - whatever it is, the viewers stay and get the next one
            if self._events is not None:
                self._events.emit(VIEW_FAILED, error=f"{type(error).__name__}: {error}"[:200])
            return COMMENT


def _refusal(status: int, words: str) -> web.Response:
    return web.Response(status=status, text=words + "\n")
