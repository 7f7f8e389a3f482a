"""One model's drift: batches in, transitions, results and samples out. Pure: no I/O, no clock, no threads.

watch = DriftWatch("fraud", reference, config)
request = watch.table_request()          # to pf-worker; its tables come back by `set_tables`
watch.add(batch, now)                    # as they arrive; binned in batches into the open tick
for entry in watch.advance(now): ...     # closes ticks by the rule, steps the engine
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from pilotfish_agent.drift import fleet, gauges, phi, report
from pilotfish_agent.drift.comparison import Comparison, TableRequest, budget_ticks
from pilotfish_agent.drift.composites import derived
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.features import Config as Features
from pilotfish_agent.drift.happenings import Kind as HappeningKind
from pilotfish_agent.drift.ingest import Columns, Repeats, chosen, columns_of, counting, segment_counts
from pilotfish_agent.drift.judge import Judge
from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.learn import Learner
from pilotfish_agent.drift.options import SECTION, Config
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.setting import MAX_FEATURES, Setting
from pilotfish_agent.drift.standing import Standing
from pilotfish_agent.drift.streams import LATENCY, PREDICTION
from pilotfish_agent.drift.tables import StreamTables, log_threshold
from pilotfish_agent.drift.tick_clock import TickClock
from pilotfish_agent.drift.trace import Trace
from pilotfish_agent.drift.versions import Look
from pilotfish_agent.windows.ticks import TickRule
from pilotfish_core.metrics import Sample
from pilotfish_core.nouns import DriftResult, DriftState, ModelStatus, ObservationBatch

__all__ = ["METRICS", "SECTION", "Config", "DriftWatch", "TableRequest"]
METRICS: Final = (*gauges.METRICS, *fleet.METRICS)
SEGMENT_CELLS: Final = 1 << 20
"""Counts of so many bins are made at once in `run`: 8 MiB."""


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
        clock: ticks and rows so far, and the open tick.
        alarms: crossings so far by severity.
        standing: what it is compared with, and how that changes.
        trace: keeps the evidence over time where it is set; `replay` draws it.
    """

    def __init__(
        self,
        model: str,
        reference: Reference | None,
        config: Config,
        *,
        task: str = "auto",
        features: Features | None = None,
        max_features: int = MAX_FEATURES,
        rule: TickRule | None = None,
    ) -> None:
        self.model = model
        self.version: str | None = None
        self.alarms = {"info": 0, "warning": 0, "critical": 0}
        self.trace: Trace | None = None
        self.clock = TickClock(TickRule(config.tick) if rule is None else rule)
        self._repeats = Repeats()
        self._pending: list[Entry] = []
        self._cache = report.Cache()
        setting = Setting(config, features or Features(), task, max_features)
        self.standing = Standing(model, reference, setting, self.clock, self._emit)

    # -- rows in

    def add(self, batch: ObservationBatch, now: float) -> None:
        """Takes a batch that arrived at ``now`` (epoch seconds); it belongs to the tick that is open then."""
        self._roll(now)
        if batch.rows <= 0 or not self._speaks(batch):
            return
        self._look(batch, now)
        self.standing.mix.add(batch.slices)
        features, predictions = self._repeats.fresh(batch)
        comparison = self.comparison  # rows that complete the first reference are not tested against it
        self.standing.learn(chosen(batch, counting(batch, features, predictions)), now)
        self.clock.arrive(batch.rows, now)
        if comparison is None or PREDICTION not in comparison.streams.index:
            self.standing.unlisted(batch)
        if comparison is not None:
            comparison.open.stratum = self.clock.stratum
            if self.config.versions == "on":
                self.standing.versions.add(batch, features, predictions, comparison.open, now)
            comparison.add(batch, features, predictions)

    def happened(self, at: float, kind: HappeningKind, words: str) -> None:
        """Something happened to the model at ``at``, epoch seconds: an explanation may point at it."""
        self.standing.happenings.add(at, kind, words)

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
            ValueError: there is no reference: learning needs `add`; or it tells hours apart, and there are no times.
        """
        if self.comparison is None or (times is None and self.comparison.streams.strata.count > 1):
            raise ValueError("run needs a reference, and times where the reference tells hours apart")
        self._look(batch, self.clock.closed if times is None or not batch.rows else float(times[0]))
        if self.comparison.judge is not None:
            self.comparison.judge.timed = times is not None
        streams = self.comparison.streams
        batch = derived(batch, streams.reference.encoders)
        columns = columns_of(batch, self.standing.setting.task, streams.index)
        ends = [*closes, (batch.rows, math.nan)]
        start = 0
        for part, stratum in self._parts(ends, times, max(1, SEGMENT_CELLS // max(streams.width, 1))):
            self._run_part(batch, columns, start, part, times, stratum)
            start = part[-1][0]
        self.comparison.first.let_go()
        return self._taken()

    def finish(self, now: float) -> list[Entry]:
        """Closes the open tick, whatever it holds, at ``now``: the end of a log."""
        if self.clock.open_rows:
            self._repeats.zero()
            self._close(now)
        return self._taken()

    # -- what it is compared with: see `Standing`

    def table_request(self) -> TableRequest | None:
        """The tables that are needed now, None when they are there; the same object until they are."""
        return self.standing.table_request()

    def set_tables(self, tables: Sequence[StreamTables]) -> None:
        """The answer to `table_request`; ValueError where nothing was requested, or other tables."""
        self.standing.set_tables(tables)

    def phi_request(self) -> phi.PhiRequest | None:
        """The measured dependence, to be turned into phi elsewhere; None: not due."""
        return self.standing.phi_request()

    def set_phi(self, values: Mapping[str, float]) -> None:
        """The answer to `phi_request`; ValueError where nothing was requested, or it is no answer."""
        self.standing.set_phi(values)

    def look_request(self) -> Look | None:
        """Counts of two model versions, to be compared elsewhere; None: not due."""
        return self.standing.look_request()

    def reload(
        self,
        reference: Reference | None,
        config: Config,
        *,
        task: str = "auto",
        features: Features | None = None,
        max_features: int = MAX_FEATURES,
    ) -> str:
        """Takes up what was read anew, arguments as at the start; what changes, in words, empty when nothing does."""
        setting = Setting(config, features or Features(), task, max_features)
        return self.standing.reload(reference, setting)

    def accept(self, now: float) -> str:
        """Makes the current data the new normal; words of what was done; DataError where that cannot be."""
        return self.standing.accept(now)

    def checkpoint(self) -> bytes:
        """What is known after the last closed tick, for `restore` of the next run."""
        return self.standing.checkpoint()

    def restore(self, content: bytes) -> bool:
        """Takes up a checkpoint of an earlier run; False, and nothing happens, where nothing of it fits."""
        return self.standing.restore(content)

    # -- what is going on

    @property
    def config(self) -> Config:
        """Section `drift`."""
        return self.standing.setting.config

    @property
    def comparison(self) -> Comparison | None:
        """The reference in force with its evidence, None while there is none."""
        return self.standing.comparison

    @property
    def judge(self) -> Judge | None:
        """The evidence, None while tables are missing."""
        return self.standing.judge

    @property
    def learner(self) -> Learner | None:
        """What learns a reference, None where one was given or learning has ended."""
        return self.standing.learner

    @property
    def notices(self) -> tuple[str, ...]:
        """What people should know about the reference, a line each."""
        return self.standing.notices

    @property
    def changes(self) -> int:
        """Moves whenever a gauge may."""
        return self.standing.changes

    @property
    def threshold(self) -> float:
        """T, nats: where a stream alarms under the budget."""
        streams = None if self.comparison is None else self.comparison.streams
        return log_threshold(budget_ticks(self.config, streams), max(0 if streams is None else len(streams.streams), 1))

    @property
    def state(self) -> DriftState:
        """The state of the model (docs/statistics.md, section 10)."""
        return report.state(self)

    @property
    def held_back(self) -> str:
        """Why alarms are only info now; empty when they are not."""
        return self.standing.held_back

    @property
    def words(self) -> str:
        """The state for people, with what it waits for."""
        return report.words(self)

    def results(self) -> tuple[DriftResult, ...]:
        """What the detector says of each stream and of `@model`, after the last closed tick."""
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

    def recount(self) -> None:
        """The next `samples` count to the row; else the newest rows may be told a few questions later."""
        self._cache.recount()

    # -- inside: rows

    def _speaks(self, batch: ObservationBatch) -> bool:
        """Whether a batch says anything of any stream: failed calls have a latency and nothing else."""
        if batch.features or batch.prediction is not None or batch.probabilities is not None:
            return True
        return batch.latency is not None and self.comparison is not None and LATENCY in self.comparison.streams.index

    def _look(self, batch: ObservationBatch, at: float) -> None:
        """What a batch says beside its rows: its version, and streams that the reference lacks."""
        if batch.version is not None:
            self.standing.happenings.version(batch.version, at)
            self.version = self.standing.happenings.newest
        if self.comparison is not None and self.comparison.note(batch):
            self.standing.note(self.comparison)

    def _parts(
        self, ends: Sequence[tuple[int, float]], times: Floats | None, most: int
    ) -> Iterator[tuple[Sequence[tuple[int, float]], int]]:
        """The ticks that end at ``ends``, at most so many at once, all of one stratum; and the stratum."""
        told = np.full(len(ends), self.clock.stratum)
        if times is not None and len(times) and self.comparison is not None:
            begins = np.array([0, *(i for i, _ in ends[:-1])])
            told = self.comparison.streams.strata.of(times[np.minimum(begins, len(times) - 1)])
            told[0] = self.clock.stratum if self.clock.open_rows else told[0]
        changes = np.flatnonzero(np.diff(told)) + 1
        for a, b in itertools.pairwise([0, *changes.tolist(), len(ends)]):
            for first in range(a, b, most):
                yield ends[first : min(first + most, b)], int(told[a])

    def _run_part(
        self,
        batch: ObservationBatch,
        columns: Columns,
        start: int,
        ends: Sequence[tuple[int, float]],
        times: Floats | None,
        stratum: int,
    ) -> None:
        """Rows ``start`` to the last end, all in one stratum; after each end but a NaN one the tick closes."""
        assert self.comparison is not None
        limits = [start, *(i for i, _ in ends)]
        counts = segment_counts(
            self.comparison.streams,
            columns,
            slice(start, limits[-1]),
            np.repeat(np.arange(len(ends)), np.diff(limits)),
            len(ends),
            features=bool(batch.features),
            stratum=stratum,
            masks=self._repeats.fresh_in_ticks(batch, limits, [not math.isnan(at) for _, at in ends]),
        )
        for s, (end, at) in enumerate(ends):
            if end > limits[s]:
                self.clock.arrive(end - limits[s], self.clock.closed if times is None else float(times[limits[s]]))
                self.comparison.open.counts += counts[s]
                self.comparison.first.within(columns, slice(limits[s], end))
                self.standing.mix.add({name: column[limits[s] : end] for name, column in batch.slices.items()})
            if not math.isnan(at) and self.clock.open_rows:
                self._close(at)

    # -- inside: ticks

    def _roll(self, now: float) -> None:
        at = self.clock.due(now)
        if at is not None:
            self._repeats.zero()
            self._close(at)

    def _close(self, at: float) -> None:
        """The tick is over."""
        tick = self.clock.close(at)
        self.standing.changes += 1
        self.standing.mix.close(tick.opened)
        entries = self.standing.close(tick)
        if self.trace is not None and self.judge is not None:
            self.trace.add(at, tick.row, self.judge)
        self._emit(entries)

    def _emit(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.kind in ("alarm", "notice"):
                self.alarms[entry.severity] += 1
        self._pending += entries

    def _taken(self) -> list[Entry]:
        entries, self._pending = self._pending, []
        return entries
