"""The relay's connections: bytes from one socket to the other, untouched, at once, held only where a peer is slow.

Nothing here may end a connection that would live without us, or keep one that would end: an end of bytes, a reset and
a refusal are passed on as they come. Framing looks on, and is taken away at its first fault.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
import struct
import time
from collections.abc import Callable
from typing import Final, Protocol, cast

from pilotfish_agent.capture.http1 import Conversation

CHUNK: Final = 64 << 10
"""Bytes of one read, and so the most that is held for a slow peer in one direction."""
BUFFER: Final = mmap.mmap(-1, CHUNK)
"""All sockets read into this one: the loop reads and hands on in one step. A slice of a mmap is `bytes`: one copy."""
VIEW: Final = memoryview(BUFFER)
WAITS: Final = 4_096
TOGETHER: Final = 1_024
"""What passes is framed in batches, because then the framer's code is in the caches: a third of the cost. At most so
many chunks of at most so many bytes wait; a larger one is framed at once, with all before it."""
_RESET: Final = struct.pack("ii", 1, 0)
_now = time.time_ns


class Owner(Protocol):
    """What a pair needs of the relay.

    Attributes:
        passed: (side, bytes, epoch ns) of what has passed and is not framed yet.
    """

    passed: list[tuple[Side, bytes, int]]

    def opened(self, pair: Pair) -> None:
        """A client is there: connect the model's side, or `Pair.refuse`."""

    def half_closed(self, pair: Pair) -> None:
        """The model has ended its side, the client has not."""

    def closed(self, pair: Pair) -> None:
        """Both sockets are gone."""

    def soon(self) -> None:
        """Calls `caught_up` before long."""

    def caught_up(self) -> None:
        """Frames all that has passed."""

    def fault(self, error: Exception) -> None:
        """Framing failed; the connection goes on without."""


class Pair:
    """A client's connection and ours to the model.

    Args:
        owner: of all pairs.

    Attributes:
        client: the side that was accepted.
        model: the side that was connected; None until then.
        over: one of the two is lost or refused: no more bytes are passed.
        conversation: sees copies of the bytes; None: nobody looks.
        sockets: how many of the two are there.
    """

    __slots__ = ("client", "conversation", "model", "over", "owner", "sockets")

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.conversation: Conversation | None = None
        self.client = Side(self)
        self.model: Side | None = None
        self.over = False
        self.sockets = 0

    def watch(self, conversation: Conversation) -> None:
        """Copies of the bytes go to ``conversation``."""
        self.conversation = conversation
        self.client.frame = conversation.request

    def model_side(self) -> Side:
        """The protocol of the connection to the model, linked before its first byte: a server may speak first."""
        side = self.model = Side(self)
        side.peer, self.client.peer = self.client, side
        assert self.client.transport is not None
        side.write = self.client.transport.write
        if self.conversation is not None:
            side.frame = self.conversation.response
        return side

    def refuse(self) -> None:
        """The model cannot be reached: the client sees a reset, the nearest there is to a refused connection."""
        if not self.over:
            self.over = True
            self._end(reset=True)
            _reset(self.client.transport)

    def drop_framing(self, error: Exception) -> None:
        """Framing has a fault: this connection goes on without, whatever it was."""
        conversation, self.conversation = self.conversation, None
        self.client.frame = None
        if self.model is not None:
            self.model.frame = None
        if conversation is not None:
            self.owner.fault(error)

    def quiet(self) -> bool:
        """No answer is owed and nothing is held: it may be closed between two requests."""
        if self.conversation is None or self.conversation.in_flight:
            return False
        return all(s is not None and s.transport is not None and not _held(s.transport) for s in self._both())

    def close(self) -> None:
        """Closes both sides once what is held is written."""
        for side in self._both():
            if side is not None and side.transport is not None:
                side.transport.close()

    def abort(self) -> None:
        """Resets both sides."""
        for side in self._both():
            if side is not None:
                _reset(side.transport)

    def ended(self, side: Side) -> None:
        """No more bytes come from ``side``: its peer is told once all before is written."""
        peer = side.peer
        if side is self.model:
            self._end(reset=False)
        if peer is None or peer.transport is None:
            return  # not linked yet: `Side.connection_made` does it
        if peer.ended or not peer.transport.can_write_eof():
            self.close()  # both directions are done, or TLS, which knows no half of a connection
            return
        peer.transport.write_eof()
        if side is self.model:
            self.owner.half_closed(self)

    def lost(self, side: Side, error: Exception | None) -> None:
        """The socket of ``side`` is gone."""
        if not self.over:
            self.over = True
            self._end(reset=error is not None)
            if side.peer is not None and side.peer.transport is not None:
                if error is not None:
                    _reset(side.peer.transport)
                else:
                    side.peer.transport.close()
        self.sockets -= 1
        if not self.sockets:
            for one in self._both():
                if one is not None:  # no cycles: the collector has nothing to do
                    one.peer = one.write = None
            self.model = None
            self.owner.closed(self)

    def _both(self) -> tuple[Side, Side | None]:
        return self.client, self.model

    def _end(self, *, reset: bool) -> None:
        if self.conversation is not None:
            self.owner.caught_up()
        conversation, self.conversation = self.conversation, None
        self.client.frame = None
        if self.model is not None:
            self.model.frame = None
        if conversation is not None:
            try:
                conversation.end(_now(), reset=reset)
            except Exception as error:  # noqa: BLE001 - a fault in framing never reaches the connection
                self.owner.fault(error)


