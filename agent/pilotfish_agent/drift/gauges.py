"""The metrics of drift and predictions, and the samples of one model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pilotfish_agent.drift.ingest import sane
from pilotfish_agent.drift.layout import Ints
from pilotfish_agent.drift.reference import FeatureReference
from pilotfish_agent.drift.tested import Tested
from pilotfish_agent.windows.binning import floats
from pilotfish_agent.windows.histogram import FixedHistogram
from pilotfish_core.metrics import Distribution, Metric, Sample
from pilotfish_core.nouns import ObservationBatch

_OF_MODEL: Final = ("model", "model_version")
_OF_FEATURE: Final = ("feature", *_OF_MODEL)
SCORE_BUCKETS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
VALUE_BUCKETS: Final = (0.0, 1.0)  # stands in the catalogue; the real ones are quantiles of the reference
MOST_BUCKETS: Final = 10
OTHER: Final = "other"


def _gauge(name: str, text: str, labels: tuple[str, ...] = _OF_MODEL) -> Metric:
    return Metric(f"pilotfish_{name}", "gauge", text, labels)


def _counter(name: str, text: str, labels: tuple[str, ...] = _OF_MODEL) -> Metric:
    return Metric(f"pilotfish_{name}", "counter", text, labels)


PREDICTIONS = _counter(
    "predictions_total",
    "Predictions, a request id once a tick; classes that the reference does not list are other.",
    ("class", *_OF_MODEL),
)
PREDICTION_SCORE = Metric(
    "pilotfish_prediction_score",
    "histogram",
    "Largest class probability of each prediction; a falling score often comes before falling accuracy.",
    _OF_MODEL,
    SCORE_BUCKETS,
)
PREDICTION_VALUE = Metric(
    "pilotfish_prediction_value",
    "histogram",
    "Predicted values; bucket edges are quantiles of the reference.",
    _OF_MODEL,
    VALUE_BUCKETS,
)
FEATURE_MISSING = _counter(
    "feature_missing_total", "Rows in which the feature was missing; rising means a broken source.", _OF_FEATURE
)
EVIDENCE_RATIO = _gauge(
    "drift_evidence_ratio",
    "Evidence of drift over the alarm line of the stream; at 1 and above it alarms, see /api/v1/drift.",
    _OF_FEATURE,
)
EFFECT = _gauge(
    "drift_effect",
    "How far the stream is from its reference, in chi distance: about the shift of the mean in standard deviations.",
    _OF_FEATURE,
)
MDE = _gauge(
    "drift_minimum_detectable_effect",
    "Smallest shift of the mean, in standard deviations, found within 20000 rows; give a larger reference to see less.",
    _OF_FEATURE,
)
DISTANCE = _gauge(
    "drift_distance",
    "Descriptive distance of the last 10000 rows from the reference, bias removed; it never alarms.",
    ("test", *_OF_FEATURE),
)
STATE = _gauge("drift_state", "State of the model's drift detection, exactly one at 1.", ("state", *_OF_MODEL))
DRIFTING = _gauge("drift_features_drifting", "Streams that drift now; their names are in /api/v1/drift.")
THRESHOLD = _gauge("drift_evidence_threshold_nats", "Evidence at which a stream alarms under the present budget.")
REFERENCE_ROWS = _gauge("drift_reference_rows", "Rows of the reference; few rows see only large shifts.")
WINDOW_ROWS = _gauge("drift_window_rows", "Weight of the rows in the window that the gauges describe.")
LAST_RUN = _gauge("drift_last_run_timestamp_seconds", "When drift was last computed; old means no traffic or trouble.")
SEVERITY = _gauge(
    "drift_alert_severity",
    "Worst severity of what is drifting now, exactly one at 1; page on warning and critical.",
    ("severity", *_OF_MODEL),
)
ALARMS = _counter(
    "drift_alarms_total", "Crossings of the notice (info) and alarm lines, once each.", ("severity", *_OF_MODEL)
)
EXPLANATION = Metric(
    "pilotfish_drift_explanation_info",
    "gauge",
    "What drifts, in words, of the 5 strongest streams while they drift; alerts carry it in their description.",
    ("feature", "explanation", *_OF_MODEL),
    sentence="explanation",
)
REFERENCE_INFO = _gauge(
    "reference_info", "The reference in force; all replicas must show the same id.", ("reference_id", *_OF_MODEL)
)

METRICS: Final = (
    PREDICTIONS,
    PREDICTION_SCORE,
    PREDICTION_VALUE,
    FEATURE_MISSING,
    EVIDENCE_RATIO,
    EFFECT,
    MDE,
    DISTANCE,
    STATE,
    DRIFTING,
    THRESHOLD,
    REFERENCE_ROWS,
    WINDOW_ROWS,
    LAST_RUN,
    SEVERITY,
    ALARMS,
    EXPLANATION,
    REFERENCE_INFO,
)


@dataclass(frozen=True, slots=True)
class Labels:
    """Makes samples of one model."""

    model: str
    version: str | None

    def __call__(self, metric: Metric, value: float | Distribution, *own: str | None) -> Sample:
        """A sample with the metric's own labels before those of the model."""
        return Sample(metric, (*own, self.model, self.version), value)

    def one_of(self, metric: Metric, words: Iterable[str], present: str) -> Iterator[Sample]:
        """A state: one series each, exactly one at 1."""
        for word in words:
            yield self(metric, float(word == present), word)


