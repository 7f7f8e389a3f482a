"""What a DriftWatch tells: results, the status line, samples and notices. Reads the watch, changes its cache only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from pilotfish_agent.drift import distances, fleet, gauges, version_report
from pilotfish_agent.drift.comparison import Comparison
from pilotfish_agent.drift.effect import Effect, effect
from pilotfish_agent.drift.explain import shown
from pilotfish_agent.drift.judge import WHOLE, Judge
from pilotfish_agent.drift.latch import ALARM, NOTICE, Latch, result_effect
from pilotfish_agent.drift.layout import Floats, nominal
from pilotfish_agent.drift.learn import FIRST_ROWS, halts
from pilotfish_agent.drift.streams import MODEL
from pilotfish_agent.drift.whole import Unit
from pilotfish_agent.drift.window import MIN_ROWS
from pilotfish_core.metrics import Metric, Sample
from pilotfish_core.nouns import DriftResult, DriftState, ModelStatus, Severity, Verdict

if TYPE_CHECKING:
    from pilotfish_agent.drift.watch import DriftWatch

STATES: Final = ("drifting", "learning", "not_enough_data", "provisional", "stable")
EXPLAINED: Final = 5
"""Texts shown a model: as many as an alert names streams."""
SEVERITIES: Final = ("none", "info", "warning", "critical")


def state(watch: DriftWatch) -> DriftState:
    """The state of the model: the first that holds (docs/statistics.md, section 10)."""
    judge, comparison = watch.judge, watch.comparison
    if judge is not None and judge.drifting():
        return "drifting"
    if comparison is None:
        return "learning"
    if judge is None or _seen(watch, comparison) < MIN_ROWS:
        return "not_enough_data"
    return "provisional" if watch.learner is not None else "stable"


def _seen(watch: DriftWatch, comparison: Comparison) -> int:
    """Rows since the start, whatever they were compared with: a reference that was learnt has seen its own."""
    seen = max(comparison.seen, watch.clock.rows - watch.clock.open_rows)
    return seen + (0 if watch.learner is None else watch.learner.rows)


def words(watch: DriftWatch) -> str:
    """The state for people, with what it waits for."""
    judge, comparison = watch.judge, watch.comparison
    if comparison is None:
        rows = 0 if watch.learner is None else watch.learner.rows
        return f"learning: {rows:,} of {FIRST_ROWS:,} rows"
    parts: list[str] = [watch.state]
    if judge is not None and judge.drifting():
        parts = ["drifting: " + ", ".join(map(shown, judge.drifting()[:5]))]
    if watch.learner is not None:
        waits = ", waits until the drift ends or is accepted" if halts(judge) else ""
        parts.append(f"provisional: {watch.learner.words()}{waits}")
    if judge is None:
        parts.append("building tables")
    elif _seen(watch, comparison) < MIN_ROWS:
        parts.append(f"{_seen(watch, comparison):,} of {MIN_ROWS:,} rows")
    if watch.standing.measured is not None:
        parts.append(f"dependence: {watch.standing.measured.words()}")
    return "; ".join(p for p in parts if p != "provisional")


def effects(watch: DriftWatch) -> list[Effect | None]:
    """Effect of each stream now: over the counts since the change began while it drifts, else over the window."""
    if watch.comparison is None:
        return []
    streams, window, judge = watch.comparison.streams, watch.comparison.window, watch.judge
    rows = window.effective()
    out: list[Effect | None] = []
    for f, stream in enumerate(streams.streams):
        latched = judge is not None and (f, ALARM) in judge.latches
        found = judge.effect(f) if judge is not None and latched else None
        if found is None and rows[f] >= MIN_ROWS:
            counts = stream.counts.astype(np.float64)
            pi, phi = nominal(counts), 1.0
            if judge is not None:
                pi, phi = judge.tables[f].pi, judge.tables[f].phi
            found = effect(counts, np.asarray(streams.part(window.counts, f), np.float64), pi, phi, rows=float(rows[f]))
        out.append(found)
    return out


def results(watch: DriftWatch) -> tuple[DriftResult, ...]:
    """One result a stream of the reference, composite ones as one, then `@model`, then what the reference lacks."""
    if watch.comparison is None:
        return ()
    streams, window, judge = watch.comparison.streams, watch.comparison.window, watch.judge
    found, sizes = [], effects(watch)
    for unit in streams.units:
        if judge is None:
            found.append(_silent(watch, unit.name, "building tables"))
            continue
        f, seen = judge.lead(unit.members), int(window.seen[list(unit.members)].max())
        if seen < MIN_ROWS and not _latches(judge, f):
            found.append(_silent(watch, unit.name, f"{seen} of {MIN_ROWS} rows"))
        else:
            found.append(_result(watch, judge, unit, sizes[f]))
    if judge is not None and len(streams.streams) > 1:
        found.append(_result(watch, judge, Unit(MODEL, (WHOLE,)), None))
    found += [_silent(watch, name, "not_in_reference") for name in watch.comparison.unlisted]
    return tuple(found)


def _latches(judge: Judge, f: int) -> list[Latch]:
    """The latches of a stream, the graver level first."""
    return [judge.latches[f, level] for level in (ALARM, NOTICE) if (f, level) in judge.latches]


def _silent(watch: DriftWatch, name: str, reason: str) -> DriftResult:
    return DriftResult(
        model=watch.model,
        feature=name,
        verdict="not_enough_data",
        severity="none",
        evidence=0.0,
        threshold=watch.threshold,
        reason=reason,
    )


def _result(watch: DriftWatch, judge: Judge, unit: Unit, size: Effect | None) -> DriftResult:
    f = judge.lead(unit.members)
    latched = _latches(judge, f)
    first = latched[0] if latched else None
    verdict: Verdict = "stable" if first is None else "drifting" if first.level == ALARM else "changed"
    severity: Severity = "none" if first is None else first.severity
    value, lower, upper = result_effect(size)
    return DriftResult(
        model=watch.model,
        feature=unit.name,
        verdict=verdict,
        severity=severity,
        evidence=max(0.0, *map(judge.evidence, unit.members)),
        threshold=judge.model_threshold if f == WHOLE else judge.threshold,
        effect=value,
        effect_lower=lower,
        effect_upper=upper,
        began=None if first is None else first.entry.began,
        since_rows=None if first is None else judge.since_rows(first),
        explanation="" if first is None else first.entry.explanation,
        reason=watch.held_back if first is not None and first.level == ALARM else "",
        bins=() if first is None or f == WHOLE else tuple(m._asdict() for m in judge.most_moved(f, first.level)),
        moved_together=() if first is None else tuple(first.entry.together),
        hints=() if first is None else tuple(first.entry.hints),
    )


def status(watch: DriftWatch) -> ModelStatus:
    """The model's line of `status`."""
    reference = None if watch.comparison is None else watch.comparison.streams.reference
    return ModelStatus(
        model=watch.model,
        model_version=watch.version,
        state=watch.state,
        reference_id=None if reference is None else reference.id,
        reference_rows=0 if reference is None else reference.rows,
        window_rows=_window_rows(watch.comparison),
        severity="none" if watch.judge is None else watch.judge.severity,
        drifting=() if watch.judge is None else tuple(watch.judge.drifting()),
        words=watch.words,
        versions=version_report.document(watch.standing.versions),
    )


