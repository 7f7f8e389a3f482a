"""The tests of `drift/tests/`: one contract for all, an oracle for each."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from scipy.spatial.distance import jensenshannon

from pilotfish_agent.drift.layout import Floats, edges_from_reference
from pilotfish_agent.drift.tests import (
    anderson_darling,
    chi2,
    classifier,
    cramer_von_mises,
    energy,
    g,
    hellinger,
    js,
    ks,
    ks_binned,
    mann_whitney,
    mmd,
    psi,
    total_variation,
    wasserstein,
)
from pilotfish_agent.drift.tests._part import PACKAGE, Bins, Side, TestResult, bins_of, without_pvalue
from pilotfish_core import registry
from tests.drift_math.golden import vectors

PARTS = dict(registry.parts(PACKAGE))
each_part = pytest.mark.parametrize("name", PARTS)
Compare = Callable[[Side, Side], TestResult]


def side(values: Floats, edges: Floats) -> Side:
    """Of finite numbers, on bins with the three special ones."""
    regular = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1).astype(np.float64)
    return Side(np.append(regular, [0.0, 0, 0]), len(regular), np.sort(values))


def pair(module: ModuleType, a: Floats, b: Floats) -> tuple[Side, Side]:
    """Two sides of what the part takes: numbers (n,) or vectors (n, d)."""
    if module.KINDS == ("embedding",):
        return Side(np.array([float(len(a))]), 0, a), Side(np.array([float(len(b))]), 0, b)
    edges = edges_from_reference(a)
    return side(a, edges), side(b, edges)


def values(module: ModuleType, rng: np.random.Generator, rows: int, shift: float = 0.0) -> Floats:
    size = (rows, 4) if module.KINDS == ("embedding",) else (rows,)
    return rng.normal(shift, 1.0, size)


def golden() -> tuple[Side, Side, dict[str, float]]:
    found = vectors()["classical"]
    return Side(np.array(found["ref"]), 5), Side(np.array(found["cur"]), 5), found


def told(value: float | None) -> float:
    """A number that must be there."""
    assert value is not None
    return value


# ------------------------------------------------------------------ the contract


@each_part
def test_a_part_says_what_it_is(name: str) -> None:
    """Its name is the file's; kinds and needs are known ones; distances have no p-value."""
    module = PARTS[name]
    assert name == module.NAME
    assert set(module.KINDS) <= {"numeric", "categorical", "embedding"}
    assert module.NEEDS in ("counts", "values")
    assert (module.__doc__ or "").endswith(".")


@each_part
def test_the_same_data_differ_in_nothing(name: str) -> None:
    """No p-value below .01 (vectors are drawn), no distance above .02."""
    module, rng = PARTS[name], np.random.default_rng(1)
    a = values(module, rng, 2_000)
    found = module.compare(*pair(module, a, a))
    assert found.test == name
    assert found.pvalue is not None or found.statistic < 0.02
    assert found.pvalue is None or found.pvalue > (0.01 if module.KINDS == ("embedding",) else 0.2)


@each_part
def test_a_shift_is_found(name: str) -> None:
    """Half a standard deviation in 2,000 rows: tiny p, or a distance twice that of equal data."""
    module, rng = PARTS[name], np.random.default_rng(2)
    a, same, moved = values(module, rng, 4_000), values(module, rng, 2_000), values(module, rng, 2_000, 0.5)
    found, null = module.compare(*pair(module, a, moved)), module.compare(*pair(module, a, same))
    if found.pvalue is not None:
        assert found.pvalue <= 0.002 < null.pvalue
    else:
        assert found.statistic > 2 * null.statistic


@each_part
def test_nothing_gives_no_number_and_says_why(name: str) -> None:
    """Empty sides on either hand."""
    module = PARTS[name]
    full, none = pair(
        module, values(module, np.random.default_rng(3), 300), values(module, np.random.default_rng(3), 300)[:0]
    )
    for one in (module.compare(full, none), module.compare(none, full), module.compare(none, none)):
        assert (one.statistic, one.pvalue) == (None, None)
        assert one.reason


@each_part
def test_constants_are_safe(name: str) -> None:
    """One value only on both sides, and on one: a number or none with the reason, never NaN, no warning."""
    module = PARTS[name]
    one = np.ones((300, 4) if module.KINDS == ("embedding",) else 300)
    for found in (module.compare(*pair(module, one, one)), module.compare(*pair(module, one, one + 1))):
        assert found.reason if found.statistic is None else math.isfinite(found.statistic)
        assert found.pvalue is None or 0 <= found.pvalue <= 1


