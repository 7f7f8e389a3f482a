"""Who looks after pf-capture, in a thread of the agent: starts it, tells it the ports, ends it when it hangs.

The thread lives as long as the process it has started: the kernel ends that one with the thread (PR_SET_PDEATHSIG).
Other threads read `Supervisor.view`, which is replaced whole.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from pilotfish_agent.capture import rights
from pilotfish_agent.capture._child import Child
from pilotfish_agent.capture.control import BEAT_SECONDS, CODE_UNAVAILABLE, IN_FLIGHT, Orders, RelayOrders
from pilotfish_agent.capture.ports import Found, Listening, PortFinder, other_network
from pilotfish_agent.capture.settings import MAX_PORTS, Config
from pilotfish_agent.capture.view import View, group, sealed, total
from pilotfish_agent.launch.guard import Backoff
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Reading, Reason

STARTED = Event("capture_started", "info", "Traffic is seen from outside.")
ENDED = Event(
    "capture_ended", "warning", "The capture process ended; it is started again. A relay's clients see a reset."
)
HUNG = Event("capture_hung", "warning", "The capture process said nothing and was ended; it is started again.")
UNAVAILABLE = Event("capture_unavailable", "info", "Traffic cannot be seen from outside; the SDK tells of it.")
PORTS = Event("capture_ports", "info", "The ports that are watched have changed.")
EVENTS = (STARTED, ENDED, HUNG, UNAVAILABLE, PORTS)

HANG_SECONDS: Final = 2.0
START_SECONDS: Final = 15.0
"""Until the first heartbeat: an interpreter's start on a machine that is ten times overloaded."""
END_SECONDS: Final = 0.25
"""For the capture process to send what it has, when the agent leaves."""
LOOK_SECONDS: Final = 2.0
"""Between two looks at the ports: each wakes this thread, for a fifth of a millisecond of CPU. Every `BEAT_SECONDS`
while there are none and the model may just be starting."""
CALM_SECONDS: Final = 60.0
"""After the last change of processes; from then on only each `CALM_LOOK_SECONDS`."""
CALM_LOOK_SECONDS: Final = 5.0
EAGER_SECONDS: Final = 5.0
"""For how long after the last change of processes a model without a port is looked at in haste: it costs a millisecond
a second, and later a port is still found within `LOOK_SECONDS`, or `CALM_LOOK_SECONDS`."""
ELSEWHERE: Final = "the model is in another network namespace; run Pilotfish in that one, as a pod's sidecar does"
SEALED: Final = (
    "the traffic is TLS or no HTTP/1.1, which a tap cannot read; --capture tap counts its connections all the same"
)
AGAIN_SECONDS: Final = 60.0
"""Until the next attempt where the capture process said that it cannot work here."""