class Side(asyncio.BufferedProtocol):
    """One of the two sockets of a pair.

    Attributes:
        transport: None until the socket is there.
        peer: the other side, once linked.
        ended: no more bytes will come from here.
        write: takes bytes to the other side; None: not linked yet.
        frame: looks at a copy; None: nobody does.
    """

    __slots__ = ("_first", "_pair", "_passed", "ended", "frame", "peer", "transport", "write")

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._passed = pair.owner.passed
        self._first: list[bytes] = []
        self.transport: asyncio.Transport | None = None
        self.peer: Side | None = None
        self.ended = False
        self.write: Callable[[bytes], None] | None = None
        self.frame: Callable[[bytes, int, int, int], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Links the two directions, or asks for the model's side."""
        self.transport = transport = cast("asyncio.Transport", transport)  # uvloop's is none by isinstance
        pair = self._pair
        pair.sockets += 1
        # What the kernel does not take at once stops the reader. Not 0: TLS transports pause at >=, and would for ever.
        transport.set_write_buffer_limits(high=1, low=0)
        if self is pair.client:
            pair.owner.opened(pair)
        elif pair.over:
            _reset(transport)
        else:
            pair.client.start(transport)

    def start(self, to: asyncio.Transport) -> None:
        """The way to the model is there: what waited goes first."""
        self.write = to.write
        waiting, self._first = self._first, []
        for data in waiting:
            to.write(data)
        if self.ended:
            self._pair.ended(self)
        elif self.transport is not None and not _held(to):
            self.transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio names it
        """The shared buffer: `buffer_updated` follows before any other read."""
        return VIEW

    def buffer_updated(self, nbytes: int) -> None:
        """Passes on what came; it is framed later, with what passes elsewhere meanwhile."""
        data = BUFFER[:nbytes]
        now = _now()
        if self.write is not None:
            self.write(data)
        else:  # pausing in connection_made does not hold on uvloop; here it does: one chunk waits at most
            self._first.append(data)
            if self.transport is not None:
                self.transport.pause_reading()
        if self.frame is not None:
            passed = self._passed
            passed.append((self, data, now))
            if nbytes > WAITS or len(passed) >= TOGETHER:
                self._pair.owner.caught_up()
            elif len(passed) == 1:
                self._pair.owner.soon()

    def fault(self, error: Exception) -> None:
        """Framing of these bytes failed."""
        self._pair.drop_framing(error)

    def pause_writing(self) -> None:
        """This side is slow: no more is read from the other one."""
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """This side has taken all."""
        peer = self.peer
        if peer is not None and peer.transport is not None and not peer.ended:
            peer.transport.resume_reading()

    def eof_received(self) -> bool:
        """Half of the connection is over; the other direction goes on."""
        self.ended = True
        self._pair.ended(self)
        return self.transport is not None and self.transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._pair.lost(self, exc)


def _held(transport: asyncio.WriteTransport) -> int:
    return transport.get_write_buffer_size()


def _reset(transport: asyncio.Transport | None) -> None:
    """Closes at once with RST, as a socket that is closed with a linger time of 0 does (socket(7))."""
    if transport is None:
        return
    end = transport.get_extra_info("socket")
    try:
        if end is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:
        pass  # it is gone already
    transport.abort()
