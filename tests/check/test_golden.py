"""The numbers of one batch against the golden vectors, and properties that must hold for any counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pilotfish_agent.drift import two_sample
from pilotfish_agent.drift.check import rejected, standardised
from pilotfish_agent.drift.effect import exact_effect
from pilotfish_agent.drift.layout import Floats, nominal
from tests.drift_math.golden import close, vectors

LEVELS = (("p_notice", 0.0), ("p_alarm", 0.1))
COUNTS = st.lists(st.integers(0, 5_000), min_size=2, max_size=12)


def floats(values: Sequence[float]) -> Floats:
    return np.array(values, np.float64)


@pytest.mark.parametrize("case", range(len(vectors()["check"])))
def test_numeric_streams_give_the_golden_p_values(case: int) -> None:
    """Both sets, to 1e-9 of the value."""
    golden = vectors()["check"][case]
    for name, least in LEVELS:
        found = two_sample.numeric(floats(golden["ref"]), floats(golden["cur"]), least, golden["ns"])
        assert math.isclose(found.pvalue, golden[name], rel_tol=1e-9)


@pytest.mark.parametrize("case", range(len(vectors()["check_cat"])))
def test_categorical_streams_give_the_golden_p_values(case: int) -> None:
    """Both sets, to 1e-9 of the value."""
    golden = vectors()["check_cat"][case]
    for name, least in LEVELS:
        found = two_sample.categorical(floats(golden["ref"]), floats(golden["cur"]), least)
        assert math.isclose(found.pvalue, golden[name], rel_tol=1e-9)


@pytest.mark.parametrize("case", range(len(vectors()["effect"])))
def test_the_exact_interval_is_the_golden_one(case: int) -> None:
    """Effect and both ends, to 1e-9."""
    golden = vectors()["effect"][case]
    reference = floats(golden["ref"])
    found = exact_effect(reference, floats(golden["cur"]), nominal(reference), golden["phi"], level=golden["level"])
    assert close(found, golden["value"])


def test_g_is_scipys() -> None:
    """The golden G and its p, and scipy's on the same table."""
    golden = vectors()["classical"]
    r, c = floats(golden["ref"]), floats(golden["cur"])
    found = two_sample.g_test(r, c)
    assert close(found, (golden["G"], golden["G_p"]))
    oracle = stats.chi2_contingency(np.array([r, c]), correction=False, lambda_="log-likelihood")
    assert close(found, (oracle.statistic, oracle.pvalue))


@settings(max_examples=80, deadline=None)
@given(COUNTS, COUNTS, st.sampled_from([0.0, 0.1]), st.sampled_from([1.0, 1.953125, 40.0]))
def test_a_p_value_is_never_nan(left: list[int], right: list[int], least: float, phi: float) -> None:
    """Empty bins, one bin, special bins only, counts divided by phi: a number from 0 to 1 all the same."""
    size = min(len(left), len(right))
    r, c = floats(left[:size]) / phi, floats(right[:size]) / phi
    if not r.sum() or not c.sum():
        return
    found = [two_sample.categorical(r, c, least)]
    if size >= 4:
        found.append(two_sample.numeric(r, c, least))
    assert all(0 <= one.pvalue <= 1 for one in found)


@settings(max_examples=40, deadline=None)
@given(COUNTS)
def test_the_same_shares_are_no_change(counts: list[int]) -> None:
    """A batch that is the reference itself."""
    c = floats(counts)
    if c.sum():
        assert two_sample.categorical(c, c).pvalue > 0.99
        assert two_sample.numeric(np.append(c, [3, 0, 0]), np.append(c, [3, 0, 0])).pvalue > 0.99


def test_rare_levels_use_the_exact_binomial() -> None:
    """Twice the smaller tail, as scipy's binomial has it, times the number of tests."""
    r, c = floats([9_000, 1_000, 2]), floats([900, 100, 6])
    found = two_sample.categorical(r, c)
    share = c.sum() / (r.sum() + c.sum())
    assert found.winner == "cat2"
    assert math.isclose(found.pvalue, 4 * 2 * stats.binom.sf(5, 8, share), rel_tol=1e-9)


def test_rejected_is_benjamini_and_hochberg() -> None:
    """The example of their paper: 4 of 15 at .05; scipy's adjustment agrees; nothing gives nothing."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590]
    p.append(1.0)
    assert rejected(p, 0.05).sum() == 4
    assert (rejected(p, 0.05) == (stats.false_discovery_control(p) <= 0.05)).all()
    assert rejected([], 0.05).shape == (0,)


def test_a_batch_of_a_few_hours_meets_those_hours() -> None:
    """Reference counts are mixed as the batch's strata are, and are no more rows than these strata have."""
    reference = np.array([[90, 10], [10, 90]])
    only_first = standardised(reference, np.array([[45, 5], [0, 0]]))
    assert only_first.tolist() == [90, 10]
    both = standardised(reference, np.array([[30, 20], [20, 30]]))
    assert both.tolist() == [100, 100]
