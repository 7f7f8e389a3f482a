"""The relay: a port of ours before the model's, bytes passed untouched. Only ever on when asked for: it is in the path.

One loop (uvloop; asyncio where that is missing) carries all: sockets, framing, heartbeats. The recorder's datagrams
never wait. See docs/capture-relay.md for what breaks when it dies.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import signal
import socket
from collections.abc import Mapping
from typing import Any, Final

from pilotfish_agent.capture.control import IN_FLIGHT, ClosedError, Control, Orders
from pilotfish_agent.capture.http1 import Conversation
from pilotfish_agent.capture.recorder import Recorder
from pilotfish_agent.capture.relay_listen import BACKLOG, listen, room, split
from pilotfish_agent.capture.relay_sides import CHUNK, Pair, Side
from pilotfish_agent.capture.tls import Certificate

TICK_S: Final = 0.05
"""Between two looks at what waits: the recorder's records, the heartbeat (which itself is sent each 250 ms)."""
COUNT_S: Final = 1.0
"""Between two counts of the requests that are open."""
CONNECT_S: Final = 10.0
"""A model that does not accept within this is down: the client is reset rather than kept."""
HANDSHAKE_S: Final = 10.0
ENDED_S: Final = 60.0
"""A client that stays silent this long after the model has ended is closed (the kernel's tcp_fin_timeout)."""
DRAIN_S: Final = 2.0
"""At the end: for answers that are owed."""
SOON_S: Final = 0.02
"""What has passed waits so long to be framed, see `relay_sides.TOGETHER`."""
RENEW_S: Final = 10.0
PLAIN_BYTES: Final = 2 * CHUNK + (16 << 10)
"""Of one pair at its worst: a chunk held each way, and its objects."""
TLS_BYTES: Final = 2 * (PLAIN_BYTES + (384 << 10))
"""uvloop gives each TLS connection 256 KiB, OpenSSL's state is in the rest; twice, for handshakes not yet paired."""


def run(orders: Orders, recorder: Recorder, control: Control) -> None:
    """Relays until the agent is gone, then drains.

    Args:
        orders: the first ones; later ones may change the ports, and so the model's address.
        recorder: takes the exchanges.
        control: gives orders, takes heartbeats.

    Raises:
        CaptureUnavailableError: the address cannot be had, or the certificate cannot be used.
    """
    certificate = Certificate(orders.relay.cert, orders.relay.key) if orders.relay.cert else None
    sockets = listen(orders.relay.listen)
    loop = new_loop()
    gc.collect()
    gc.freeze()
    try:
        relay = Relay(loop, orders, recorder, control, certificate)
        loop.run_until_complete(relay.serve(sockets))
    finally:
        for one in sockets:
            one.close()
        loop.close()


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, or asyncio's at about 1.5 times its cost."""
    try:
        made = importlib.import_module("uvloop").new_event_loop()
    except ImportError:
        return asyncio.new_event_loop()
    assert isinstance(made, asyncio.AbstractEventLoop)
    return made


