"""One model's drift: batches in, transitions, results and samples out. Pure: no I/O, no clock, no threads.

watch = DriftWatch("fraud", reference, config)
request = watch.table_request()          # to pf-worker; its tables come back by `set_tables`
watch.add(batch, now)                    # as they arrive; binned in batches into the open tick
for entry in watch.advance(now): ...     # closes ticks by the rule, steps the engine
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift import builder, gauges, phi, report
from pilotfish_agent.drift.ingest import Columns, Mask, OpenTick, Repeats, columns_of, sane, segment_counts
from pilotfish_agent.drift.judge import Judge, Terms
from pilotfish_agent.drift.latch import Entry
from pilotfish_agent.drift.learn import FIRST_ROWS, Learner
from pilotfish_agent.drift.options import SECTION, Config
from pilotfish_agent.drift.reference import FeatureReference, Reference
from pilotfish_agent.drift.streams import PREDICTION
from pilotfish_agent.drift.tables import StreamTables, TableSpec, cache_key, log_threshold
from pilotfish_agent.drift.tested import LATENCY, Ints, Tested, tested
from pilotfish_agent.drift.window import MIN_ROWS, Window
from pilotfish_agent.windows.ticks import TickRule
from pilotfish_core.metrics import Sample
from pilotfish_core.nouns import DriftResult, DriftState, ModelStatus, ObservationBatch

__all__ = ["METRICS", "SECTION", "Config", "DriftWatch", "TableRequest"]
METRICS: Final = gauges.METRICS
MAX_FEATURES: Final = 1_000
NOTED: Final = 100
"""Streams named in notices one by one."""
QUEUE_BYTES: Final = 4 << 20
"""Ticks kept while tables are built; older ones are then left out of the evidence (never counted twice)."""
SEGMENT_CELLS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class TableRequest:
    """What `tables.build` needs: ``build(specs, budget_ticks, streams)``.

    Attributes:
        specs: one a tested stream, in order.
        budget_ticks: A, replicas counted in.
        streams: F.
        key: of the cache file.
    """

    specs: tuple[TableSpec, ...]
    budget_ticks: float
    streams: int
    key: str


@dataclass(slots=True)
class _Tick:
    """The open tick: when its first and last row came, how many rows; ``taken``: of all rows ever given."""

    opened: float = 0.0
    last: float = 0.0
    rows: int = 0


class DriftWatch:
    """Everything that is known of one model's streams.

    Args:
        model: its name.
        reference: what is normal; None: it is learnt from traffic (states `learning`, then `provisional`).
        config: section `drift`.
        task: ``model.task``.
        features: section `features`, for learning.
        max_features: `limits.features`.
        rule: when a tick closes; the default follows ``config.tick``.
    """

    def __init__(
        self,
        model: str,
        reference: Reference | None,
        config: Config,
        *,
        task: str = "auto",
        features: builder.Config | None = None,
        max_features: int = MAX_FEATURES,
        rule: TickRule | None = None,
    ) -> None:
        self.model = model
        self.version: str | None = None
        self.config = config
        self.notices: tuple[str, ...] = ()
        self.ticks = 0
        self.rows = 0
        self.last_run: float | None = None
        self.alarms = {"info": 0, "warning": 0, "critical": 0}
        self.counters = gauges.Counters()
        self.predicted = gauges.Predicted()
        self.streams: Tested | None = None
        self.window: Window | None = None
        self.judge: Judge | None = None
        self.phi: phi.OnlinePhi | None = None
        self.learner: Learner | None = None
        self.changes = 0  # a number that moves whenever a gauge may
        self._task = task
        self._features = builder.Config() if features is None else features
        self._limit = max_features
        self._rule = TickRule(config.tick) if rule is None else rule
        self._tick = _Tick()
        self._repeats = Repeats()
        self._open: OpenTick | None = None
        self._next: Tested | None = None
        self._requested: tuple[Tested, TableRequest] | None = None
        self._queue: list[tuple[Ints, float, float, int, int]] = []
        self._pending: list[Entry] = []
        self._known: set[str] = set()
        self.unlisted: list[str] = []
        self._closed = 0.0
        self.phis: dict[str, float] = {}
        self.totals: Ints = np.zeros(0, np.int64)
        self._cache = report.Cache()
        if reference is None:
            self.learner = self._new_learner(None)
        else:
            self._compare_with(tested(reference, self._limit))
        self._request()

    # -- rows in

    def add(self, batch: ObservationBatch, now: float) -> None:
        """Takes a batch that arrived at ``now`` (epoch seconds); it belongs to the tick that is open then."""
        self._roll(now)
        rows = batch.rows
        if rows <= 0 or not self._speaks(batch):
            return
        self.version = batch.version if batch.version is not None else self.version
        features, predictions = self._repeats.fresh(batch)
        self._note_unlisted(batch)
        self._learn(batch, now)
        self._arrive(rows, now)
        self._count_unlisted(batch)
        if self._open is not None:
            self._open.add(batch, features, predictions)

    def advance(self, now: float) -> list[Entry]:
        """Closes the open tick if it is due at ``now``; all transitions since the last call."""
        self._roll(now)
        entries, self._pending = self._pending, []
        return entries

    def run(
        self, batch: ObservationBatch, closes: Sequence[tuple[int, float]], times: NDArray[np.float64] | None = None
    ) -> list[Entry]:
        """Many ticks at once, for `replay`: each value is binned once, whatever the ticks' size.

        Args:
            batch: rows in file order.
            closes: (i, at): before row i the open tick closed at ``at`` (`Splitter.split`, `RowSplitter.split`).
            times: epoch seconds (rows,), finite; None: a tick opens when the one before it closes.

        Returns:
            All transitions up to here; the last tick stays open: see `finish`.

        Raises:
            ValueError: there is no reference: learning needs `add`.
        """
        if self.streams is None or self._open is None:
            raise ValueError("run needs a reference")
        self.version = batch.version if batch.version is not None else self.version
        self._note_unlisted(batch)
        columns = columns_of(batch, self._task, self.streams.index)
        ends = [*closes, (batch.rows, math.nan)]
        group = max(1, SEGMENT_CELLS // max(self.streams.width, 1))
        start = 0
        for first in range(0, len(ends), group):
            part = ends[first : first + group]
            self._run_part(batch, columns, start, part, times)
            start = part[-1][0]
        entries, self._pending = self._pending, []
        return entries

    def finish(self, now: float) -> list[Entry]:
        """Closes the open tick, whatever it holds, at ``now``: the end of a log."""
        if self._tick.rows:
            self._close(now)
        entries, self._pending = self._pending, []
        return entries

    def _run_part(
        self,
        batch: ObservationBatch,
        columns: Columns,
        start: int,
        ends: Sequence[tuple[int, float]],
        times: NDArray[np.float64] | None,
    ) -> None:
        """Rows ``start`` to the last end; after each end but a NaN one the tick closes."""
        assert self.streams is not None
        assert self._open is not None
        limits = [start, *(i for i, _ in ends)]
        segment = np.repeat(np.arange(len(ends)), np.diff(limits))
        features, predictions = self._fresh_rows(batch, limits, ends)
        counts = segment_counts(
            self.streams,
            columns,
            slice(start, limits[-1]),
            segment,
            len(ends),
            features=bool(batch.features),
            masks=(features, predictions),
        )
        for s, (end, at) in enumerate(ends):
            rows = end - limits[s]
            if rows:
                moment = float(times[limits[s]]) if times is not None else self._closed
                self._arrive(rows, moment)
                self._open.counts += counts[s]
            if not math.isnan(at) and self._tick.rows:
                self._close(at)

    def _fresh_rows(
        self, batch: ObservationBatch, limits: Sequence[int], ends: Sequence[tuple[int, float]]
    ) -> tuple[Mask | None, Mask | None]:
        """The rows of all segments that are no repeats within their tick."""
        if batch.ids is None:
            return None, None
        whole = (np.ones(limits[-1] - limits[0], np.bool_), np.ones(limits[-1] - limits[0], np.bool_))
        for s, (end, at) in enumerate(ends):
            part = slice(limits[s], end)
            own = replace(batch, rows=end - limits[s], ids=batch.ids[part])
            for mask, kept in zip(whole, self._repeats.fresh(own), strict=True):
                if kept is not None:
                    mask[limits[s] - limits[0] : end - limits[0]] = kept
            if not math.isnan(at):
                self._repeats.zero()
        return whole

    # -- tables and dependence, made elsewhere

    def table_request(self) -> TableRequest | None:
        """The tables that are needed now, None when they are there; the same object until they are."""
        return None if self._requested is None else self._requested[1]

    def set_tables(self, tables: Sequence[StreamTables]) -> None:
        """The answer to `table_request`: evidence starts (again), and the ticks kept meanwhile are judged.

        Raises:
            ValueError: nothing was requested, or these are other streams' tables.
        """
        if self._requested is None:
            raise ValueError("no tables were requested")
        streams, request = self._requested
        if len(tables) != len(request.specs) or any(
            len(t.pi) != len(s.counts) or t.phi != s.phi for t, s in zip(tables, request.specs, strict=True)
        ):
            raise ValueError("these tables are not those that were requested")
        self._requested = None
        if streams is not self.streams:
            self._switch_to(streams)
        if self.judge is not None:
            self._pending += self.judge.release(self._closed, self.rows)
        held, self._queue = self._queue, []
        terms = Terms(self.model, self.config.false_alarms.text, self.config.critical_effect)
        self.judge = Judge(streams, tables, terms)
        self.changes += 1
        for tick in held:
            self._judge(*tick)

    def phi_request(self) -> phi.PhiRequest | None:
        """The measured dependence, to be turned into phi elsewhere (it needs a chi-square quantile); None: not due."""
        return None if self.phi is None else self.phi.request()

    def set_phi(self, values: Mapping[str, float]) -> None:
        """The answer to `phi_request`, by stream: fixed from now on. Tables are asked for again where it matters.

        Raises:
            ValueError: nothing was requested, or a stream is not answered with a number of at least 1.
        """
        asked = self.phi_request()
        if asked is None:
            raise ValueError("no phi was requested")
        if any(not values.get(name, 0.0) >= 1 for name in asked.names):
            raise ValueError(f"expected a phi of at least 1 for each of {asked.names}, got {values}")
        self.phis |= {name: float(values[name]) for name in asked.names}
        self.phi = None
        self.changes += 1
        if any(self.phis[name] != 1 for name in asked.names):
            self._request()

    # -- what is going on

    @property
    def state(self) -> DriftState:
        """The state of the model (docs/statistics.md, section 10)."""
        if self.judge is not None and self.judge.drifting():
            return "drifting"
        if self.streams is None:
            return "learning"
        if self.judge is None or self.window is None or int(self.window.seen.max(initial=0)) < MIN_ROWS:
            return "not_enough_data"
        return "provisional" if self.learner is not None else "stable"

    @property
    def threshold(self) -> float:
        """T, nats: where a stream alarms under the budget."""
        return log_threshold(self._budget_ticks(), max(len(self.streams.streams), 1) if self.streams else 1)

    @property
    def held_back(self) -> str:
        """Why alarms are only info now; empty when they are not."""
        if self.learner is not None:
            return f"the reference is provisional ({self.learner.words()})"
        if self.phi is not None:
            return f"dependence is not known yet ({self.phi.words()}), drift.dependence settles it"
        if self._requested is not None:
            return "tables are being rebuilt for the dependence that was measured"
        return ""

    @property
    def words(self) -> str:
        """The state for people, with what it waits for."""
        parts: list[str] = [self.state]
        if self.streams is None and self.learner is not None:
            parts = [f"learning: {self.learner.rows:,} of {FIRST_ROWS:,} rows"]
        elif self.learner is not None:
            parts = [f"provisional: {self.learner.words()}"]
        elif self.state == "drifting" and self.judge is not None:
            parts = ["drifting: " + ", ".join(self.judge.drifting()[:5])]
        if self._requested is not None and self._next is None and self.judge is None:
            parts.append("building tables")
        elif self.state == "not_enough_data" and self.window is not None:
            parts.append(f"{int(self.window.seen.max(initial=0)):,} of {MIN_ROWS:,} rows")
        if self.phi is not None:
            parts.append(f"dependence: {self.phi.words()}")
        return "; ".join(parts)

    def results(self, now: float) -> tuple[DriftResult, ...]:
        """What the detector says of each stream, and of `@model`."""
        del now  # results are those of the last closed tick
        return report.results(self)

    def status(self) -> ModelStatus:
        """The model's line of `status`."""
        return report.status(self)

    def samples(self, model: str | None = None, version: str | None = None) -> tuple[Sample, ...]:
        """All metrics of the model; gauges are those of the last closed tick, counters those of all rows so far.

        Args:
            model: label ``model``; None: the watch's own name.
            version: label ``model_version``; None: the newest one the batches named, absent when they named none.
        """
        return self._cache.samples(self, gauges.Labels(model or self.model, version or self.version))

    # -- inside

    def _speaks(self, batch: ObservationBatch) -> bool:
        """Whether a batch says anything of any stream: failed calls have a latency and nothing else."""
        if batch.features or batch.prediction is not None or batch.probabilities is not None:
            return True
        return batch.latency is not None and self.streams is not None and LATENCY in self.streams.index

    def _arrive(self, rows: int, moment: float) -> None:
        tick = self._tick
        if not tick.rows:
            tick.opened = tick.last = moment
        tick.last = max(tick.last, moment)
        tick.rows += rows
        self.rows += rows

    def _roll(self, now: float) -> None:
        tick = self._tick
        at = self._rule.closes_at(tick.opened, tick.last, tick.rows, max(now, tick.last)) if tick.rows else None
        if at is not None:
            self._close(at)

    def _close(self, at: float) -> None:
        """The tick is over: its counts go into the window, the counters and the evidence."""
        tick, self._tick = self._tick, _Tick()
        self._repeats.zero()
        self._closed = at
        self.ticks += 1
        self.changes += 1
        if self._open is None or self.streams is None or self.window is None:
            return
        counts = self._open.take()
        self._tally(counts)
        self.window.add(counts)
        if self.phi is not None:
            self.phi.add(counts)
        self._judge(counts, tick.opened, at, tick.rows, self.rows)

    def _tally(self, counts: Ints) -> None:
        """Counters and histograms of a tick that is over."""
        assert self.streams is not None
        assert self._open is not None
        self.totals += counts
        self.predicted.add(self._open.scores, self._open.values)
        self._open.scores, self._open.values = [], []

    def _judge(self, counts: Ints, opened: float, closed: float, rows: int, row: int) -> None:
        if self.judge is None:
            self._queue.append((counts, opened, closed, rows, row))
            while len(self._queue) * counts.nbytes > QUEUE_BYTES:
                self._queue.pop(0)
            return
        self.last_run = closed
        entries = self.judge.step(counts, opened, closed, rows, row, self.held_back)
        for entry in entries:
            if entry.kind in ("alarm", "notice"):
                self.alarms[entry.severity] += 1
        self._pending += entries

    def _learn(self, batch: ObservationBatch, now: float) -> None:
        """Rows of a latched period never enter a provisional reference."""
        if self.learner is None or (self.judge is not None and self.judge.drifting()):
            return
        made = self.learner.add(batch, now)
        if made is None:
            return
        streams = tested(made, self._limit)
        if self.streams is None:
            self._compare_with(streams)
        else:
            self._next = streams
        self._request()

    def _compare_with(self, streams: Tested) -> None:
        """From now on rows are counted on the bins of ``streams``."""
        self.streams = streams
        self.window = Window(streams)
        self.totals = np.zeros(streams.width, np.int64)
        self.predicted.see(streams)
        self._open = OpenTick(streams, self._task)
        self._known = {s.name for s in streams.streams} | {i.name for i in streams.reference.ignored}
        self._known |= set(streams.skipped)
        self.unlisted = []
        self.phi = phi.unknown(streams, self.config.dependence, self.phis)
        self._note()

    def _switch_to(self, streams: Tested) -> None:
        """A newer provisional reference is ready: counters keep what they have, everything else starts anew."""
        self.drain()
        self.counters = self.all_counts()
        self._queue = []
        self._next = None
        self._tick = _Tick()
        self._compare_with(streams)

    def _request(self) -> None:
        """Asks for the tables that the present reference and dependence need."""
        streams = self.streams if self._next is None else self._next
        if streams is None or not streams.streams:
            return
        specs = tuple(self._spec(s) for s in streams.streams)
        ticks = self._budget_ticks()
        request = TableRequest(specs, ticks, len(specs), cache_key(streams.reference.id, specs, ticks, len(specs)))
        self._requested = (streams, request)
        self.changes += 1

    def _budget_ticks(self) -> float:
        return self.config.false_alarms.ticks(self.config.tick, self.config.replicas)

    def _spec(self, stream: FeatureReference) -> TableSpec:
        least = self.config.latency_min_effect if stream.name == LATENCY else self.config.min_effect
        return TableSpec(
            name=stream.name,
            kind=stream.kind,
            counts=stream.counts.astype(np.float64),
            special=tuple(stream.special[word] for word in ("missing", "pinf", "ninf")) if stream.special else (),
            phi=phi.of(stream, self.config.dependence, self.phis),
            min_effect=least,
        )

    def _new_learner(self, learnt: Reference | None, since: float | None = None) -> Learner:
        kinds = {name: kind for name, kind in self._features.types}
        return Learner(self.model, self._task, self._features.ignore, kinds, learnt, since)

    def drain(self) -> None:
        """Bins what waits in the open tick, so that the counters are complete."""
        if self._open is not None:
            self._open.flush()
            self.predicted.add(self._open.scores, self._open.values)
            self._open.scores, self._open.values = [], []

    def all_counts(self) -> gauges.Counters:
        """The counters with everything binned so far."""
        found = self.counters.copy()
        if self.streams is not None and self._open is not None:
            found.add(self.streams, self.totals + self._open.counts)
        return found

    def _count_unlisted(self, batch: ObservationBatch) -> None:
        """Predictions of a model whose reference does not hold them, or is not there yet."""
        if self.streams is not None and PREDICTION in self.streams.index:
            return
        column = batch.prediction
        if batch.probabilities is not None:
            self.counters.unlisted(gauges.OTHER, batch.rows)
        elif isinstance(column, list | tuple):
            self.counters.unlisted(gauges.OTHER, sum(value is not None for value in column))
        elif column is not None:
            self.counters.unlisted(None, int((~np.isnan(sane(column, batch.rows))).sum()))

    def _note_unlisted(self, batch: ObservationBatch) -> None:
        """One notice for each stream that the reference lacks."""
        if self.streams is None or len(self.unlisted) >= NOTED:
            return
        names = list(batch.features) if not self._known.issuperset(batch.features) else []
        if PREDICTION not in self._known and (batch.prediction is not None or batch.probabilities is not None):
            names.append(PREDICTION)
        fresh = [name for name in names if name not in self._known][: NOTED - len(self.unlisted)]
        if fresh:
            self._known.update(fresh)
            self.unlisted += fresh
            self._note()

    def _note(self) -> None:
        assert self.streams is not None
        self.changes += 1
        self.notices = report.notices(self.streams, self.unlisted, self._limit)
