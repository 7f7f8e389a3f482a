"""One model's drift: batches in, transitions, results and samples out. Pure: no I/O, no clock, no threads.

watch = DriftWatch("fraud", reference, config)
request = watch.table_request()          # to pf-worker; its tables come back by `set_tables`
watch.add(batch, now)                    # as they arrive; binned in batches into the open tick
for entry in watch.advance(now): ...     # closes ticks by the rule, steps the engine
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift import builder, checkpoint, fleet, gauges, phi, report
from pilotfish_agent.drift.comparison import Comparison, TableRequest, budget_ticks, table_request
from pilotfish_agent.drift.ingest import Columns, Repeats, chosen, columns_of, counting, segment_counts
from pilotfish_agent.drift.judge import Judge, Terms
from pilotfish_agent.drift.latch import Entry
from pilotfish_agent.drift.learn import Learner
from pilotfish_agent.drift.options import SECTION, Config
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.streams import PREDICTION
from pilotfish_agent.drift.tables import StreamTables, log_threshold
from pilotfish_agent.drift.tested import LATENCY, Tested, tested
from pilotfish_agent.drift.tick_clock import TickClock
from pilotfish_agent.windows.ticks import TickRule
from pilotfish_core.metrics import Sample
from pilotfish_core.nouns import DriftResult, DriftState, ModelStatus, ObservationBatch

__all__ = ["METRICS", "SECTION", "Config", "DriftWatch", "TableRequest"]
METRICS: Final = (*gauges.METRICS, *fleet.METRICS)
MAX_FEATURES: Final = 1_000
SEGMENT_CELLS: Final = 1 << 20
"""Counts of so many bins are made at once in `run`: 8 MiB."""
Floats = NDArray[np.float64]


class DriftWatch:
    """Everything that is known of one model's streams.

    Args:
        model: its name.
        reference: what is normal; None: it is learnt from traffic (states `learning`, then `provisional`).
        config: section `drift`.
        task: ``model.task``.
        features: section `features`: what is not watched, and kinds, for learning.
        max_features: `limits.features`.
        rule: when a tick closes; the default follows ``config.tick``.

    Attributes:
        version: the newest one that the batches named.
        notices: what people should know about the reference, a line each.
        clock: ticks and rows so far, and the open tick.
        last_run: when the engine last ran, epoch seconds.
        alarms: crossings so far by severity.
        comparison: the reference in force with its evidence, None while there is none.
        learner: None where a reference was given.
        changes: moves whenever a gauge may.
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
        self.config = config
        self.version: str | None = None
        self.notices: tuple[str, ...] = ()
        self.last_run: float | None = None
        self.alarms = {"info": 0, "warning": 0, "critical": 0}
        self.comparison: Comparison | None = None
        self.learner: Learner | None = None
        self.changes = 0
        self.predicted = gauges.Predicted()
        self.phis: dict[str, float] = {}
        self.measured: phi.OnlinePhi | None = None
        self._task = task
        self._features = builder.Config() if features is None else features
        self._limit = max_features
        self.clock = TickClock(TickRule(config.tick) if rule is None else rule)
        self._repeats = Repeats()
        self._counters = gauges.Counters()
        self._requested: tuple[Tested, TableRequest] | None = None
        self._pending: list[Entry] = []
        self._cache = report.Cache()
        self._saved: checkpoint.Saved | None = None
        self._kept = b""
        if reference is None:
            self.learner = self._new_learner()
        else:
            self._request(self._compare_with(tested(reference, max_features, self._features.ignore)).streams)

    # -- rows in

    def add(self, batch: ObservationBatch, now: float) -> None:
        """Takes a batch that arrived at ``now`` (epoch seconds); it belongs to the tick that is open then."""
        self._roll(now)
        if batch.rows <= 0 or not self._speaks(batch):
            return
        self._look(batch)
        features, predictions = self._repeats.fresh(batch)
        comparison = self.comparison  # rows that complete the first reference are not tested against it
        self._learn(chosen(batch, counting(batch, features, predictions)), now)
        self.clock.arrive(batch.rows, now)
        if comparison is None or PREDICTION not in comparison.streams.index:
            self._counters.unlisted_predictions(batch)
        if comparison is not None:
            comparison.add(batch, features, predictions)

    def advance(self, now: float) -> list[Entry]:
        """Closes the open tick if it is due at ``now``; all transitions since the last call."""
        self._roll(now)
        return self._taken()

    def run(
        self, batch: ObservationBatch, closes: Sequence[tuple[int, float]], times: Floats | None = None
    ) -> list[Entry]:
        """Many ticks at once, for `replay`: each value is binned once, whatever the ticks' size.

        Args:
            batch: rows in file order.
            closes: (i, at): before row i the open tick closed at ``at`` (`TickSplitter.split`, `RowSplitter.split`).
            times: epoch seconds (rows,), finite; None: a tick opens when the one before it closes.

        Returns:
            All transitions up to here; the last tick stays open: see `finish`.

        Raises:
            ValueError: there is no reference: learning needs `add`.
        """
        if self.comparison is None:
            raise ValueError("run needs a reference")
        self._look(batch)
        if self.comparison.judge is not None:
            self.comparison.judge.timed = times is not None
        streams = self.comparison.streams
        columns = columns_of(batch, self._task, streams.index)
        ends = [*closes, (batch.rows, math.nan)]
        group = max(1, SEGMENT_CELLS // max(streams.width, 1))
        start = 0
        for first in range(0, len(ends), group):
            part = ends[first : first + group]
            self._run_part(batch, columns, start, part, times)
            start = part[-1][0]
        return self._taken()

    def finish(self, now: float) -> list[Entry]:
        """Closes the open tick, whatever it holds, at ``now``: the end of a log."""
        if self.clock.open_rows:
            self._repeats.zero()
            self._close(now)
        return self._taken()

    # -- tables and dependence, made elsewhere

    def table_request(self) -> TableRequest | None:
        """The tables that are needed now, None when they are there; the same object until they are."""
        return None if self._requested is None else self._requested[1]

    def set_tables(self, tables: Sequence[StreamTables]) -> None:
        """The answer to `table_request`: evidence starts (again), and the ticks kept meanwhile are judged.

        Raises:
            ValueError: nothing was requested, or these are other streams' tables.
        """
        if self._requested is None or not self._requested[1].answered_by(tables):
            raise ValueError("these tables were not requested")
        streams, self._requested = self._requested[0], None
        comparison = self.comparison
        if comparison is None or streams is not comparison.streams:
            comparison = self._switch_to(streams)
        saved, self._saved = self._saved, None
        terms = Terms(self.model, self.config.false_alarms.text, self.config.critical_effect)
        self._emit(comparison.start(tables, terms, saved, self.held_back))
        self.changes += 1
        if self.measured is not None:
            self.measured.start(tables)

    def phi_request(self) -> phi.PhiRequest | None:
        """The measured dependence, to be turned into phi elsewhere (it needs a chi-square quantile); None: not due."""
        return None if self.measured is None else self.measured.request()

    def set_phi(self, values: Mapping[str, float]) -> None:
        """The answer to `phi_request`, by stream: fixed from now on. Tables are asked for again where it matters.

        Raises:
            ValueError: nothing was requested, or a stream is not answered with a number of at least 1.
        """
        asked = self.phi_request()
        if asked is None or self.comparison is None:
            raise ValueError("no phi was requested")
        if any(not 1 <= values.get(name, 0.0) < math.inf for name in asked.names):
            raise ValueError(f"expected a phi of at least 1 for each of {asked.names}, got {values}")
        self.phis |= {name: float(values[name]) for name in asked.names}
        self.measured = None
        self.changes += 1
        if any(self.phis[name] != 1 for name in asked.names):
            self._request(self.comparison.streams if self._requested is None else self._requested[0])

    # -- from one run to the next

    def checkpoint(self) -> bytes:
        """What is known after the last closed tick, for `restore` of the next run.

        While the tables of the streams are being built there is no evidence: then it is the checkpoint before.
        """
        self._kept = checkpoint.save(self) or self._kept
        return self._kept

    def restore(self, content: bytes) -> bool:
        """Takes up a checkpoint of an earlier run; evidence follows when the tables are set.

        Args:
            content: what `checkpoint` gave.

        Returns:
            False, and nothing happens, when it is damaged, when its reference, budget, number of streams, dependence
            or layout differ, or when rows came already: what is counted is never counted twice.
        """
        saved = checkpoint.read(content, self, self._limit) if not self.clock.rows and self.judge is None else None
        if saved is None:
            return False
        self.phis, self.last_run, self._saved, self._kept = saved.phis, saved.last_run, saved, content
        if self.learner is not None:
            self.learner = self._new_learner(saved.learnt, saved.since)
        self._compare_with(saved.streams).window.load(saved.part("window"))
        self._request(saved.streams)
        return True

    # -- what is going on

    @property
    def judge(self) -> Judge | None:
        """The evidence, None while tables are missing."""
        return None if self.comparison is None else self.comparison.judge

    @property
    def building(self) -> bool:
        """Whether tables are being built."""
        return self._requested is not None

    @property
    def threshold(self) -> float:
        """T, nats: where a stream alarms under the budget."""
        streams = 0 if self.comparison is None else len(self.comparison.streams.streams)
        return log_threshold(budget_ticks(self.config), max(streams, 1))

    @property
    def state(self) -> DriftState:
        """The state of the model (docs/statistics.md, section 10)."""
        return report.state(self)

    @property
    def held_back(self) -> str:
        """Why alarms are only info now; empty when they are not."""
        return report.held_back(self)

    @property
    def words(self) -> str:
        """The state for people, with what it waits for."""
        return report.words(self)

    def results(self, now: float) -> tuple[DriftResult, ...]:
        """What the detector says of each stream and of `@model`, after the last closed tick."""
        del now
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

    def counters(self) -> gauges.Counters:
        """Predictions and missing values so far; bins what waits in the open tick."""
        found = self._counters.copy()
        if self.comparison is not None:
            opened = self.comparison.open
            opened.flush()
            self.predicted.add(*opened.columns())
            found.add(self.comparison.streams, self.comparison.counted)
        return found

    # -- inside: rows

    def _speaks(self, batch: ObservationBatch) -> bool:
        """Whether a batch says anything of any stream: failed calls have a latency and nothing else."""
        if batch.features or batch.prediction is not None or batch.probabilities is not None:
            return True
        return batch.latency is not None and self.comparison is not None and LATENCY in self.comparison.streams.index

    def _look(self, batch: ObservationBatch) -> None:
        """What a batch says beside its rows: its version, and streams that the reference lacks."""
        if batch.version is not None:
            self.version = batch.version
        if self.comparison is not None and self.comparison.note(batch):
            self._note(self.comparison)

    def _run_part(
        self,
        batch: ObservationBatch,
        columns: Columns,
        start: int,
        ends: Sequence[tuple[int, float]],
        times: Floats | None,
    ) -> None:
        """Rows ``start`` to the last end; after each end but a NaN one the tick closes."""
        assert self.comparison is not None
        limits = [start, *(i for i, _ in ends)]
        counts = segment_counts(
            self.comparison.streams,
            columns,
            slice(start, limits[-1]),
            np.repeat(np.arange(len(ends)), np.diff(limits)),
            len(ends),
            features=bool(batch.features),
            masks=self._repeats.fresh_in_ticks(batch, limits, [not math.isnan(at) for _, at in ends]),
        )
        for s, (end, at) in enumerate(ends):
            if end > limits[s]:
                self.clock.arrive(end - limits[s], self.clock.closed if times is None else float(times[limits[s]]))
                self.comparison.open.counts += counts[s]
            if not math.isnan(at) and self.clock.open_rows:
                self._close(at)

    # -- inside: ticks

    def _roll(self, now: float) -> None:
        at = self.clock.due(now)
        if at is not None:
            self._repeats.zero()
            self._close(at)

    def _close(self, at: float) -> None:
        """The tick is over: its counts go into the window, the counters and the evidence."""
        tick = self.clock.close(at)
        self.changes += 1
        if self.comparison is None:
            return
        if self.comparison.judge is not None:
            self.last_run = at
        counts, entries = self.comparison.close(tick, self.held_back)
        self.predicted.add(*self.comparison.open.columns())
        if self.measured is not None:
            self.measured.add(counts)
        self._emit(entries)

    def _emit(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.kind in ("alarm", "notice"):
                self.alarms[entry.severity] += 1
        self._pending += entries

    def _taken(self) -> list[Entry]:
        entries, self._pending = self._pending, []
        return entries

    # -- inside: the reference

    def _new_learner(self, learnt: Reference | None = None, since: float | None = None) -> Learner:
        features = self._features
        return Learner(self.model, self._task, features.ignore, features.types, learnt, since, limit=self._limit)

    def _learn(self, batch: ObservationBatch, now: float) -> None:
        """Rows of a latched period never enter a provisional reference."""
        if self.learner is None or not batch.rows or (self.judge is not None and self.judge.drifting()):
            return
        made = self.learner.add(batch, now)
        if made is not None:
            streams = tested(made, self._limit)
            if self.comparison is None:
                self._compare_with(streams)
            self._request(streams)

    def _compare_with(self, streams: Tested) -> Comparison:
        """From now on rows are counted on the bins of ``streams``."""
        self.comparison = made = Comparison(streams, self._task)
        self.predicted.see(streams)
        self.measured = phi.unknown(streams, self.config.dependence, self.phis)
        self._note(made)
        return made

    def _switch_to(self, streams: Tested) -> Comparison:
        """A newer provisional reference is ready: counters keep what they have, everything else starts anew."""
        self._counters = self.counters()
        if self.judge is not None:
            self._emit(self.judge.release())
        self.clock.drop()
        return self._compare_with(streams)

    def _request(self, streams: Tested) -> None:
        """Asks for tables; a reference without streams needs none."""
        if streams.streams:
            self._requested = (streams, table_request(streams, self.config, self.phis))
        self.changes += 1

    def _note(self, comparison: Comparison) -> None:
        self.changes += 1
        self.notices = report.notices(comparison, self._limit)