class Relay:
    """Accepts, connects, and looks after the clock.

    Args:
        loop: which carries it.
        orders: the first ones.
        recorder: takes the exchanges.
        control: gives orders, takes heartbeats.
        certificate: ends TLS here; None: bytes pass as they are.

    Attributes:
        passed: (side, bytes, epoch ns) of what has passed and is not framed yet.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        orders: Orders,
        recorder: Recorder,
        control: Control,
        certificate: Certificate | None,
    ) -> None:
        self._loop = loop
        self._orders = orders
        self._recorder = recorder
        self._control = control
        self._certificate = certificate
        self._ours: set[tuple[str, int]] = set()
        self._pairs: set[Pair] = set()
        self._half: dict[Pair, float] = {}
        self._dials: dict[Pair, asyncio.Task[None]] = {}
        self.passed: list[tuple[Side, bytes, int]] = []
        self._in_flight: dict[str, int] = {}
        self._count_at = 0.0
        self._counts = dict.fromkeys(("relay:passed", "relay:refused", "relay:full", "relay:faults"), 0)
        self._most = room(TLS_BYTES if certificate else PLAIN_BYTES)
        self._renewal = 0.0
        self._problem: str | None = None
        self._stop = asyncio.Event()

    async def serve(self, sockets: list[socket.socket]) -> None:
        """Until the agent is gone or SIGTERM comes."""
        self._ours = {one.getsockname()[:2] for one in sockets}
        self._loop.set_exception_handler(lambda _, context: self._told(context))
        self._loop.add_reader(self._control.fileno(), self._read_orders)
        try:
            self._loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        except (ValueError, RuntimeError):
            pass  # not the main thread: a test's
        ssl: dict[str, Any] = {}
        if self._certificate is not None:
            ssl = {"ssl": self._certificate.context, "ssl_handshake_timeout": HANDSHAKE_S}
        servers = [await self._loop.create_server(self._accepted, sock=one, backlog=BACKLOG, **ssl) for one in sockets]
        self._tick()
        await self._stop.wait()
        for server in servers:
            server.close()
        await self._drain()

    def opened(self, pair: Pair) -> None:
        """A client is there: it is connected to the model, or reset."""
        where = self._model()
        if self._stop.is_set() or len(self._pairs) >= self._most:
            self._counts["relay:full"] += 1
            pair.refuse()
        elif where is None or where in self._ours:
            self._counts["relay:refused"] += 1
            pair.refuse()
        else:
            self._counts["relay:passed"] += 1
            self._pairs.add(pair)
            try:
                pair.watch(Conversation(where[1], self._recorder))
            except Exception as error:  # noqa: BLE001 - a fault in framing never reaches the connection
                self.fault(error)
            self._dials[pair] = self._loop.create_task(self._dial(pair, where))

    def half_closed(self, pair: Pair) -> None:
        """The model has ended: the client may still send, but not be silent for ever."""
        self._half[pair] = self._loop.time() + ENDED_S
        forward = pair.client.write

        def write(data: bytes) -> None:
            self._half[pair] = self._loop.time() + ENDED_S
            if forward is not None:
                forward(data)

        pair.client.write = write

    def closed(self, pair: Pair) -> None:
        """Both sockets are gone."""
        self._pairs.discard(pair)
        self._half.pop(pair, None)
        dial = self._dials.pop(pair, None)
        if dial is not None:
            dial.cancel()

    def soon(self) -> None:
        """Calls `caught_up` before long."""
        self._loop.call_later(SOON_S, self.caught_up)

    def caught_up(self) -> None:
        """Frames all that has passed; a fault in it never reaches a connection."""
        for side, data, now in self.passed:
            frame = side.frame
            if frame is not None:
                try:
                    frame(data, 0, len(data), now)
                except Exception as error:  # noqa: BLE001 - whatever it is, that connection goes on without framing
                    side.fault(error)
        self.passed.clear()

    def fault(self, error: Exception) -> None:
        """Framing or recording failed: what it was about is not captured, the bytes go on."""
        self._counts["relay:faults"] += 1
        self._problem = f"a fault in capturing, the bytes pass: {type(error).__name__}: {error}"

    def _accepted(self) -> Side:
        return Pair(self).client

    def _model(self) -> tuple[str, int] | None:
        """The model's address; None: it does not listen yet."""
        if self._orders.relay.upstream:
            return split(self._orders.relay.upstream)
        return ("127.0.0.1", self._orders.ports[0]) if self._orders.ports else None

    async def _dial(self, pair: Pair, where: tuple[str, int]) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._loop.create_connection(pair.model_side, *where)
        except (OSError, TimeoutError):
            self._counts["relay:refused"] += 1
            pair.refuse()
        finally:
            self._dials.pop(pair, None)

    def _read_orders(self) -> None:
        try:
            self._orders = self._control.poll() or self._orders
        except ClosedError:
            self._loop.remove_reader(self._control.fileno())
            self._stop.set()

    def _tick(self) -> None:
        now = self._loop.time()
        self._loop.call_later(TICK_S, self._tick)
        self.caught_up()
        try:
            self._recorder.flush(now)
        except Exception as error:  # noqa: BLE001 - without a heartbeat we would be ended, and the traffic with us
            self.fault(error)
        self._control.beat(now, self._counters(), "relay", self._problem)
        for pair in [pair for pair, until in self._half.items() if now >= until]:
            del self._half[pair]
            pair.close()
        if self._certificate is not None and now >= self._renewal:
            self._renewal = now + RENEW_S
            self._problem = self._certificate.renew()

    def _counters(self) -> Mapping[str, int]:
        if self._loop.time() >= self._count_at:  # it looks at every connection
            self._count_at = self._loop.time() + COUNT_S
            self._in_flight = self._open_requests()
        return {**self._recorder.counters, **self._counts, **self._in_flight}

    def _open_requests(self) -> dict[str, int]:
        found = {f"{IN_FLIGHT}:{port}": 0 for port in self._orders.ports}
        for pair in self._pairs:
            if pair.conversation is not None:
                name = f"{IN_FLIGHT}:{pair.conversation.port}"
                found[name] = found.get(name, 0) + pair.conversation.in_flight
        return found

    async def _drain(self) -> None:
        """What is between two requests closes, what is owed is waited for."""
        end = self._loop.time() + DRAIN_S
        while self._pairs and self._loop.time() < end:
            self.caught_up()
            for pair in [pair for pair in self._pairs if pair.quiet()]:
                pair.close()
            await asyncio.sleep(TICK_S)
        for pair in list(self._pairs):
            pair.abort()
        await asyncio.sleep(0)

    def _told(self, context: dict[str, Any]) -> None:
        """What the loop could not hand to anybody: counted, the last one is told."""
        self._counts["relay:faults"] += 1
        self._problem = f"{context.get('message')}: {context.get('exception')!r}"