class Supervisor:
    """Looks after one capture process.

    Args:
        config: section `capture`.
        intake: path of the agent's socket.
        events: where things are told.
        port: of `target.port`, watched where the tree's own ports cannot be read.
        own: a word in the `User-Agent` of the agent's own requests.
        scraped: ports of scrape targets: not watched, unless the tree listens on no other.
        command: as `Child` takes it, for tests.
        hang: seconds of silence after which it is ended.
        able: says why there can be no tap.

    Attributes:
        view: what is known; replaced whole, read from any thread.
    """

    def __init__(
        self,
        config: Config,
        intake: str,
        *,
        events: Events,
        port: int | None = None,
        own: str = "",
        scraped: frozenset[int] = frozenset(),
        command: list[str] | None = None,
        hang: float = HANG_SECONDS,
        able: Callable[[], tuple[Reason, str] | None] = rights.tap_problem,
    ) -> None:
        self._config = config
        self._events = events
        self._port = port
        self._command = command
        self._hang = hang
        self._orders = _orders(config, intake, own)
        self._scraped = scraped
        self._sealed: tuple[int, ...] | None = None
        self._finders: dict[str, PortFinder] = {}
        self._listening = Listening()
        self._trees: tuple[tuple[str, tuple[int, ...]], ...] = ()
        self._child: Child | None = None
        self._backoff = Backoff()
        self._starts = 0
        self._next_start = self._next_look = 0.0
        self._eager_until = time.monotonic() + EAGER_SECONDS
        self._base: dict[str, int] = {}
        self._thread: threading.Thread | None = None
        self._stopper: tuple[int, int] | None = None
        self.view = View("off" if config.mode == "off" else "sdk")
        self._check_rights(able)

    # -- for other threads

    def start(self) -> None:
        """Begins; does nothing where there is nothing to do."""
        if self._thread is None and self.wanted:
            self._stopper = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._thread = threading.Thread(target=self._run, name="pf-capture-guard", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the capture process, which sends what it has, and the thread; at most `END_SECONDS` and a little."""
        if self._thread is not None and self._stopper is not None:
            os.write(self._stopper[1], b"x")
            self._thread.join()
            for fd in self._stopper:
                os.close(fd)
            self._thread = self._stopper = None

    def follow(self, trees: tuple[tuple[str, tuple[int, ...]], ...]) -> None:
        """The targets whose ports are watched from now on: name, and processes (their descendants are found)."""
        if trees != self._trees:
            self._trees = trees
            self._eager_until = time.monotonic() + EAGER_SECONDS

    @property
    def wanted(self) -> bool:
        """Whether a capture process is wanted and possible."""
        return self._config.mode != "off" and self.view.reason not in {"permission", "disabled"}

    def notices(self) -> tuple[str, ...]:
        """A line for `status` where traffic is not seen as asked."""
        view = self.view
        if view.reason is None or self._config.mode == "off":
            return ()
        return (f"capture: no {self._asked}: {view.words}; the SDK tells of the traffic",)

    def status(self) -> dict[str, Any]:
        """`capture` of `status`."""
        view = self.view
        told: dict[str, Any] = {"mode": view.mode}
        if view.ports:
            told["ports"] = list(view.ports)
        if view.words:
            told["words"] = view.words
        return told

    def samples(self) -> Iterator[Reading]:
        """The mode in force, what was seen, and why nothing is where nothing is."""
        return self.view.samples()

    def dropped(self) -> dict[str, int]:
        """What pf-capture could not keep, by reason; empty before it has run."""
        return dict(group(self.view.counters, "dropped"))

    # -- the thread

    @property
    def _asked(self) -> str:
        return "relay" if self._config.mode == "relay" else "tap"

    def _check_rights(self, able: Callable[[], tuple[Reason, str] | None]) -> None:
        if self._config.mode == "off":
            self._show(reason="disabled", words="capture.mode is off")
            return
        missing = able() if self._asked == "tap" else None
        if missing is not None:
            self._show(reason=missing[0], words=missing[1])
            self._events.emit(UNAVAILABLE, reason=missing[0], words=missing[1])

    def _run(self) -> None:
        assert self._stopper is not None
        asked = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if now - asked > CALM_LOOK_SECONDS + 1.0 and self._child is not None:
                    self._child.heard = now  # we were stopped ourselves: its silence proves nothing
                asked = now
                self._step_safely(now)
                if self._wait():
                    return
        finally:
            self._end(END_SECONDS)
            self._listening.close()

    def _step_safely(self, now: float) -> None:
        try:
            self._step(now)
        except Exception as error:  # noqa: BLE001 - a fault costs the tap a pause, not the thread, which must stop it
            words = f"{type(error).__name__}: {error}"
            self._events.emit(UNAVAILABLE, reason="failed", words=words, exc_info=True)
            self._end(END_SECONDS)
            self._show(reason="failed", words=words)
            self._next_look = self._next_start = now + AGAIN_SECONDS

    def _wait(self) -> bool:
        """Until something happens or a beat is over; whether it is time to end."""
        assert self._stopper is not None
        poller = select.poll()
        poller.register(self._stopper[0], select.POLLIN)
        if self._child is not None:
            process = self._child.process
            poller.register(process.pidfd if process.pidfd >= 0 else process.fileno(), select.POLLIN)
        seconds = BEAT_SECONDS if self._child is not None else max(self._next_look - time.monotonic(), BEAT_SECONDS)
        return any(fd == self._stopper[0] for fd, _ in poller.poll(min(seconds, CALM_LOOK_SECONDS) * 1_000))

    def _step(self, now: float) -> None:
        if now >= self._next_look:
            self._look(now)
        if self._child is not None:
            self._mind(self._child, now)
        elif now >= self._next_start and self._orders.ports != self._sealed and self._anything():
            self._begin(now)

    def _anything(self) -> bool:
        """Whether there is something to watch; a relay with an address for its model needs no port."""
        return bool(self._orders.ports or self._orders.relay.upstream)

    def _look(self, now: float) -> None:
        """Which ports are to be watched; new ones are told."""
        trees = [(name, pids) for name, pids in self._trees if pids]
        apart = self._asked == "tap" and any(other_network(pids[0]) for _, pids in trees)
        if apart and self.view.words != ELSEWHERE:
            self._refuse(ELSEWHERE)
        elif not apart and self.view.words == ELSEWHERE:
            self._show(reason=None, words="")
        found = {} if apart else {name: self._find(name, pids) for name, pids in trees}
        open_ports = {p for one in found.values() for p in one.ports}
        ports = self._config.ports or tuple(sorted(open_ports - self._scraped or open_ports)[:MAX_PORTS])
        if not ports and self._port is not None and (not trees or any(one.denied for one in found.values())):
            ports = (self._port,)
        whole = all(one.whole for one in found.values())
        eager = now < self._eager_until and not (ports and whole)
        calm = now > self._eager_until + CALM_SECONDS
        self._next_look = now + (BEAT_SECONDS if eager else CALM_LOOK_SECONDS if calm else LOOK_SECONDS)
        by_target = {name: frozenset(one.ports) for name, one in found.items()}
        if by_target != self.view.by_target:
            self._show(by_target=by_target)
        if apart:
            self._set_ports((), now)
        elif trees or ports:  # a model that has gone keeps its ports: it may be back at once
            self._set_ports(ports, now)

    def _refuse(self, words: str) -> None:
        """Ends the capture process: here it sees nothing."""
        self._end(END_SECONDS)
        self._show(reason="not_supported", words=words)
        self._events.emit(UNAVAILABLE, reason="not_supported", words=words)

    def _find(self, name: str, pids: tuple[int, ...]) -> Found:
        if name not in self._finders:
            self._finders[name] = PortFinder(self._config.ignore_ports, listening=self._listening)
        return self._finders[name].look(pids)

    def _set_ports(self, ports: tuple[int, ...], now: float) -> None:
        if ports == self._orders.ports or (not ports and self._asked == "relay" and self._orders.ports):
            return  # a relay keeps the model's port: clients wait there until it is back
        self._orders = replace(self._orders, ports=ports)
        self._show(ports=ports)
        self._events.emit(PORTS, ports=list(ports))
        if self._child is not None:
            self._child.send(self._orders)
        self._next_start = min(self._next_start, now + self._backoff.delay)

    def _begin(self, now: float) -> None:
        try:
            self._child = Child(self._orders, now, self._command)
        except OSError as error:
            self._next_start = now + AGAIN_SECONDS
            self._show(reason="failed", words=f"pf-capture cannot be started: {error.strerror}")
            self._events.emit(UNAVAILABLE, reason="failed", words=str(error))
            return
        self._starts += 1
        self._show(pid=self._child.process.pid, restarts=self._starts - 1)

    def _mind(self, child: Child, now: float) -> None:
        child.listen(now)
        if child.process.gone():
            self._bury(child, now)
            return
        if child.report is not None:
            self._hear(child)
        if now - child.heard > (self._hang if child.beats else START_SECONDS):
            self._events.emit(HUNG, pid=child.process.pid, silent=round(now - child.heard, 2))
            child.process.kill()
            child.heard = now  # it is buried when it is gone

    def _hear(self, child: Child) -> None:
        report = child.report
        assert report is not None
        if self.view.mode != report.mode and report.mode in {"tap", "relay"}:
            self._events.emit(STARTED, mode=report.mode, pid=child.process.pid, ports=list(self._orders.ports))
        if report.mode in {"tap", "relay"}:
            words = report.problem or ""
            self._show(mode=report.mode, reason=None, words=words, counters=total(self._base, report.counters))
        if self._config.mode == "auto" and sealed(report.counters):
            self._sealed = self._orders.ports
            self._refuse(SEALED)

    def _bury(self, child: Child, now: float) -> None:
        code = child.reap(now)
        self._child = None
        report = child.report
        self._base = total(self._base, {n: v for n, v in child.counters.items() if not n.startswith(f"{IN_FLIGHT}:")})
        view = self.view
        self._show(mode="sdk", pid=None, counters=dict(self._base), ended_cpu=view.ended_cpu + child.process.usage)
        self._backoff.death(child.process.started, now)
        self._next_start = now + self._backoff.delay
        if code == CODE_UNAVAILABLE and report is not None:
            self._next_start = now + AGAIN_SECONDS
            if report.problem != view.words:
                self._events.emit(UNAVAILABLE, reason=report.reason, words=report.problem)
            self._show(reason=report.reason or "failed", words=report.problem or "")
            return
        why = report.problem if report is not None and report.mode == "off" else None
        self._events.emit(ENDED, pid=child.process.pid, code=code, error=why, again=round(self._backoff.delay, 2))
        self._show(reason="failed", words=why or f"pf-capture ended with {code}; it is started again")

    def _end(self, seconds: float) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.process.close(seconds)
        child.reap(time.monotonic())
        self._base = total(self._base, {n: v for n, v in child.counters.items() if not n.startswith(f"{IN_FLIGHT}:")})
        self._show(
            mode="sdk",
            pid=None,
            counters=dict(self._base),
            ended_cpu=self.view.ended_cpu + child.process.usage,
            ports=(),
        )

    def _show(self, **changes: Any) -> None:
        self.view = replace(self.view, **changes)


def _orders(config: Config, intake: str, own: str) -> Orders:
    return Orders(
        mode="relay" if config.mode == "relay" else "tap",
        ports=config.ports,
        interfaces=config.interfaces,
        intake=intake,
        bodies=config.bodies,
        budget=config.budget,
        body_limit=config.body_limit,
        relay=RelayOrders(
            config.relay_listen or "", config.relay_upstream or "", config.relay_cert or "", config.relay_key or ""
        ),
        own=own,
        path=tuple(folder for folder in sys.path if folder),
    )
