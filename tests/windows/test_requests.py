"""Requests and latency from the SDK's rows."""

import numpy as np

from pilotfish_agent.windows import requests
from pilotfish_core.metrics import Distribution, Sample
from pilotfish_core.nouns import ObservationBatch


def batch(latency: list[float] | None, outcomes: list[str] | None = None) -> ObservationBatch:
    return ObservationBatch("m", "1", "sdk", rows=len(latency or [0]), latency=latency, outcomes=outcomes)


def by_metric(window: requests.RequestWindow) -> dict[tuple[str | None, ...], Sample]:
    return {(s.metric.name, *s.labels[3:]): s for s in window.samples()}


def test_no_call_no_series() -> None:
    """Before the first call there is nothing, not 0."""
    window = requests.RequestWindow("t", "m", None)
    window.add(batch(None))
    assert list(window.samples()) == []


def test_rows_are_counted_by_outcome() -> None:
    """Each outcome has its own histogram; requests count all."""
    window = requests.RequestWindow("t", "m", "1")
    window.add(batch([0.001, 0.0011, 7.0], ["success", "success", "server_error"]))
    window.add(batch([0.2]))
    found = by_metric(window)
    assert found["pilotfish_requests_total", "sdk", "predict", "none"].value == 4.0
    good = found["pilotfish_request_duration_seconds", "predict", "success"].value
    bad = found["pilotfish_request_duration_seconds", "predict", "server_error"].value
    assert isinstance(good, Distribution)
    assert isinstance(bad, Distribution)
    assert sum(good.counts) == 3
    assert good.counts[requests.BUCKETS.index(1e-3)] == 1, "le is inclusive"
    assert bad.counts[requests.BUCKETS.index(10.0)] == 1
    assert np.isclose(good.total, 0.2021)


def test_unusable_latencies_never_reach_the_sum() -> None:
    """Negative and infinite latencies are requests, but not part of the histogram; NaN is no call."""
    window = requests.RequestWindow("t", "m", None)
    window.add(batch([float("nan"), float("inf"), -1.0, 0.5]))
    found = by_metric(window)
    assert found["pilotfish_requests_total", "sdk", "predict", "none"].value == 3.0
    value = found["pilotfish_request_duration_seconds", "predict", "success"].value
    assert isinstance(value, Distribution)
    assert (sum(value.counts), value.total) == (1, 0.5)
    assert window.unusable == 2


def test_unknown_outcomes_are_server_errors() -> None:
    """The outcome label stays bounded whatever a sender says."""
    window = requests.RequestWindow("t", "m", None)
    window.add(batch([0.5, 0.5], ["odd", "success"]))
    outcomes = {s.labels[-1] for s in window.samples() if s.metric is requests.DURATION}
    assert outcomes == {"server_error", "success"}


def test_kinds_of_calls_are_bounded() -> None:
    """Operations are a closed list; codes without end share one series."""
    window = requests.RequestWindow("t", "m", None)
    window.count("http", "delete-user-17", "200", 2)
    for code in range(100, 1_000):
        window.count("http", "predict", str(code), 1)
    window.took("delete-user-17", "success", np.array([0.1]))
    found = {s.labels[3:]: s.value for s in window.samples() if s.metric is requests.REQUESTS}
    assert found["http", "other", "200"] == 2.0
    assert len(found) == requests.MAX_KINDS + 1
    assert sum(v for v in found.values() if isinstance(v, float)) == 902.0
    assert [s.labels[3] for s in window.samples() if s.metric is requests.DURATION] == ["other"]


def test_bytes_are_absent_until_there_were_some() -> None:
    """Calls inside the process have none."""
    window = requests.RequestWindow("t", "m", None)
    window.add(batch([0.1]))
    assert ("pilotfish_request_bytes_total",) not in by_metric(window)
    window.moved(10, 20)
    window.moved(1, 2)
    assert by_metric(window)["pilotfish_request_bytes_total",].value == 11.0
    assert by_metric(window)["pilotfish_response_bytes_total",].value == 22.0