@pytest.mark.parametrize("name", [n for n, m in PARTS.items() if m.KINDS != ("embedding",)])
@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=200, max_size=260),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
)
def test_any_numbers_are_safe(name: str, a: list[float], b: list[float]) -> None:
    """Ties, few values, huge ones."""
    module = PARTS[name]
    found = module.compare(*pair(module, np.array(a), np.array(b)))
    assert found.reason if found.statistic is None else math.isfinite(found.statistic)
    assert found.pvalue is None or 0 <= found.pvalue <= 1


@pytest.mark.parametrize("name", [n for n, m in PARTS.items() if n not in ("mmd", "classifier", "anderson_darling")])
def test_the_level_is_as_stated(name: str) -> None:
    """Of 300 equal pairs p is below .05 in 5 %, within the 99.9 % limits of the binomial; of binned KS in fewer."""
    module, rng = PARTS[name], np.random.default_rng(4)
    results = [module.compare(*pair(module, values(module, rng, 600), values(module, rng, 300))) for _ in range(300)]
    if results[0].pvalue is None:
        return
    below = sum(r.pvalue < 0.05 for r in results)
    low, high = stats.binom.interval(0.999, 300, 0.05)
    assert (0 if name in ("ks_binned", "ks") else low) <= below <= high


@pytest.mark.parametrize("name", ["mmd", "classifier"])
def test_the_level_of_vectors_is_as_stated(name: str) -> None:
    """Of 60 equal pairs p is below .1 in at most the 99.9 % limit."""
    module, rng = PARTS[name], np.random.default_rng(5)
    results = [module.compare(*pair(module, values(module, rng, 80), values(module, rng, 80))) for _ in range(60)]
    assert sum(r.pvalue < 0.1 for r in results) <= stats.binom.ppf(0.999, 60, 0.1)


def test_many_streams_at_once_are_the_streams_one_by_one() -> None:
    """Distances of streams side by side, of different kinds and sizes."""
    rng = np.random.default_rng(6)
    pairs = [
        (Side(rng.poisson(80, k).astype(float), o), Side(rng.poisson(40, k).astype(float), o))
        for k, o in ((5, 5), (36, 33), (4, 0), (12, 9))
    ]
    reference, current = (np.concatenate([p[i].counts for p in pairs]) for i in (0, 1))
    ordered = np.concatenate([np.arange(len(p[0].counts)) < p[0].ordered for p in pairs])
    starts = np.array([0, 5, 41, 45])
    rows = np.array([p[1].counts.sum() for p in pairs])
    whole = Bins(reference, current, starts, rows, ordered)
    for module in PARTS.values():
        if hasattr(module, "distances"):
            alone = [float(module.distances(bins_of(*p))[0]) for p in pairs]
            np.testing.assert_allclose(module.distances(whole), alone, rtol=1e-12, err_msg=module.NAME)


def test_decayed_counts_that_are_worth_as_many_rows_give_the_same() -> None:
    """Counts times a half with the same effective rows."""
    a, b = Side(np.array([100.0, 200, 300, 250, 150]), 5), Side(np.array([300.0, 500, 600, 400, 200]), 5)
    whole = bins_of(a, b)
    half = Bins(whole.reference, whole.current / 2, whole.starts, whole.rows, whole.ordered)
    for module in PARTS.values():
        if hasattr(module, "distances"):
            np.testing.assert_allclose(module.distances(half), module.distances(whole), rtol=1e-12)


def test_rows_that_follow_one_another_have_no_p() -> None:
    """A distance stays as it is."""
    assert without_pvalue(TestResult("ks", 0.2, 0.01), "why") == TestResult("ks", 0.2, None, "why")
    assert without_pvalue(TestResult("energy", 0.2), "why") == TestResult("energy", 0.2)


# ------------------------------------------------------------------ the oracles


