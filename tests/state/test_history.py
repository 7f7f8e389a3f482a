"""The past: decimated without lies, bounded, the least interesting left out, whole after a restart."""

from __future__ import annotations

import gc
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.state import files
from pilotfish_agent.state.history import History, quantile
from pilotfish_agent.state.rings import MINUTES, POINTS, Rings
from pilotfish_core.metrics import Distribution, Metric, Sample
from pilotfish_core.nouns import DriftResult, Snapshot
from tests.standard import DURATION, standard_snapshot

THREADS = Metric("pilotfish_process_threads", "gauge", "Threads.", ("target",))
CALLS = Metric("pilotfish_requests_total", "counter", "Calls.", ("target",))
EVIDENCE = Metric("pilotfish_drift_evidence_ratio", "gauge", "Evidence.", ("feature", "model", "model_version"))
START = 1_700_000_000.0  # 20 s into a minute


def snapshot(at: float, *samples: Sample, evidence: dict[str, float] | None = None) -> Snapshot:
    """Of one moment; ``evidence`` is over the threshold, a stream each."""
    streams = evidence or {}
    drift = tuple(DriftResult("m", f, "stable", "none", 16 * e, 16.0) for f, e in streams.items())
    told = tuple(Sample(EVIDENCE, (f, "m", None), e) for f, e in streams.items())
    return replace(standard_snapshot(), at=at, samples=(*samples, *told), drift=drift)


def fed(values: dict[int, float], metric: Metric = THREADS, **how: float) -> History:
    """A history of one series: a value at each point, by its number since the start."""
    history = History(**how)  # type: ignore[arg-type]
    for number, value in values.items():
        history.add(snapshot(START + 10 * number + 0.3, Sample(metric, ("a",), value)))
    return history


def points(history: History, seconds: float = 3600) -> list[float | None]:
    """The only series, NaN as None."""
    return [None if math.isnan(v) else v for v in history.past(None, seconds).values[0].tolist()]


numbers = st.floats(-1e6, 1e6, width=32) | st.just(math.nan)