def _window_rows(comparison: Comparison | None) -> int:
    return 0 if comparison is None else int(comparison.window.rows().max(initial=0.0))


RECOUNT: Final = 5
"""Questions after which new rows are counted, however few they are."""


class Cache:
    """Samples are asked for every few seconds and change once a tick: gauges are computed when something moved.

    Rows of the open tick are binned to be counted, a few as dearly as hundreds: so not at each question, unless they
    are more than a tenth of all.
    """

    def __init__(self) -> None:
        self._gauges: tuple[object, tuple[Sample, ...]] = (None, ())
        self._counts: tuple[object, tuple[Sample, ...]] = (None, ())
        self._rows = self._asked = 0
        self._versions: tuple[object, tuple[Sample, ...]] = (None, ())
        self._bins: fleet.Bins | None = None

    def samples(self, watch: DriftWatch, make: gauges.Labels) -> tuple[Sample, ...]:
        """All samples of the model."""
        key = (watch.changes, make)
        if self._gauges[0] != key:
            self._gauges = (key, (*_gauges(watch, make), *self._of_fleet(watch, make)))
        new, self._asked = watch.clock.rows - self._rows, self._asked + 1
        if self._counts[0] != key or (new and (self._asked >= RECOUNT or new > self._rows // 10)):
            self._rows, self._asked = watch.clock.rows, 0
            rows = (*watch.standing.counters().samples(make), *watch.standing.predicted.samples(make))
            self._counts = (key, rows)
        compared = (watch.standing.versions.changes, make)
        if self._versions[0] != compared:
            self._versions = (compared, tuple(version_report.samples(watch.standing.versions, make.model)))
        return self._gauges[1] + self._versions[1] + self._counts[1]

    def recount(self) -> None:
        """The next question is answered to the row."""
        self._asked = RECOUNT

    def _of_fleet(self, watch: DriftWatch, make: gauges.Labels) -> Iterator[Sample]:
        """Bin counters after the last closed tick; a reference that is still learnt is no other replica's."""
        comparison = watch.comparison
        if comparison is None or watch.learner is not None:
            return
        if self._bins is None or self._bins.streams is not comparison.streams:
            self._bins = fleet.Bins(comparison.streams, watch.config.bins)
        if comparison.judge is not None:
            self._bins.drifting({f for f, level in comparison.judge.latches if level == ALARM})
        yield from self._bins.samples(make, comparison.closed)


def _gauges(watch: DriftWatch, make: gauges.Labels) -> Iterator[Sample]:
    judge = watch.judge
    yield from make.one_of(gauges.STATE, STATES, watch.state)
    yield from make.one_of(gauges.SEVERITY, SEVERITIES, "none" if judge is None else judge.severity)
    for severity, n in watch.alarms.items():
        yield make(gauges.ALARMS, float(n), severity)
    if watch.comparison is not None:
        yield from _of_reference(watch, watch.comparison, make)


def _of_reference(watch: DriftWatch, comparison: Comparison, make: gauges.Labels) -> Iterator[Sample]:
    streams, judge = comparison.streams, comparison.judge
    yield make(gauges.REFERENCE_ROWS, float(streams.reference.rows))
    yield make(gauges.REFERENCE_INFO, 1.0, streams.reference.id)
    yield make(gauges.WINDOW_ROWS, float(_window_rows(comparison)))
    yield make(gauges.THRESHOLD, watch.threshold)
    yield from gauges.finite(gauges.LAST_RUN, make, watch.standing.last_run)
    if judge is not None:
        yield make(gauges.DRIFTING, float(sum(name != MODEL for name in judge.drifting())))
        if len(streams.streams) > 1:
            yield make(gauges.EVIDENCE_RATIO, _ratio(judge.evidence(WHOLE), judge.model_threshold), MODEL)
        yield from gauges.per_stream(make, streams, _engine_columns(judge))
        yield from _explained(judge, make)
    sizes = [None if found is None else found.value for found in effects(watch)]
    yield from gauges.per_stream(make, streams, {gauges.EFFECT: sizes})
    for test, found in distances.of_window(streams, comparison.window, watch.config.distances):
        yield from gauges.per_stream(make, streams, {gauges.DISTANCE: found.tolist()}, test)


def _explained(judge: Judge, make: gauges.Labels) -> Iterator[Sample]:
    """The texts of what drifts, the strongest evidence first, for the annotations of alerts."""
    places = [f for f, level in judge.latches if level == ALARM]
    texts: dict[str, str] = {}
    for f in sorted(places, key=lambda f: -judge.evidence(f)):
        entry = judge.latches[f, ALARM].entry
        texts.setdefault(entry.feature, entry.explanation)
    for name, text in list(texts.items())[:EXPLAINED]:
        yield make(gauges.EXPLANATION, 1.0, name, text)


def _engine_columns(judge: Judge) -> dict[Metric, list[float | None]]:
    scores: Floats = judge.scores[ALARM]
    return {
        gauges.EVIDENCE_RATIO: [_ratio(s, judge.threshold) for s in scores.tolist()],
        gauges.MDE: [table.mde for table in judge.tables],
    }


def _ratio(evidence: float, threshold: float) -> float:
    return max(0.0, evidence / threshold)