def test_golden_distances_and_tests() -> None:
    """PSI, Jensen-Shannon, KS over bins, G, chi-square, Hellinger: to 1e-9."""
    r, c, found = golden()
    pairs = [(psi, "psi"), (js, "jsd"), (ks_binned, "ks_bins"), (g, "G"), (chi2, "chi2")]
    for module, name in pairs:
        assert math.isclose(told(module.compare(r, c).statistic), found[name], rel_tol=1e-9), name
    assert math.isclose(told(hellinger.compare(r, c).statistic) ** 2, found["hellinger2"], rel_tol=1e-9)
    assert math.isclose(told(g.compare(r, c).pvalue), found["G_p"], rel_tol=1e-9)


def test_g_and_chi2_are_scipys() -> None:
    """On tables without an empty column, on which scipy's raises; an empty bin more changes nothing."""
    r, c, _ = golden()
    for module, power in ((g, "log-likelihood"), (chi2, "pearson")):
        oracle = stats.chi2_contingency(np.array([r.counts, c.counts]), correction=False, lambda_=power)
        for more in ((), (0.0, 0.0)):
            found = module.compare(*(Side(np.append(s.counts, more)) for s in (r, c)))
            assert math.isclose(told(found.statistic), oracle.statistic, rel_tol=1e-9)
            assert math.isclose(told(found.pvalue), oracle.pvalue, rel_tol=1e-9)


def test_jensen_shannon_is_scipys_less_the_bias() -> None:
    """Scipy returns the root; disjoint sides come to ln 2, whose root is .832555."""
    r, c, _ = golden()
    p, q = ((s.counts + 0.5) / (s.counts.sum() + 2.5) for s in (r, c))
    bias = 4 * (1 / r.counts.sum() + 1 / c.counts.sum()) / 8
    assert math.isclose(told(js.compare(r, c).statistic), jensenshannon(p, q) ** 2 - bias, rel_tol=1e-9)
    apart = js.compare(Side(np.array([1e9, 0.0])), Side(np.array([0.0, 1e9])))
    assert math.isclose(math.sqrt(told(apart.statistic)), 0.832555, abs_tol=1e-6)


def test_debiased_distances_are_0_on_average_of_nothing() -> None:
    """Mean over 400 null pairs within 20 % of the bias that was taken off (floored at 0, so a little above)."""
    rng, mass = np.random.default_rng(7), np.full(20, 0.05)
    bias = 19 * (1 / 5_000 + 1 / 1_000)
    for module, one in ((psi, bias), (js, bias / 8)):
        found = [
            told(module.compare(*(Side(rng.multinomial(n, mass).astype(float)) for n in (5_000, 1_000))).statistic)
            for _ in range(400)
        ]
        assert np.mean(found) < 0.2 * one


def test_psi_needs_15_rows_a_bin() -> None:
    """With fewer it is mostly its bias: absent, with the reason."""
    r, c = Side(np.full(10, 100.0)), Side(np.full(10, 14.0))
    assert psi.compare(r, c) == TestResult("psi", None, None, "fewer than 15 rows a bin")


def test_total_variation_and_hellinger_by_hand() -> None:
    """Disjoint 1, half moved .5."""
    a, half, apart = (Side(np.array(x)) for x in ([10.0, 0, 0], [5.0, 5, 0], [0.0, 0, 7]))
    assert [total_variation.compare(a, x).statistic for x in (half, apart)] == [0.5, 1.0]
    assert hellinger.compare(a, apart).statistic == 1.0
    assert math.isclose(told(hellinger.compare(a, half).statistic), math.sqrt(1 - math.sqrt(0.5)))


def test_binned_ks_is_below_the_exact_one_and_its_upper_bound_above() -> None:
    """On 50 draws; published values of the exact one beside it."""
    rng = np.random.default_rng(8)
    for _ in range(50):
        a, b = rng.normal(size=1_500), rng.normal(0.2, 1.2, size=400)
        sides = pair(ks_binned, a, b)
        f, h = (np.cumsum(s.counts[: s.ordered]) / s.counts.sum() for s in sides)
        bound = max((f - np.append(0, h[:-1])).max(), (h - np.append(0, f[:-1])).max())
        exact = stats.ks_2samp(a, b).statistic
        assert ks_binned.compare(*sides).statistic <= exact + 1e-12 <= bound + 2e-12
    assert math.isclose(stats.kstwo.isf(0.05, 10), 0.40925, abs_tol=5e-6)


def test_exact_ks_has_the_published_value() -> None:
    """n = m = 10, D = .6: p = .052448."""
    found = ks.compare(Side(np.array([10.0]), 1, np.arange(10.0)), Side(np.array([10.0]), 1, np.arange(10.0) + 5.5))
    assert math.isclose(told(found.statistic), 0.6)
    assert math.isclose(told(found.pvalue), 0.052448, abs_tol=5e-7)