@given(st.lists(st.tuples(st.integers(1, 400), numbers), min_size=1, max_size=60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_decimation_keeps_order_bounds_and_gaps(steps: list[tuple[int, float]], averaged: bool) -> None:
    """Points are those that were put, gaps are gaps; of each minute least <= last <= most, from its points alone."""
    rings, truth, slot = Rings(), {}, 170_000_000
    rings.grow()
    flags = np.full(rings.rows, averaged)
    for ahead, value in steps:
        slot += ahead
        truth[slot] = value
        rings.put(slot, np.full(rings.rows, value), flags)
    at, values = rings.points([3], 3600)
    assert list(np.diff(at)) == [10] * (len(at) - 1)
    assert at[-1] == slot * 10
    expected = [truth.get(int(t) // 10, math.nan) for t in at]
    np.testing.assert_allclose(values[0], expected, rtol=1e-6)
    minutes = rings.minutes([3], 86_400)
    assert len(minutes.at) <= MINUTES
    for t, least, most, last in zip(minutes.at, minutes.least[0], minutes.most[0], minutes.last[0], strict=True):
        inside = [v for s, v in sorted(truth.items()) if s // 6 == t // 60 and not math.isnan(v)]
        if not inside:
            assert np.isnan([least, most, last]).all()
            continue
        assert least <= last <= most
        np.testing.assert_allclose([least, most], [min(inside), max(inside)], rtol=1e-6)
        if not averaged:
            assert last == pytest.approx(inside[-1], rel=1e-6)


def test_a_gauge_is_kept_as_it_is_one_point_each_ten_seconds() -> None:
    """Snapshots between two points change nothing; a pause is a gap."""
    history = fed({0: 1.0, 1: 2.0, 5: 7.0})
    history.add(snapshot(START + 58, Sample(THREADS, ("a",), 99.0)))
    assert points(history) == [1.0, 2.0, None, None, None, 7.0]


def test_a_counter_is_kept_as_its_rate() -> None:
    """Exactly, however large it is; nothing is known of a first point, of a restart of the counter, and of a gap."""
    history = fed({0: 1e12, 1: 1e12 + 20, 2: 1e12 + 25, 3: 5.0, 4: 15.0}, CALLS)
    assert points(history) == [None, 2.0, 0.5, None, 1.0]
    (series,) = history.series()
    assert (series.metric, series.kind, series.unit) == ("pilotfish_requests_total", "rate", "/s")


def test_the_last_of_a_minute_is_the_mean_of_a_rate() -> None:
    """The minute's calls over its length, not what its end happened to be."""
    history = fed({4: 0.0, 5: 0.0, 6: 60.0, 7: 60.0, 8: 60.0, 9: 60.0}, CALLS)  # point 4 begins a minute
    minutes = history.past(None, 3600).minutes
    assert minutes.last[0].tolist() == pytest.approx([1.2])
    assert (minutes.least[0].tolist(), minutes.most[0].tolist()) == ([0.0], [6.0])


def test_a_histogram_is_kept_as_quantiles_of_the_interval() -> None:
    """What came since the last point, as Prometheus computes it; no calls: nothing to say."""
    labels = ("t", "m", None, "predict", "success")
    history = History()
    for number, counts in enumerate([(5, 0, 0, 0), (5, 10, 0, 0), (5, 10, 0, 0)]):
        history.add(snapshot(START + 10 * number, Sample(DURATION, labels, Distribution(counts, 1.0))))
    low, high = history.series()
    assert [s.labels["quantile"] for s in (low, high)] == ["0.5", "0.99"]
    past = history.past([low.id, high.id], 3600)
    assert past.values[0].tolist() == pytest.approx([math.nan, 0.0275, math.nan], nan_ok=True)
    assert past.values[1].tolist() == pytest.approx([math.nan, 0.04955, math.nan], nan_ok=True)


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any), st.floats(0.01, 1))
def test_a_quantile_lies_within_the_bounds(counts: list[int], q: float) -> None:
    """Whatever the counts; the last bucket has no upper bound but that of the one before."""
    assert 0 <= quantile(q, counts, (0.005, 0.05, 0.5)) <= 0.5


def test_a_clock_set_back_forgets_what_lies_ahead() -> None:
    """The past before it stays; nothing stands at a time that has not come yet."""
    history = fed({0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0})
    history.add(snapshot(START + 10, Sample(THREADS, ("a",), 9.0)))
    assert points(history) == [1.0, 9.0]


def test_a_long_interval_has_no_gaps_of_its_own() -> None:
    """Sampled each 30 s, a value stands for the points since the last; a longer pause is still a gap."""
    assert points(fed({0: 1.0, 3: 2.0, 7: 3.0}, interval=30.0)) == [1.0, 2.0, 2.0, 2.0, None, None, None, 3.0]


def test_above_the_bound_the_least_evidence_is_left_out_counted_and_named() -> None:
    """What is of the model as a whole stays; a stream that begins to drift takes a quiet one's place."""
    history = History(most=4)
    calm = {f"f{i}": i / 100 for i in range(6)} | {"@model": 0.0}
    history.add(snapshot(START, Sample(THREADS, ("a",), 1.0), evidence=calm))
    assert {s.labels.get("feature") for s in history.series()} == {None, "@model", "f5", "f4"}
    assert (history.left_out, history.left_out_names) == (4, ("f3", "f2", "f1", "f0"))
    history.add(snapshot(START + 40, Sample(THREADS, ("a",), 1.0), evidence=calm | {"f0": 3.0}))
    assert {s.labels.get("feature") for s in history.series()} == {None, "@model", "f5", "f0"}
    row = next(s.id for s in history.series() if s.labels.get("feature") == "f0")
    past = history.past([row], 3600)
    assert past.values[0].tolist()[-1] == 3.0
    assert np.isnan(past.values[0][:-1]).all()
    assert "f4" in history.left_out_names


def test_streams_that_are_gone_make_room() -> None:
    """Another version of the model: its streams take the places of those that are there no more."""
    history = History(most=2)
    history.add(snapshot(START, evidence={"a": 0.5, "b": 0.5}))
    history.add(snapshot(START + 40, evidence={"c": 0.0, "d": 0.0}))
    assert {s.labels["feature"] for s in history.series()} == {"c", "d"}


def test_a_full_history_is_at_most_8_mib() -> None:
    """440 series with their names, a day of them."""
    days = [snapshot(START + 40 + 60 * n, evidence={f"feature_{i:04d}": 0.1 for i in range(1000)}) for n in range(3)]
    tracemalloc.start()
    try:
        history = History()
        for one in days:
            history.add(one)
        gc.collect()
        total = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(history.series()) == 440
    assert history.left_out == 560
    assert total <= 8 << 20


# -- over restarts


def saved(history: History, path: Path) -> str:
    """Written as the pipeline does."""
    files.write_atomic(str(path), *history.checkpoint())
    return str(path)


def test_a_restart_goes_on_where_the_last_run_ended(tmp_path: Path) -> None:
    """The same series by the same ids, a gap between; a rate begins anew."""
    before = fed({0: 0.0, 1: 10.0}, CALLS)
    after = History()
    content = files.read_checked(saved(before, tmp_path / "h"))
    assert content is not None
    after.restore(content)
    assert after.series() == before.series()
    for number, value in ((4, 5.0), (5, 25.0)):
        after.add(snapshot(START + 10 * number, Sample(CALLS, ("a",), value)))
    assert points(after) == [None, 1.0, None, None, None, 2.0]


@given(st.binary(max_size=200))
def test_what_is_no_history_is_refused(content: bytes) -> None:
    """ValueError, and what was there stays."""
    history = fed({0: 1.0})
    with pytest.raises(ValueError, match=r".+"):
        history.restore(content)
    assert points(history) == [1.0]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_an_altered_head_is_refused_or_harmless(data: st.DataObject) -> None:
    """Past a checksum that holds: no crash now, and none at the next point."""
    raw = bytearray(b"".join(bytes(p) for p in fed({0: 0.0, 1: 10.0}, CALLS).checkpoint()))
    length = 4 + int.from_bytes(raw[:4], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, length - 1))] = data.draw(st.integers(32, 126))
    history = History()
    try:
        history.restore(bytes(raw))
    except ValueError:
        return
    history.add(snapshot(START + 30, Sample(CALLS, ("a",), 5.0)))
    history.past(None, 86_400)


def test_the_standard_snapshot_is_taken_as_it_comes() -> None:
    """Doubles, NaN, infinities, strange names: kept or a gap, never a failure."""
    history = History()
    for number in range(3):
        history.add(replace(standard_snapshot(), at=START + 10 * number))
    past = history.past(None, 3600)
    assert len(past.ids) == len(set(past.ids)) > 5
    assert not np.isinf(past.values).any()
    assert POINTS * 10 == 3600


def test_what_a_series_added_up_to_lately() -> None:
    """A counter by its rise, a gauge by its sum over time; of the seconds in which it is known; others have none."""
    history = History()
    for number in range(7):
        calls = Sample(CALLS, ("m",), 20.0 * number)
        history.add(snapshot(START + 10 * number, calls, Sample(THREADS, ("m",), 100.0)))
    found = history.rises([CALLS.name, THREADS.name, DURATION.name, "pilotfish_nothing"], 40)
    assert found[CALLS.name] == [({"target": "m"}, 80.0, 40.0)]
    assert found[THREADS.name] == [({"target": "m"}, 4000.0, 40.0)]
    assert found[DURATION.name] == found["pilotfish_nothing"] == []
    assert history.rises([CALLS.name], 300)[CALLS.name] == [({"target": "m"}, 120.0, 60.0)]  # the first point is a gap
