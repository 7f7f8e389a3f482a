"""Calls per model: how many, how long, how they ended. Fed by capture, else by the latencies of the SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from pilotfish_agent.windows.histogram import FixedHistogram
from pilotfish_core.metrics import Metric, Sample
from pilotfish_core.nouns import ObservationBatch

# From a tree model's tens of microseconds to a long generation; the 1-2.5-5 steps that Prometheus' own clients use.
BUCKETS = (
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_MODEL = ("target", "model", "model_version")
REQUESTS = Metric(
    "pilotfish_requests_total",
    "counter",
    "Finished calls of the model; code is the HTTP status, the gRPC code, or none for a call inside the process or one "
    "without an answer. "
    "Divide the errors of pilotfish_request_duration_seconds_count by it for the error ratio.",
    (*_MODEL, "protocol", "operation", "code"),
)
DURATION = Metric(
    "pilotfish_request_duration_seconds",
    "histogram",
    "Time from the first byte of a request, or the call, to the last byte of its answer, by outcome.",
    (*_MODEL, "operation", "outcome"),
    BUCKETS,
)
IN_FLIGHT = Metric(
    "pilotfish_requests_in_flight",
    "gauge",
    "Requests without a complete answer now; growing while pilotfish_requests_total stands still, the model hangs.",
    ("target",),
)
REQUEST_BYTES = Metric(
    "pilotfish_request_bytes_total",
    "counter",
    "Bytes of requests on the connection, heads included; divide by pilotfish_requests_total for the mean size.",
    _MODEL,
)
RESPONSE_BYTES = Metric(
    "pilotfish_response_bytes_total",
    "counter",
    "Bytes of answers on the connection, heads included; divide by pilotfish_requests_total for the mean size.",
    _MODEL,
)
METRICS = (REQUESTS, DURATION, IN_FLIGHT, REQUEST_BYTES, RESPONSE_BYTES)
OUTCOMES = ("success", "client_error", "server_error", "aborted")
HTTP: Final = "http"
"""Protocol of what no decoder knows."""
OTHER: Final = "other"
OPERATIONS: Final = frozenset({
    "predict", "infer", "classify", "regress", "explain", "rank", "score", "embeddings", "chat", "completions",
    "responses", "generate", OTHER,
})  # fmt: skip
"""Values of the label `operation`; what a decoder of somebody else calls otherwise is other."""
MAX_KINDS: Final = 64
"""(protocol, operation, code) with series of their own in one window; a server has a handful. More are other."""


class RequestWindow:
    """Running totals of one model version.

    Args:
        target: name of the watched process tree.
        model: model name.
        version: model version, None when unknown.
    """

    def __init__(self, target: str, model: str, version: str | None) -> None:
        self._labels = (target, model, version)
        self._requests: dict[tuple[str, str, str], int] = {}
        self._durations: dict[tuple[str, str], FixedHistogram] = {}
        self._bytes: tuple[int, int] | None = None
        self.unusable = 0
        """Durations that were negative or not finite: counted as requests, left out of the histogram's sum."""

    def add(self, batch: ObservationBatch) -> None:
        """Counts the rows of an SDK's ``batch`` that carry a latency (seconds; NaN = the row is no call)."""
        if batch.latency is None:
            return
        seconds = np.asarray(batch.latency, np.float64)
        called = ~np.isnan(seconds)
        if not called.any():
            return
        self.count("sdk", "predict", "none", int(called.sum()))
        if batch.outcomes is None:
            self.took("predict", "success", seconds[called])
            return
        outcomes = np.array([o if o in OUTCOMES else "server_error" for o in batch.outcomes])
        for outcome in np.unique(outcomes[called]):
            self.took("predict", str(outcome), seconds[called & (outcomes == outcome)])

    def count(self, protocol: str, operation: str, code: str, calls: int) -> None:
        """``calls`` more of a kind."""
        kind = (protocol, operation if operation in OPERATIONS else OTHER, code)
        if kind not in self._requests and len(self._requests) >= MAX_KINDS:
            kind = (HTTP, OTHER, OTHER)
        self._requests[kind] = self._requests.get(kind, 0) + calls

    def took(self, operation: str, outcome: str, seconds: npt.NDArray[np.float64]) -> None:
        """Their durations, seconds."""
        key = (operation if operation in OPERATIONS else OTHER, outcome)
        good = seconds[np.isfinite(seconds) & (seconds >= 0)]
        self.unusable += len(seconds) - len(good)
        histogram = self._durations.get(key)
        if histogram is None:
            histogram = self._durations[key] = FixedHistogram(BUCKETS)
        histogram.add(good)

    def moved(self, request: int, response: int) -> None:
        """Their bytes."""
        before = self._bytes or (0, 0)
        self._bytes = (before[0] + request, before[1] + response)

    def samples(self) -> Iterator[Sample]:
        """The totals so far; nothing before the first call."""
        for kind, calls in self._requests.items():
            yield Sample(REQUESTS, (*self._labels, *kind), float(calls))
        for key, histogram in self._durations.items():
            yield Sample(DURATION, (*self._labels, *key), histogram.distribution())
        if self._bytes is not None:
            yield Sample(REQUEST_BYTES, self._labels, float(self._bytes[0]))
            yield Sample(RESPONSE_BYTES, self._labels, float(self._bytes[1]))