def test_tests_on_values_are_scipys() -> None:
    """Statistics and p-values in the units that the parts say."""
    rng = np.random.default_rng(9)
    a, b = np.sort(rng.normal(size=2_500)), np.sort(rng.normal(0.06, 1.1, 900))
    sd = a.std()
    expected: dict[ModuleType, tuple[float, float | None]] = {
        ks: (o := stats.ks_2samp(a, b, method="asymp")) and (o.statistic, o.pvalue),
        cramer_von_mises: ((o := stats.cramervonmises_2samp(a, b)).statistic, o.pvalue),
        mann_whitney: ((o := stats.mannwhitneyu(b, a)).statistic / (2_500 * 900), o.pvalue),
        anderson_darling: ((o := stats.anderson_ksamp([a, b], variant="midrank")).statistic, o.pvalue),
        wasserstein: (stats.wasserstein_distance(a, b) / sd, None),
        energy: (stats.energy_distance(a, b) / sd**0.5, None),
    }
    for module, (statistic, pvalue) in expected.items():
        found = module.compare(*pair(module, a, b))
        assert math.isclose(told(found.statistic), statistic, rel_tol=1e-9), module.NAME
        assert (found.pvalue is None) == (pvalue is None)
        assert pvalue is None or math.isclose(told(found.pvalue), pvalue, rel_tol=1e-9), module.NAME


def test_mmd_is_the_sum_over_all_pairs() -> None:
    """The unbiased estimate by two loops, the kernel's width the median squared distance."""
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=(12, 3)), rng.normal(0.8, 1, (9, 3))
    both = np.concatenate((a, b))
    squared = [((x - y) ** 2).sum() for i, x in enumerate(both) for y in both[:i]]

    def k(x: Floats, y: Floats) -> float:
        return math.exp(-((x - y) ** 2).sum() / np.median(squared))

    within = [np.mean([k(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (a, b)]
    across = np.mean([k(x, y) for x in a for y in b])
    found = mmd.compare(Side(np.ones(1), 0, a), Side(np.ones(1), 0, b))
    assert math.isclose(told(found.statistic), sum(within) - 2 * across, rel_tol=1e-9)


def test_the_classifiers_area_is_mann_whitneys() -> None:
    """Scores with ties."""
    rng = np.random.default_rng(11)
    a, b = rng.integers(0, 8, 60).astype(float), rng.integers(1, 9, 50).astype(float)
    area, pvalue = classifier._area(a, b)
    oracle = stats.mannwhitneyu(b, a, alternative="greater", use_continuity=False, method="asymptotic")
    assert math.isclose(area, oracle.statistic / (60 * 50))
    assert math.isclose(pvalue, oracle.pvalue, rel_tol=1e-9)


def test_vectors_that_differ_in_spread_only_are_told_apart() -> None:
    """What a linear classifier of the values alone cannot see."""
    rng = np.random.default_rng(12)
    a, b = rng.normal(size=(800, 5)), rng.normal(0, 1.4, (800, 5))
    for module in (mmd, classifier):
        assert module.compare(Side(np.ones(1), 0, a), Side(np.ones(1), 0, b)).pvalue < 0.01


def test_more_dimensions_than_rows() -> None:
    """The classifier solves the smaller system; both give the same weights."""
    rng = np.random.default_rng(13)
    x, y = rng.normal(size=(30, 40)), np.repeat([-1.0, 1.0], 15)
    wide = classifier._ridge(x, y)
    each = np.full(30, 1 / 15)
    centred = (x - (each[:, None] * x).sum(0) / 2) * np.sqrt(each)[:, None]
    primal = np.linalg.solve(centred.T @ centred + classifier.RIDGE * np.eye(40), centred.T @ (y * np.sqrt(each)))
    np.testing.assert_allclose(wide, primal, rtol=1e-7, atol=1e-10)


def test_kolmogorovs_limit_is_scipys() -> None:
    """P of the binned test."""
    r, c, found = golden()
    n = r.counts.sum() * c.counts.sum() / (r.counts.sum() + c.counts.sum())
    assert math.isclose(told(ks_binned.compare(r, c).pvalue), special.kolmogorov(math.sqrt(n) * found["ks_bins"]))
