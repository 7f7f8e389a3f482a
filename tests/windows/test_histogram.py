"""Histograms that add."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.windows.histogram import FixedHistogram, LogHistogram

SECONDS = st.lists(st.floats(1e-6, 1e5), min_size=1, max_size=200)


@given(SECONDS, st.floats(0, 1))
def test_a_quantile_is_within_one_percent(values: list[float], q: float) -> None:
    """Against the order statistic of the same rank."""
    histogram = LogHistogram()
    histogram.add(values)
    rank = min(max(math.ceil(q * len(values)), 1), len(values))
    exact = sorted(values)[rank - 1]
    assert histogram.quantile(q) == pytest.approx(exact, rel=0.0101)


@given(SECONDS, SECONDS)
def test_merging_is_counting_together(a: list[float], b: list[float]) -> None:
    """Two senders' histograms add to the one of all values."""
    one, two, both = LogHistogram(), LogHistogram(), LogHistogram()
    one.add(a)
    two.add(b)
    both.add(a + b)
    one.merge(two)
    assert [one.quantile(q) for q in (0.0, 0.5, 0.99)] == [both.quantile(q) for q in (0.0, 0.5, 0.99)]
    assert one.count == both.count
    assert one.total == pytest.approx(both.total)


def test_what_lies_outside_stays_bounded() -> None:
    """Values beyond the ends share the outer buckets; what is not finite is counted apart and in no sum."""
    histogram = LogHistogram(1e-3, 10.0)
    assert histogram.add([0.0, -1.0, 1e9, math.nan, math.inf]) == 2
    assert histogram.count == 3
    assert histogram.quantile(0.0) == 1e-3
    assert histogram.quantile(1.0) == 10.0
    assert math.isfinite(histogram.total)


def test_an_empty_histogram_has_no_quantile() -> None:
    """NaN, not 0: no data is no value."""
    histogram = LogHistogram()
    assert math.isnan(histogram.quantile(0.5))
    histogram.add([1.0])
    histogram.zero()
    assert math.isnan(histogram.quantile(0.5))
    assert histogram.total == 0


def test_different_buckets_do_not_add() -> None:
    """Merging them would invent values."""
    with pytest.raises(ValueError, match="do not add"):
        LogHistogram().merge(LogHistogram(error=0.02))
    with pytest.raises(ValueError, match="do not add"):
        FixedHistogram([1.0]).merge(FixedHistogram([2.0]))
    with pytest.raises(ValueError, match="low"):
        LogHistogram(1.0, 0.5)


@given(st.lists(st.floats(), max_size=60))
def test_fixed_buckets_are_right_closed(values: list[float]) -> None:
    """``le``, as Prometheus has it; not cumulative; non-finite values are left out and reported."""
    bounds = [0.1, 1.0, 10.0]
    histogram = FixedHistogram(bounds)
    odd = histogram.add(np.array(values))
    finite = [x for x in values if math.isfinite(x)]
    assert odd == len(values) - len(finite)
    got = histogram.distribution()
    assert got.counts == tuple(
        sum(a < x <= b for x in finite) for a, b in zip([-math.inf, *bounds], [*bounds, math.inf], strict=True)
    )


def test_fixed_histograms_add() -> None:
    """Counts and sums of both."""
    one, two = FixedHistogram([1.0]), FixedHistogram([1.0])
    one.add([0.5, 2.0])
    two.add([0.25])
    one.merge(two)
    assert one.distribution().counts == (2, 1)
    assert one.distribution().total == 2.75