def finite(metric: Metric, make: Labels, value: float | None, *own: str) -> Iterator[Sample]:
    """The sample, unless there is no number: absent is not 0."""
    if value is not None and math.isfinite(value):
        yield make(metric, float(value), *own)


class Counters:
    """Predictions by class and missing values by feature; they only grow, whatever happens to the reference."""

    def __init__(self) -> None:
        self._classes: dict[str | None, int] = {}
        self._missing: dict[str, int] = {}

    def unlisted(self, label: str | None, rows: int) -> None:
        """Predictions that no reference has classes for: ``other`` for classes, None for values."""
        self._classes[label] = self._classes.get(label, 0) + rows

    def unlisted_predictions(self, batch: ObservationBatch) -> None:
        """The predictions of a batch, where the reference does not hold them or is not there yet."""
        column = batch.prediction
        if batch.probabilities is not None:
            self.unlisted(OTHER, batch.rows)
        elif isinstance(column, list | tuple):
            self.unlisted(OTHER, sum(value is not None for value in column))
        elif column is not None:
            self.unlisted(None, int((~np.isnan(np.asarray(sane(column, batch.rows)))).sum()))
        elif batch.source == "capture":  # an answer was seen, and what it says is no class and no number: a text
            self.unlisted(None, batch.rows)

    def add(self, streams: Tested, counts: Ints) -> None:
        """Counts (width,) of the tested streams."""
        missing = counts[streams.missing].tolist()  # at once: number by number it is most of an idle second
        for unit in streams.units:
            f = unit.members[0]  # of a composite stream all parts are missing together
            stream = streams.streams[f]
            if stream.name == "@prediction":
                for label, n in _by_class(stream, streams.part(counts, f)):
                    self.unlisted(label, n)
            elif not stream.name.startswith("@"):
                self._missing[unit.name] = self._missing.get(unit.name, 0) + missing[f]

    def copy(self) -> Counters:
        """An independent copy."""
        other = Counters()
        other._classes, other._missing = dict(self._classes), dict(self._missing)
        return other

    def samples(self, make: Labels) -> Iterator[Sample]:
        """The counts so far."""
        for label, n in self._classes.items():
            yield make(PREDICTIONS, float(n), label)
        for name, n in self._missing.items():
            yield make(FEATURE_MISSING, float(n), name)


def _by_class(stream: FeatureReference, part: Ints) -> Iterator[tuple[str | None, int]]:
    if stream.kind == "numeric":
        missing = stream.special["missing"]
        yield None, int(part.sum() - part[missing])
        return
    levels = stream.levels or ()
    yield from zip(levels, part.tolist(), strict=False)
    if other := int(part[len(levels)]):
        yield OTHER, other


class Predicted:
    """The histograms of scores and values; edges are fixed by the first reference that has them.

    Later references of a learning model keep the edges, so that the counters never go down.
    """

    def __init__(self) -> None:
        self._score: FixedHistogram | None = None
        self._value: tuple[Metric, FixedHistogram] | None = None

    def see(self, streams: Tested) -> None:
        """A reference came into force."""
        for stream in streams.streams:
            if stream.name == "@score" and self._score is None:
                self._score = FixedHistogram(SCORE_BUCKETS)
            if stream.name == "@prediction" and stream.kind == "numeric" and self._value is None:
                bounds = _bounds(stream)
                self._value = (replace(PREDICTION_VALUE, buckets=bounds), FixedHistogram(bounds))

    def add(self, scores: Iterable[object], values: Iterable[object]) -> None:
        """Columns of scores and of values."""
        if self._score is not None:
            for column in scores:
                self._score.add(floats(column))
        if self._value is not None:
            for column in values:
                self._value[1].add(floats(column))

    def samples(self, make: Labels) -> Iterator[Sample]:
        """The histograms so far."""
        if self._score is not None:
            yield make(PREDICTION_SCORE, self._score.distribution())
        if self._value is not None:
            yield make(self._value[0], self._value[1].distribution())


def _bounds(stream: FeatureReference) -> tuple[float, ...]:
    """At most ten of the stream's edges, evenly over its quantiles."""
    edges = np.asarray(stream.edges, np.float64)
    if not len(edges):
        return VALUE_BUCKETS
    places = np.unique(np.linspace(0, len(edges) - 1, min(MOST_BUCKETS, len(edges))).round().astype(int))
    return tuple(edges[places].tolist())


def per_stream(
    make: Labels, streams: Tested, columns: Mapping[Metric, Sequence[float | None]], *first: str
) -> Iterator[Sample]:
    """Samples of one gauge per stream, of a composite one by its worst part; streams without a number have none.

    ``first``: labels before the stream's.
    """
    told = streams.units
    for metric, values in columns.items():
        for unit in told:
            known = [v for v in (values[f] for f in unit.members) if v is not None and math.isfinite(v)]
            worst = (min if metric is MDE else max)(known, default=None)
            yield from finite(metric, make, worst, *first, unit.name)
