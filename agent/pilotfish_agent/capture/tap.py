"""The passive tap: sees the model's traffic on its interfaces, adds no hop, cannot fail it. See docs/capture-tap.md."""

from __future__ import annotations

import select
import time
from collections.abc import Collection, Mapping

from pilotfish_agent.capture import ring as rings
from pilotfish_agent.capture.control import BEAT_SECONDS, IN_FLIGHT, CaptureUnavailableError, Control, Orders
from pilotfish_agent.capture.flows import Flows
from pilotfish_agent.capture.http1 import Conversation
from pilotfish_agent.capture.recorder import Recorder
from pilotfish_agent.capture.ring import Ring

MODE = "tap"
FLUSH_S = 0.05
LOOK_S = 2.0
"""Between two looks for interfaces that came or went."""
AT_ONCE = 16
"""Blocks of one ring before the next ring, and the clock, have their turn."""


class Tap:
    """Rings and the flows behind them.

    Args:
        ports: of the model; may be empty.
        interfaces: names; empty: all that are up, also those that come later.
        recorder: takes the exchanges.

    Attributes:
        rings: by interface.
        flows: the connections.
        problem: what cannot be seen, for people; None: nothing.

    Raises:
        CaptureUnavailableError: not one interface can be tapped.
    """

    def __init__(self, ports: Collection[int], interfaces: Collection[str], recorder: Recorder) -> None:
        self._ports = frozenset(ports)
        self._wanted = frozenset(interfaces)
        self._recorder = recorder
        self._gone = {"packets": 0, "dropped": 0}
        self._in_flight: dict[str, int] = {}
        self._count_at = 0.0
        self.flows = Flows(ports, lambda port, joined: Conversation(port, recorder, joined=joined))
        self.rings: dict[str, Ring] = {}
        self.problem: str | None = None
        refused = self.look()
        if not self.rings:
            raise refused or CaptureUnavailableError("failed", f"no network interface is up{self._of_wanted()}")

    def look(self) -> CaptureUnavailableError | None:
        """Opens a ring for each interface that came up, closes those of interfaces that went.

        Returns:
            The first refusal; `problem` has its words.
        """
        refused = None
        for name in [name for name, ring in self.rings.items() if not ring.alive()]:
            self._close(name)
        up = rings.interfaces()
        left_out = []
        for name, loopback in sorted(up.items(), key=lambda item: not item[1]):
            if name in self.rings or (self._wanted and name not in self._wanted):
                continue
            blocks = self._room(loopback=loopback)
            if blocks < rings.FEWEST_BLOCKS:
                left_out.append(name)
                continue
            try:
                self.rings[name] = self._open(name, blocks, loopback=loopback)
            except CaptureUnavailableError as error:
                refused = refused or error
        missing = [n for n in sorted(self._wanted) if n not in self.rings]
        words = [refused.words] if refused else []
        words += [f"not tapped, the rings would need more than 32 MiB: {', '.join(left_out)}"] if left_out else []
        words += [f"no such interface is up: {', '.join(missing)}"] if missing and not refused else []
        self.problem = "; ".join(words) or None
        return refused

    def step(self) -> bool:
        """Takes what is ready, a bounded part of it; whether there was anything."""
        busy = False
        flows = self.flows
        for ring in self.rings.values():
            for _ in range(AT_ONCE):
                found = ring.take()
                if found is None:
                    break
                flows.block(ring.memory, *found)
                ring.release()
                busy = True
        return busy

    def tick(self, now: int, *, busy: bool) -> None:
        """Time goes on: ``now`` in epoch ns; ``busy``: there is more to take, whose time is earlier."""
        self.flows.tick(self.flows.latest if busy else now)

    def watch(self, ports: Collection[int]) -> None:
        """These ports from now on."""
        if frozenset(ports) != self._ports:
            self._ports = frozenset(ports)
            for ring in self.rings.values():
                ring.watch(self._ports)
            self.flows.watch(self._ports, time.time_ns())

    def counters(self) -> Mapping[str, int]:
        """Absolute: ``tap:...`` and ``dropped:kernel``, the packets that found no room in a ring.

        Of a moment within the last `LOOK_S`: ``in_flight:PORT``.
        """
        if time.monotonic() >= self._count_at:  # it looks at every connection
            self._count_at = time.monotonic() + LOOK_S
            self._in_flight = {f"{IN_FLIGHT}:{port}": n for port, n in self.flows.in_flight().items()}
        packets, dropped = self._gone["packets"], self._gone["dropped"]
        for ring in self.rings.values():
            ring.count()
            packets += ring.packets
            dropped += ring.dropped
        found = {f"tap:{name}": n for name, n in self.flows.counters.items()}
        found |= {"tap:kernel_packets": packets, "tap:flows": len(self.flows), "dropped:kernel": dropped}
        return found | self._in_flight

    def close(self) -> None:
        """Ends the view: what is open is `incomplete`."""
        while self.step():
            pass
        self.flows.close(time.time_ns())
        for name in list(self.rings):
            self._close(name)

    def _room(self, *, loopback: bool) -> int:
        """Blocks for one more ring: 128 for the loopback, half of what is left for each other."""
        left = rings.MOST_BLOCKS - sum(ring.blocks for ring in self.rings.values())
        if not any(ring.loopback for ring in self.rings.values()):
            left -= 0 if loopback else rings.BLOCKS
        return min(rings.BLOCKS, left) if loopback else max(left // 2, min(left, rings.FEWEST_BLOCKS))

    def _open(self, name: str, blocks: int, *, loopback: bool) -> Ring:
        """A ring; a smaller one where the kernel has not that much memory.

        Raises:
            CaptureUnavailableError: not even the smallest one.
        """
        while True:
            try:
                return Ring(name, loopback=loopback, ports=self._ports, blocks=blocks)
            except CaptureUnavailableError as error:
                if error.reason != "failed" or blocks <= rings.FEWEST_BLOCKS:
                    raise
            blocks //= 2

    def _close(self, name: str) -> None:
        ring = self.rings.pop(name)
        ring.count()
        self._gone["packets"] += ring.packets
        self._gone["dropped"] += ring.dropped
        ring.close()

    def _of_wanted(self) -> str:
        return f" of {', '.join(sorted(self._wanted))}" if self._wanted else ""


def run(orders: Orders, recorder: Recorder, control: Control) -> None:
    """Taps as ordered until the agent is gone.

    Raises:
        CaptureUnavailableError: it cannot be done here.
        ClosedError: the agent is gone; what was seen is with the recorder.
    """
    tap = Tap(orders.ports, orders.interfaces, recorder)
    try:
        work(tap, recorder, control)
    finally:
        tap.close()


def work(tap: Tap, recorder: Recorder, control: Control) -> None:
    """The loop.

    Raises:
        ClosedError: the agent is gone.
    """
    poller = select.poll()
    watched: set[int] = set()
    flush_at = beat_at = 0.0
    look_at = time.monotonic() + LOOK_S
    busy = False
    while True:
        now = time.monotonic()
        if now >= look_at:
            look_at = now + LOOK_S
            tap.look()
        if now >= flush_at:
            flush_at = now + FLUSH_S
            tap.tick(time.time_ns(), busy=busy)
            recorder.flush(now)
        if now >= beat_at:  # all counters are gathered for it: not more often than it is sent
            beat_at = now + BEAT_SECONDS
            watched = _follow(poller, watched, tap, control)
            control.beat(now, {**recorder.counters, **tap.counters()}, MODE, tap.problem)
            orders = control.poll()
            if orders is not None:
                tap.watch(orders.ports)
        busy = tap.step()
        # Blocks are read as they are closed (20 ms): read in larger bursts they cost less, and the model waits longer.
        for fd, event in poller.poll(_until(flush_at)) if not busy else ():
            if fd == control.fileno():
                beat_at = 0.0  # new orders, or the agent is gone
            elif event & ~select.POLLIN:
                tap.look()  # an interface went down: its error must be taken, or poll no longer waits
                watched = _follow(poller, watched, tap, control)


def _until(at: float) -> float:
    """Milliseconds until then."""
    return max(1.0, (at - time.monotonic()) * 1_000)


def _follow(poller: select.poll, watched: set[int], tap: Tap, control: Control) -> set[int]:
    """Registers what is there now, and no longer what has gone."""
    wanted = {control.fileno(), *(ring.fileno() for ring in tap.rings.values())}
    for fd in watched - wanted:
        poller.unregister(fd)
    for fd in wanted - watched:
        poller.register(fd, select.POLLIN)
    return wanted
