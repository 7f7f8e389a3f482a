"""Bounds on what a client may hold: aiohttp itself waits for a request head for an hour.

A connection wraps aiohttp's protocol and gives each phase its own deadline; when all places are taken, the one that
has waited longest without a request in work makes room, so half-open connections cannot shut out a scraper. Viewers of
`/api/v1/live` have places of their own: they stay for hours, and are written to without being asked.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp.web_protocol import RequestHandler


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all together, may hold.

    Attributes:
        connections: open at once. Prometheus needs one, a browser six.
        head_seconds: from the first byte of a request (or the connection) to the end of its head.
        answer_seconds: to make an answer, and again for a client to read one that is being held back.
        idle_seconds: between requests; above the usual scrape interval of 60 s, so that connections are kept.
        viewers: of `/api/v1/live` at once, beside the other connections.
        stall_seconds: that a viewer may leave what it is sent unread.
        viewer_bytes: `SO_SNDBUF` of a viewer; Linux doubles it, and what does not fit there is at most one view.
    """

    connections: int = 64
    head_seconds: float = 5.0
    answer_seconds: float = 10.0
    idle_seconds: float = 90.0
    viewers: int = 100
    stall_seconds: float = 5.0
    viewer_bytes: int = 1 << 15


class Connections:
    """All open connections of one server; lives on the event loop.

    Args:
        limits: what they may hold.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._open: dict[object, Connection] = {}  # in order of last use
        self.viewers: set[Connection] = set()
        self.evicted = 0
        """How many had to make room."""

    def __len__(self) -> int:
        return len(self._open) + len(self.viewers)

    def factory(self, handlers: Callable[[], RequestHandler]) -> Callable[[], Connection]:
        """A protocol factory around aiohttp's own (`AppRunner.server`)."""
        return lambda: Connection(self, handlers())

    def of(self, handler: object) -> Connection | None:
        """The connection that ``request.protocol`` belongs to; None under a foreign server."""
        return self._open.get(handler)

    def admit(self, connection: Connection) -> bool:
        """Takes a new connection in; False when every place has a request in work."""
        if len(self._open) >= self.limits.connections:
            waiting = next((c for c in self._open.values() if not c.busy), None)
            if waiting is None:
                return False
            self.evicted += 1
            waiting.abort()
        self._open[connection.handler] = connection
        return True

    def used(self, connection: Connection) -> None:
        """Puts a connection at the end of the queue of those that may have to go."""
        if self._open.pop(connection.handler, None) is not None:
            self._open[connection.handler] = connection

    def forget(self, connection: Connection) -> None:
        """Takes a closed connection out."""
        self._open.pop(connection.handler, None)
        self.viewers.discard(connection)

    def take_viewer(self, connection: Connection) -> bool:
        """Gives a connection a viewer's place instead of its own; False when there is none left."""
        if len(self.viewers) >= self.limits.viewers:
            return False
        self._open.pop(connection.handler, None)
        self.viewers.add(connection)
        return True


class Connection(asyncio.Protocol):
    """One client's connection: aiohttp's protocol with deadlines.

    Attributes:
        busy: a request is in work.
        handler: aiohttp's protocol.
        stalled: a viewer that was dropped because it did not read.
        gone: of a viewer: done when the connection ends, by whoever.
    """

    __slots__ = ("_all", "_ended", "_full", "_pending", "_timer", "_transport", "busy", "gone", "handler", "stalled")

    def __init__(self, connections: Connections, handler: RequestHandler) -> None:
        self._all = connections
        self.handler = handler
        self.busy = False
        self._pending = True  # bytes of a request head are awaited
        self._ended = False  # the client will send no more
        self._full = False  # the kernel takes no more for now
        self.stalled = False
        self.gone: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self.stalled = self.gone is not None
        if self._full and self._transport is not None:  # else the kernel keeps for minutes what nobody reads
            reset = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        self.abort()

    def abort(self) -> None:
        """Closes at once, whatever is buffered."""
        self._all.forget(self)
        if self._transport is not None:
            self._transport.abort()

    def started(self) -> None:
        """A request's head is complete and its answer is being made."""
        self.busy, self._pending = True, False
        self._arm(self._all.limits.answer_seconds)

    def finished(self) -> None:
        """The answer is made; the client may read it, and ask again."""
        self.busy = False
        if self.gone is not None:
            self.abort()  # a stream has no end that a client could tell
            return
        self._all.used(self)
        soon = self._pending or self._ended
        self._arm(self._all.limits.head_seconds if soon else self._all.limits.idle_seconds)

    def watch(self) -> bool:
        """The client becomes a viewer: no deadline but for what it leaves unread; False when there is no place."""
        if self._transport is None or self._transport.is_closing() or not self._all.take_viewer(self):
            return False
        self._disarm()
        self.gone = asyncio.get_running_loop().create_future()
        limits = self._all.limits
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.viewer_bytes)
        self._transport.set_write_buffer_limits(high=0)  # whatever the kernel does not take starts the deadline
        return True

    def send(self, content: bytes) -> None:
        """To a viewer, if it has taken what came before."""
        if self._transport is not None and not self._full:
            self._transport.write(content)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._all.admit(self):
            transport.abort()
        self._arm(self._all.limits.head_seconds)
        self.handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request. The first ones of a head start its deadline; later ones do not move it."""
        if self.gone is not None:  # a viewer has nothing to say, and nobody would take it in
            self.abort()
            return
        if not self._pending:
            self._pending = True
            if not self.busy:
                self._arm(self._all.limits.head_seconds)
        self.handler.data_received(data)

    def eof_received(self) -> bool:
        """The client sends no more; True keeps the connection for the answer to what it has sent; a viewer has left."""
        self.handler.eof_received()
        self._ended = True
        return self.gone is None and (self.busy or self._pending)

    def pause_writing(self) -> None:
        """The client reads slower than we write: it has one more deadline to do so."""
        self._full = True
        self._arm(self._all.limits.answer_seconds if self.gone is None else self._all.limits.stall_seconds)
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._full = False
        if self.gone is not None:
            self._disarm()
        else:
            self._arm(self._all.limits.answer_seconds if self.busy else self._all.limits.idle_seconds)
        self.handler.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The end, by whoever."""
        self._all.forget(self)
        self._disarm()
        if self.gone is not None and not self.gone.done():
            self.gone.set_result(None)
        self.handler.connection_lost(exc)
