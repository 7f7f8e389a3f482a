"""The model's traffic, once a step: calls are counted, copies are read, rows go on to the models' drift.

Timings of every exchange are counted at once, as tables. Copies are decoded within a share of the step; what does not
fit waits within a bound, and beyond it the oldest are counted as timings only.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np

from pilotfish import exchange
from pilotfish.exchange import Record
from pilotfish.wire import FrameError
from pilotfish_agent.capture.control import IN_FLIGHT
from pilotfish_agent.capture.supervisor import Supervisor
from pilotfish_agent.decode._part import Route
from pilotfish_agent.decode._runner import Decoders
from pilotfish_agent.intake.exchanges import Captured, Table, Timings, exchange_of, outcome_of
from pilotfish_agent.intake.listener import DROPPED, OBSERVATIONS
from pilotfish_agent.pipeline.attribution import Names, Who
from pilotfish_agent.pipeline.calls import Amount, Calls, Kind
from pilotfish_agent.pipeline.observed import Observed
from pilotfish_agent.windows import requests
from pilotfish_core.metrics import Metric, Sample
from pilotfish_core.nouns import Exchange, Observation, ObservationBatch

UNREADABLE = Metric(
    "pilotfish_capture_unreadable_total",
    "counter",
    "Exchanges whose content could not be read, or not all of it, by reason; their timings are counted.",
    ("reason",),
)
METRICS = (UNREADABLE,)

DECODE_SECONDS: Final = 0.25
"""CPU seconds of one step, which comes twice a second while copies wait, that they are decoded for: half a core."""
BACKLOG_BYTES: Final = 16 << 20
BACKLOG: Final = "copy_backlog"
"""Reason of copies that were not decoded because there were too many: two seconds of the largest budget."""
SDK_SECONDS: Final = 60.0
"""A model whose SDK said nothing for so long is watched by what is captured."""
NO_CALL: Final = exchange.AMBIGUOUS | exchange.OPAQUE
"""Flags of records that are no exchange with certainty, or none at all."""
UNTIMED: Final = exchange.INCOMPLETE | exchange.UPGRADED
"""Flags of exchanges whose duration says nothing: it was cut, or is a tunnel's."""
_CALLS: Final = ("POST", "PUT")


class Source(Protocol):
    """Where rows and exchanges come from."""

    def drain(self) -> list[ObservationBatch]:
        """The rows that have arrived since the last call."""

    def exchanges(self, now: float) -> Captured:
        """The exchanges that have; ``now``: monotonic seconds."""

    def samples(self) -> Iterable[Sample]:
        """Its own counts."""


