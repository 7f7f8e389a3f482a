"""Calls per model: how many, how long, how they ended. Fed by capture, else by the latencies of the SDK."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pilotfish_core.metrics import Distribution, Metric, Sample
from pilotfish_core.nouns import ObservationBatch

# From a tree model's tens of microseconds to a long generation; the 1-2.5-5 steps that Prometheus' own clients use.
BUCKETS = (
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
REQUESTS = Metric(
    "pilotfish_requests_total",
    "counter",
    "Finished calls of the model; code is the HTTP status, the gRPC code, or none for a call inside the process. "
    "Divide the errors of pilotfish_request_duration_seconds_count by it for the error ratio.",
    ("target", "model", "model_version", "protocol", "operation", "code"),
)
DURATION = Metric(
    "pilotfish_request_duration_seconds",
    "histogram",
    "Time from the first byte of a request, or the call, to the last byte of its answer, by outcome.",
    ("target", "model", "model_version", "operation", "outcome"),
    BUCKETS,
)
METRICS = (REQUESTS, DURATION)
OUTCOMES = ("success", "client_error", "server_error", "aborted")
_EDGES = np.array(BUCKETS)


class RequestWindow:
    """Running totals of one model version.

    Args:
        target: name of the watched process tree.
        model: model name.
        version: model version, None when unknown.
    """

    def __init__(self, target: str, model: str, version: str | None) -> None:
        self._labels = (target, model, version)
        self._counts: dict[str, npt.NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}
        self._total = 0
        self.unusable = 0
        """Latencies that were negative or not finite: counted as requests, left out of the histogram's sum."""

    def add(self, batch: ObservationBatch) -> None:
        """Counts the rows of ``batch`` that carry a latency (seconds; NaN = the row is no call)."""
        if batch.latency is None:
            return
        seconds = np.asarray(batch.latency, np.float64)
        called = ~np.isnan(seconds)
        if batch.outcomes is None:
            self._add("success", seconds[called])
            return
        outcomes = np.array([o if o in OUTCOMES else "server_error" for o in batch.outcomes])
        for outcome in np.unique(outcomes[called]):
            self._add(str(outcome), seconds[called & (outcomes == outcome)])

    def _add(self, outcome: str, seconds: npt.NDArray[np.float64]) -> None:
        self._total += len(seconds)
        good = seconds[np.isfinite(seconds) & (seconds >= 0)]
        self.unusable += len(seconds) - len(good)
        # side="left": buckets are right-closed, as Prometheus' `le`
        counts = np.bincount(np.searchsorted(_EDGES, good, "left"), minlength=len(BUCKETS) + 1)
        self._counts[outcome] = self._counts.get(outcome, np.zeros(len(BUCKETS) + 1, np.int64)) + counts
        self._sums[outcome] = self._sums.get(outcome, 0.0) + float(good.sum())

    def samples(self) -> Iterator[Sample]:
        """The totals so far; nothing before the first call."""
        if not self._total:
            return
        yield Sample(REQUESTS, (*self._labels, "sdk", "predict", "none"), float(self._total))
        for outcome, counts in self._counts.items():
            value = Distribution(tuple(int(c) for c in counts), self._sums[outcome])
            yield Sample(DURATION, (*self._labels, "predict", outcome), value)
