"""Calls to the windows of the models that they belong to; what nobody can tell yet waits for a moment.

Copies of successes come a window of the sample after records and copies of failures: the first failures of a model are
here before the success that tells its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pilotfish_agent.decode._part import Route
from pilotfish_agent.pipeline.attribution import Names, Who
from pilotfish_agent.windows import requests
from pilotfish_agent.windows.generations import GenerationWindow
from pilotfish_agent.windows.requests import RequestWindow
from pilotfish_core.metrics import Sample
from pilotfish_core.nouns import Observation, ObservationBatch

WAIT_SECONDS: Final = 2.0
MAX_WAITING: Final = 1_000
"""Kinds of calls that wait; beyond it nothing waits."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What calls are counted together.

    Attributes:
        port: of the server. route: what they asked for, None: no decoder knows.
        operation: of the route, or as the answer says.
        status: 0: none. outcome: a word of `requests.OUTCOMES`.
        good: they were answered with success.
        who: whose they are, None: to be found.
    """

    port: int
    route: Route | None
    operation: str
    status: int
    outcome: str
    good: bool
    who: Who | None = None


@dataclass(slots=True)
class Amount:
    """Calls of one kind: how many, their durations where those are known (seconds), and their bytes."""

    calls: int = 0
    seconds: list[Any] = field(default_factory=list)
    sent: int = 0
    got: int = 0

    def add(self, calls: int, seconds: Any, sent: int, got: int) -> None:
        """More of them; ``seconds``: an array."""
        self.calls += calls
        self.seconds.append(seconds)
        self.sent += sent
        self.got += got


class Calls:
    """All calls. One thread uses it.

    Args:
        names: whose they are.
        target: value of the label `target` for rows of the SDK.
        target_of: the same for traffic on a port.
    """

    def __init__(self, names: Names, target: str, target_of: Callable[[int], str]) -> None:
        self._names = names
        self._target = target
        self._target_of = target_of
        self._waiting: dict[Kind, tuple[float, Amount]] = {}
        self._requests: dict[tuple[str, str, str | None], RequestWindow] = {}
        self._generations: dict[tuple[str, str, str | None], GenerationWindow] = {}

    def sent(self, who: Who, batch: ObservationBatch) -> None:
        """Rows of an SDK, by their latencies."""
        if batch.latency is not None:
            self._window(self._target, who).add(batch)

    def seen(self, kind: Kind, amount: Amount, now: float) -> None:
        """Calls that were captured; ``now``: monotonic seconds."""
        if kind.who is None and self._names.unsure(kind.port, kind.route, good=kind.good):
            if kind in self._waiting:
                for seconds in amount.seconds:
                    self._waiting[kind][1].add(0, seconds, 0, 0)
                self._waiting[kind][1].add(amount.calls, np.empty(0), amount.sent, amount.got)
                return
            if len(self._waiting) < MAX_WAITING:
                self._waiting[kind] = (now + WAIT_SECONDS, amount)
                return
        self._count(kind, amount, now)

    def settle(self, now: float, *, last: bool = False) -> None:
        """Counts what waited long enough, or no longer needs to; all of it at the ``last`` step."""
        for kind, (due, amount) in list(self._waiting.items()):
            if last or now >= due or not self._names.unsure(kind.port, kind.route, good=kind.good):
                del self._waiting[kind]
                self._count(kind, amount, now)

    def generated(self, port: int, who: Who, said: Observation, duration: float) -> None:
        """What a generation's answer says of tokens and times; ``duration`` in seconds."""
        key = (self._target_of(port), who.model, who.version)
        if key not in self._generations:
            self._generations[key] = GenerationWindow(*key)
        self._generations[key].add(said, duration)

    def samples(self) -> Iterator[Sample]:
        """All windows' totals."""
        for window in self._requests.values():
            yield from window.samples()
        for generated in self._generations.values():
            yield from generated.samples()

    def _count(self, kind: Kind, amount: Amount, now: float) -> None:
        who = kind.who or self._names.asked(kind.port, kind.route, good=kind.good, now=now)
        window = self._window(self._target_of(kind.port), who)
        protocol = kind.route.protocol if kind.route is not None else requests.HTTP
        code = str(kind.status) if 100 <= kind.status < 1_000 else "none"
        window.count(protocol, kind.operation, code, amount.calls)
        seconds = np.concatenate(amount.seconds) if amount.seconds else np.empty(0)
        if len(seconds):
            window.took(kind.operation, kind.outcome, seconds)
        window.moved(amount.sent, amount.got)

    def _window(self, target: str, who: Who) -> RequestWindow:
        key = (target, who.model, who.version)
        if key not in self._requests:
            self._requests[key] = RequestWindow(*key)
        return self._requests[key]