class Traffic:
    """Everything between the intake and the models. One thread uses it.

    Args:
        names: whose exchange it is.
        source: of rows and exchanges.
        target: value of the label `target` for rows of the SDK.
        target_of: the same for traffic on a port.
        capture: who looks after pf-capture.
        decoders: read the copies.
        spent: a clock of the CPU that this thread has used, seconds.
    """

    def __init__(
        self,
        names: Names,
        source: Source,
        *,
        target: str,
        target_of: Callable[[int], str],
        capture: Supervisor,
        decoders: Decoders,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._names = names
        self._source = source
        self._calls = Calls(names, target, target_of)
        self._target_of = target_of
        self._capture = capture
        self._decoders = decoders
        self._spent = spent
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._observed = Observed()
        self._rows = 0
        self._dropped = {BACKLOG: 0}
        self._sdk: dict[str, float] = {}
        self._calls_seen = False

    def step(self, now: float, *, last: bool = False) -> list[ObservationBatch]:
        """Takes what has come, at ``now`` (monotonic seconds); the rows for the models' drift.

        Args:
            now: monotonic seconds.
            last: nothing comes after this step: what it cannot decode is counted as timings.
        """
        sent = [(self._sender(batch, now), batch) for batch in self._source.drain()]
        captured = self._source.exchanges(now)
        rest = self._queue(captured.copies)
        self._decode(now)
        if last:
            self._trim(rest, 0)
        self._time(captured.timings, now)
        self._time(rest.timings(), now)
        self._calls.settle(now, last=last)
        found = [self._take(who, batch) for who, batch in sent]  # whether capture tells of the calls is known by now
        found += self._observed.batches()
        return found

    # -- rows of the SDK

    @property
    def captured(self) -> bool:
        """Whether the capture tells of the model's calls: then the SDK's latencies are not counted as well."""
        return self._calls_seen and self._capture.view.mode in {"tap", "relay"}

    def _sender(self, batch: ObservationBatch, now: float) -> Who:
        who = self._names.sender(batch.model, batch.version, now)
        self._sdk[who.model] = now
        return who

    def _take(self, who: Who, batch: ObservationBatch) -> ObservationBatch:
        if not self.captured:
            self._calls.sent(who, batch)
        return replace(batch, model=who.model)

    def _sdk_tells(self, who: Who, now: float) -> bool:
        """Whether the SDK gives this model's rows; of traffic without a name, whether it gives any model's."""
        times = [self._sdk.get(who.model, -SDK_SECONDS)] if who.named else list(self._sdk.values())
        return any(now - at < SDK_SECONDS for at in times)

    # -- copies

    def _queue(self, copies: Iterable[bytes]) -> Table:
        """Takes new copies; the records of those that have to go."""
        for packed in copies:
            self._backlog.append(packed)
            self._backlog_bytes += len(packed)
        gone = Table()
        self._trim(gone, BACKLOG_BYTES)
        return gone

    def _trim(self, gone: Table, limit: int) -> None:
        while self._backlog_bytes > limit:
            packed = self._backlog.popleft()
            self._backlog_bytes -= len(packed)
            self._dropped[BACKLOG] += 1
            left = exchange.record_of(packed)
            if left is not None:
                gone.add_one(*left)

    @property
    def behind(self) -> bool:
        """Whether copies wait for the next step."""
        return bool(self._backlog)

    def _decode(self, now: float) -> None:
        if not self._backlog:
            return
        found: dict[Kind, tuple[Amount, list[float]]] = {}
        end = self._spent() + DECODE_SECONDS
        while self._backlog:
            packed = self._backlog.popleft()
            self._backlog_bytes -= len(packed)
            try:
                record, _, said = exchange_of(packed)
            except FrameError as error:
                self._dropped[error.reason] = self._dropped.get(error.reason, 0) + 1
                continue
            self._read(record, said, now, found)
            if self._spent() > end:
                break
        for kind, (amount, seconds) in found.items():
            amount.seconds.append(np.array(seconds))
            self._calls.seen(kind, amount, now)

    def _read(self, record: Record, found: Exchange, now: float, calls: dict[Kind, tuple[Amount, list[float]]]) -> None:
        """Reads one copy."""
        if record.flags & NO_CALL:
            return
        good = found.outcome == "success" and 200 <= record.status < 300
        who: Who | None = None
        if record.flags & UNTIMED:
            route = self._decoders.route(found.method, found.target)
            said = Observation(route.operation if route else requests.OTHER)
            good = False
        else:
            route, said = self._decoders.observe(found)
            good = good and not said.failed
            if route is not None and 200 <= record.status < 300:
                who = self._whose(record.port, route, said, now, good=good)
        self._notice(route, found.method)
        outcome = "server_error" if said.failed else found.outcome
        kind = Kind(record.port, route, said.operation, record.status, outcome, good, who)
        amount, seconds = calls.setdefault(kind, (Amount(), []))
        amount.calls += 1
        amount.sent += record.request_bytes
        amount.got += record.response_bytes
        if not record.flags & UNTIMED:
            seconds.append(found.duration)
        self._observe(record.port, kind, said, found.duration, now)

    def _whose(self, port: int, route: Route, said: Observation, now: float, *, good: bool) -> Who | None:
        """Whose answer with a status of 2xx it is: its server has said so, even where it, or its client, broke off."""
        if said.model is not None:
            return self._names.answered(port, route.protocol, said.model, said.version, now)
        if good and route.model is None and said.problem is None:
            return self._names.unnamed(port, route.protocol)
        return self._names.asked(port, route, good=True, now=now) if good else None

    def _observe(self, port: int, kind: Kind, said: Observation, duration: float, now: float) -> None:
        """What an answer says beside its timings."""
        if not said.rows and said.tokens is None and said.first_content is None:
            return
        who = kind.who or self._names.asked(port, kind.route, good=kind.good, now=now)
        if said.tokens is not None or said.finish_reasons or said.first_content is not None:
            self._calls.generated(port, who, said, duration)
        self._rows += said.rows
        if said.rows and not self._sdk_tells(who, now):
            self._observed.add(who.model, who.version, said, duration)

    # -- timings

    def _time(self, timings: Timings, now: float) -> None:
        """Counts records, all of one kind together."""
        records, lines = timings.records, timings.lines
        if not lines:
            return
        sound = (records["flags"] & NO_CALL) == 0
        records, place = records[sound], timings.line[sound]
        if not len(records):
            return
        routes: dict[Route | None, int] = {}
        numbers = np.empty(len(lines), np.int64)
        for i in np.unique(place).tolist():
            method, _, target = lines[i].decode("latin-1").partition(" ")
            route = self._decoders.route(method, target.partition("?")[0])
            self._notice(route, method)
            numbers[i] = routes.setdefault(route, len(routes))
        known = list(routes)
        # One number a kind of record: its route, its port, its status, its flags.
        shifted = numbers[place] << 48 | records["port"].astype(np.int64) << 32
        kinds = shifted | records["status"].astype(np.int64) << 16 | records["flags"]
        found, which = np.unique(kinds, return_inverse=True)
        order = np.argsort(which, kind="stable")
        ends = np.cumsum(np.bincount(which, minlength=len(found)))
        start = 0
        for number, end in zip(found.tolist(), ends.tolist(), strict=True):
            self._time_kind(known[number >> 48], records[order[start:end]], now)
            start = end

    def _time_kind(self, route: Route | None, records: Any, now: float) -> None:
        """Counts records that differ in their times and sizes only."""
        _, _, _, _, _, port, status, _, flags = records[0].tolist()
        outcome = outcome_of(status, flags)
        good = outcome == "success" and 200 <= status < 300 and not flags & exchange.INCOMPLETE
        operation = route.operation if route is not None else requests.OTHER
        seconds = np.empty(0) if flags & UNTIMED else records["duration"] / 1e9
        sent, got = int(records["request_bytes"].sum()), int(records["response_bytes"].sum())
        kind = Kind(port, route, operation, status, outcome, good)
        self._calls.seen(kind, Amount(len(records), [seconds], sent, got), now)

    # -- both

    def _notice(self, route: Route | None, method: str) -> None:
        """Whether this may be a call of the model: health checks alone do not replace what the SDK tells."""
        if not self._calls_seen and (route is not None or method in _CALLS):
            self._calls_seen = True

    # -- out

    def samples(self) -> Iterator[Sample]:
        """Calls, tokens, and what was seen, dropped and not read."""
        yield from self._calls.samples()
        yield from _added([*self._source.samples(), *self._own()])

    def _own(self) -> Iterator[Sample]:
        if self._rows:
            yield Sample(OBSERVATIONS, ("capture",), float(self._rows))
        for reason, n in (*self._capture.dropped().items(), *((r, n) for r, n in self._dropped.items() if n)):
            yield Sample(DROPPED, (reason,), float(n))
        for reason, n in self._decoders.problems.items():
            yield Sample(UNREADABLE, (reason,), float(n))
        open_now: dict[str, float] = {}
        for name, n in self._capture.view.counters.items():
            group, _, word = name.partition(":")
            if group == IN_FLIGHT and word.isdigit():
                target = self._target_of(int(word))
                open_now[target] = open_now.get(target, 0.0) + n
        yield from (Sample(requests.IN_FLIGHT, (target,), n) for target, n in open_now.items())


def _added(samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples, each series once: parts that count the same thing add up."""
    found: dict[tuple[Metric, tuple[str | None, ...]], float] = {}
    for sample in samples:
        if isinstance(sample.value, float):
            key = (sample.metric, sample.labels)
            found[key] = found.get(key, 0.0) + sample.value
    yield from (Sample(metric, labels, value) for (metric, labels), value in found.items())
