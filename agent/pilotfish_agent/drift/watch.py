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
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift import accept, builder, checkpoint, fleet, gauges, phi, report
from pilotfish_agent.drift.checkpoint import Saved
from pilotfish_agent.drift.comparison import Comparison, TableRequest, budget_ticks, stream_keys, table_request
from pilotfish_agent.drift.composites import derived
from pilotfish_agent.drift.happenings import Happenings
from pilotfish_agent.drift.happenings import Kind as HappeningKind
from pilotfish_agent.drift.held import Held
from pilotfish_agent.drift.ingest import Columns, Repeats, chosen, columns_of, counting, segment_counts
from pilotfish_agent.drift.judge import Judge, Terms
from pilotfish_agent.drift.latch import Entry
from pilotfish_agent.drift.learn import Learner
from pilotfish_agent.drift.mix import Mix
from pilotfish_agent.drift.options import SECTION, Config
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.streams import PREDICTION
from pilotfish_agent.drift.tables import StreamTables, log_threshold
from pilotfish_agent.drift.tested import LATENCY, Tested, tested
from pilotfish_agent.drift.tick_clock import TickClock
from pilotfish_agent.drift.trace import Trace
from pilotfish_agent.windows.ticks import TickRule
from pilotfish_core.errors import DataError
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
        given: the reference that the user gave.
        changes: moves whenever a gauge may.
        trace: keeps the evidence over time where it is set; `replay` draws it.
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
        self.trace: Trace | None = None
        self._task = task
        self._features = builder.Config() if features is None else features
        self._limit = max_features
        self.given = reference
        self.clock = TickClock(TickRule(config.tick) if rule is None else rule)
        self._repeats = Repeats()
        self._counters = gauges.Counters()
        self._requested: tuple[Tested, TableRequest] | None = None
        self._pending: list[Entry] = []
        self.happenings = Happenings()
        self.mix = Mix()
        self._cache = report.Cache()
        self._saved: Held | None = None
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
        self._look(batch, now)
        self.mix.add(batch.slices)
        features, predictions = self._repeats.fresh(batch)
        comparison = self.comparison  # rows that complete the first reference are not tested against it
        self._learn(chosen(batch, counting(batch, features, predictions)), now)
        self.clock.arrive(batch.rows, now)
        if comparison is None or PREDICTION not in comparison.streams.index:
            self._counters.unlisted_predictions(batch)
        if comparison is not None:
            comparison.open.stratum = self.clock.stratum
            comparison.add(batch, features, predictions)

    def happened(self, at: float, kind: HappeningKind, words: str) -> None:
        """Something happened to the model at ``at``, epoch seconds: an explanation may point at it."""
        self.happenings.add(at, kind, words)

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
        columns = columns_of(batch, self._task, streams.index)
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
        (streams, request), self._requested = self._requested, None
        held, self._saved = self._saved, None
        if self.comparison is not None and self.comparison.judge is not None:
            held = Held.of(self.comparison, self.comparison.judge, self.measured)
            self._emit(self.comparison.judge.release(held.going_on(stream_keys(streams, request))))
        if self.comparison is None or streams is not self.comparison.streams:
            self._switch_to(streams, held)
        assert self.comparison is not None
        terms = Terms(self.model, self.config.false_alarms.text, self.config.critical_effect, self.happenings, self.mix)
        self._emit(self.comparison.start(tables, request, terms, held, self.held_back))
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

    # -- changes while it runs

    def reload(
        self,
        reference: Reference | None,
        config: Config,
        *,
        task: str = "auto",
        features: builder.Config | None = None,
        max_features: int = MAX_FEATURES,
    ) -> str:
        """Takes up what was read anew, arguments as at the start.

        What is in force stays until tables of the new are there; then evidence restarts of the streams that are
        compared with something else, or under other terms, and goes on for the others.

        Returns:
            What changes, in words; empty when nothing that evidence depends on does.
        """
        given, self.given = self.given, reference
        self.config, self._task, self._limit = config, task, max_features
        self._features = builder.Config() if features is None else features
        self.clock.rule = TickRule(config.tick)
        if reference is None and given is None:
            return self._take_up(None if self.comparison is None else self.comparison.streams.reference)
        if reference is None:
            return self._learn_anew()
        if given is not None and given.id == reference.id and self.comparison is not None:
            return self._take_up(self.comparison.streams.reference)  # it may have been accepted since
        self.learner = None
        return self._take_up(reference)

    def accept(self, now: float) -> str:
        """Makes the current data the new normal; words of what was done.

        With a latched alarm the streams concerned take what was counted since they changed; else a provisional
        reference becomes final.

        Raises:
            DataError: too few rows, or nothing to accept.
        """
        if self.comparison is None:
            rows = 0 if self.learner is None else self.learner.rows
            todo = f"accept again after {max(accept.FEWEST - rows, 1)} more"
            raise DataError(f"{self.model}: too few rows", got=rows, expected=f"at least {accept.FEWEST}", todo=todo)
        if self.judge is None or self._requested is not None:
            raise DataError(f"{self.model}: tables are being built", todo="accept again in a minute")
        before, streams = self.comparison.streams.reference, self.comparison.streams
        counts = accept.changed(self.judge, streams)
        if not counts and self.learner is None:
            todo = "accept follows an alarm, or ends learning"
            raise DataError(f"{self.model}: nothing to accept, it looks like its reference", todo=todo)
        after = before if self.learner is None else self.learner.final(before, now)
        after = accept.accepted(before, counts, now) if counts else after
        self.learner = None
        for name in counts:
            self.phis.pop(name, None)
        if not counts:
            self._take_up(after)
            return f"learning has ended: reference {after.id} of {after.rows:,} rows is final"
        self._take_up(after)
        return accept.words(counts, before, after)

    # -- from one run to the next

    @property
    def target(self) -> Reference | None:
        """The reference in force, or the one that was given or accepted and will be once its tables are there."""
        if self._requested is not None and self.learner is None:
            return self._requested[0].reference
        return None if self.comparison is None else self.comparison.streams.reference

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
        saved = checkpoint.read(content, self) if not self.clock.rows and self.judge is None else None
        if saved is None or not self._restore(saved):
            return False
        self._kept = content
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
        streams = None if self.comparison is None else self.comparison.streams
        return log_threshold(budget_ticks(self.config, streams), max(0 if streams is None else len(streams.streams), 1))

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

    def _restore(self, saved: Saved) -> bool:
        """False where nothing of it fits."""
        id_ = None if self.given is None else self.given.id
        mine = self.comparison.streams.reference if self.comparison is not None else None
        learning = self.learner is not None and saved.given is None
        reference = saved.reference if saved.reference is not None and saved.given == id_ else mine
        if reference is None:
            return False
        streams = tested(reference, self._limit, self._features.ignore)
        kept = saved.held.kept(stream_keys(streams, table_request(streams, self.config, saved.phis)))
        if not kept and reference is mine:
            return False
        self.phis, self.last_run, self._saved = saved.phis, saved.last_run, saved.held
        if learning:
            self.learner = None if saved.learning is None else self._new_learner(reference, saved.learning)
        self._go_on(self._compare_with(streams), saved.held)
        if self.learner is not None:
            self.learner.load(saved.held.share("learn"))
        self.happenings.load(saved.happenings)
        self._request(streams)
        return True

    # -- inside: rows

    def _speaks(self, batch: ObservationBatch) -> bool:
        """Whether a batch says anything of any stream: failed calls have a latency and nothing else."""
        if batch.features or batch.prediction is not None or batch.probabilities is not None:
            return True
        return batch.latency is not None and self.comparison is not None and LATENCY in self.comparison.streams.index

    def _look(self, batch: ObservationBatch, at: float) -> None:
        """What a batch says beside its rows: its version, and streams that the reference lacks."""
        if batch.version is not None:
            self.version = batch.version
            self.happenings.version(batch.version, at)
        if self.comparison is not None and self.comparison.note(batch):
            self._note(self.comparison)

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
                self.mix.add({name: column[limits[s] : end] for name, column in batch.slices.items()})
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
        self.mix.close(tick.opened)
        if self.comparison is None:
            return
        if self.comparison.judge is not None:
            self.last_run = at
        counts, entries = self.comparison.close(tick, self.held_back)
        if self.trace is not None and self.comparison.judge is not None:
            self.trace.add(at, tick.row, self.comparison.judge)
        self.predicted.add(*self.comparison.open.columns())
        if self.measured is not None:
            levelled = self.comparison.streams.levelled(counts, tick.stratum)
            self.measured.add(counts if levelled is None else levelled)
        self._emit(entries)
        if self.learner is not None:
            latched = self.judge is not None and bool(self.judge.drifting())
            self._end_learning(self.learner.count(counts, tick, latched=latched))

    def _emit(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.kind in ("alarm", "notice"):
                self.alarms[entry.severity] += 1
        self._pending += entries

    def _taken(self) -> list[Entry]:
        entries, self._pending = self._pending, []
        return entries

    # -- inside: the reference

    def _new_learner(self, learnt: Reference | None = None, told: Mapping[str, Any] | None = None) -> Learner:
        return Learner(self.model, self._task, self._features, learnt, told, limit=self._limit)

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

    def _end_learning(self, final: Reference | None) -> None:
        """The reference is final, where it is there."""
        if final is not None:
            self.learner = None
            self._take_up(final)

    def _compare_with(self, streams: Tested) -> Comparison:
        """From now on rows are counted on the bins of ``streams``."""
        self.comparison = made = Comparison(streams, self._task)
        self.predicted.see(streams)
        self.measured = phi.unknown(streams, self.config.dependence, self.phis)
        self.clock.tell_apart(streams.strata)
        if self.learner is not None:
            self.learner.begin(streams)
        self._note(made)
        return made

    def _take_up(self, reference: Reference | None) -> str:
        """Asks for the tables of ``reference`` under the present terms, where they are not those in force."""
        if reference is None:
            return ""
        comparison, streams = self.comparison, tested(reference, self._limit, self._features.ignore)
        if comparison is None:
            self._request(self._compare_with(streams).streams)
            return f"compared with reference {reference.id} from now on"
        if comparison.same(streams, self._task):
            streams = comparison.streams
        keys = stream_keys(streams, table_request(streams, self.config, self.phis))
        pending = comparison.keys if self._requested is None else stream_keys(*self._requested)
        if keys == pending:
            return ""
        self._request(streams)
        return report.restarts(comparison, streams, keys)

    def _learn_anew(self) -> str:
        """The reference was taken away."""
        self.learner, self._requested, self._saved = self._new_learner(), None, None
        if self.comparison is not None:
            self._counters = self.counters()
            if self.judge is not None:
                self._emit(self.judge.release())
            self.clock.drop()
        self.comparison = self.measured = None
        self.changes += 1
        return "no reference is given any more: a new one is learnt"

    def _switch_to(self, streams: Tested, held: Held | None) -> None:
        """Another reference is ready: counters keep what they have, streams that are compared as before go on."""
        self._counters = self.counters()
        self.clock.drop()
        self._go_on(self._compare_with(streams), held)

    def _go_on(self, comparison: Comparison, held: Held | None) -> None:
        """Recent rows and measured dependence of the streams whose reference is the same."""
        if held is None:
            return
        held.window_into(comparison)
        if self.measured is not None:
            held.phi_into(self.measured, comparison)

    def _request(self, streams: Tested) -> None:
        """Asks for tables; a reference without streams needs none."""
        if streams.streams:
            self._requested = (streams, table_request(streams, self.config, self.phis))
        self.changes += 1

    def _note(self, comparison: Comparison) -> None:
        self.changes += 1
        self.notices = report.notices(comparison, self._limit)
