"""Golden vectors of everything that is computed once a stream: layout, dictionary, penalties, radius, phi, effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pilotfish_agent.drift import dictionary, layout
from pilotfish_agent.drift.dependence import Phi
from pilotfish_agent.drift.effect import effect
from pilotfish_agent.drift.penalty import _DirichletTails, chi_radius, penalties, stream_penalties
from pilotfish_agent.drift.tables import TableSpec, build, log_threshold
from tests.drift_math import golden
from tests.drift_math.golden import close

RULES = ("layout", "layout_ties")


def values(rule: str) -> layout.Floats:
    x: layout.Floats = ((np.arange(1, 1201, dtype=np.float64) * 0.6180339887498949) % 1.0) * 10.0
    return np.floor(x) if rule == "layout_ties" else x


@pytest.mark.parametrize("rule", RULES)
def test_edges_and_counts_of_a_reference(rule: str) -> None:
    """Edges are order statistics, ties collapse, every row is in one right-closed bin."""
    x, wanted = values(rule), golden.vectors()[rule]
    edges = layout.edges_from_reference(x)
    counts = np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1)
    assert close(edges, wanted["edges"], 0)
    assert counts.tolist() == wanted["counts"]


def test_masses() -> None:
    """Half a row is added to every bin."""
    counts, _ = golden.reference()
    assert close(layout.nominal(counts), golden.vectors()["nominal"]["pi"])


def test_hermite_scores() -> None:
    """Means of He1..He4 in the normal quantile cells."""
    counts, special = golden.reference()
    pi = layout.nominal(counts)[: special[0]]
    wanted = golden.vectors()["scores"]
    assert close(dictionary.normal_scores(pi / pi.sum()), [wanted[k] for k in ("h1", "h2", "h3", "h4")])


def test_dictionary() -> None:
    """Names, order, weights and log likelihood ratios of the alternatives."""
    counts, special = golden.reference()
    wanted, made = golden.vectors()["dictionary"], dictionary.numeric(layout.nominal(counts), special)
    assert list(made.names) == wanted["names"]
    assert close(made.log_weights, wanted["logw"])
    for name, row in wanted["rows"].items():
        assert close(made.log_ratios[made.names.index(name)], row), name


def test_tail_probabilities() -> None:
    """Saddlepoint tails of a Dirichlet mean, one unit added at the largest value."""
    counts, special = golden.reference()
    wanted, made = golden.vectors()["tail_prob"], dictionary.numeric(layout.nominal(counts), special)
    likelihoods = np.exp(made.log_ratios[[made.names.index(n) for n in wanted["alt"]]])
    centred = (likelihoods - np.array(wanted["t"])[:, None])[:, None, :]
    scale = np.sqrt(np.square(centred).mean(-1))
    with np.errstate(all="ignore"):
        tails = _DirichletTails(centred / scale[..., None], counts)
        zero = np.zeros(scale.shape)
        found, _ = tails.probability(tails.solve(zero, zero, tails.inside(zero), 1e-12))
    assert close(found[:, 0], wanted["p"])


@pytest.mark.parametrize(("key", "delta"), [("delta0", 0.0), ("delta01", 0.1)])
def test_penalties(key: str, delta: float) -> None:
    """Nats a row at both levels, over all bins and with one-against-all alternatives reduced to two bins."""
    counts, special = golden.reference()
    pi, wanted = layout.nominal(counts), golden.vectors()["penalty"]
    made = dictionary.numeric(pi, special)
    line, weights = wanted["logA"], made.log_weights
    plain = penalties(made.log_ratios, counts, pi, line, weights, delta)
    reduced = stream_penalties(made.log_ratios, made.names, counts, pi, special, line, weights, delta)
    assert close(plain, wanted[key])
    assert close(reduced, wanted[key])


def test_categorical_penalties() -> None:
    """A level that the reference never saw pays for its own shrinking too, or clean streams would alarm."""
    wanted, table = golden.vectors()["engine_cat"], golden.categorical()
    assert list(table.names) == wanted["names"]
    assert close(table.penalties[0], wanted["pen"])
    unseen = [table.penalties[0, j] for j, name in enumerate(table.names[:-4]) if name.startswith("cat4x0.2")]
    assert unseen[0] > 0


def test_chi_radius() -> None:
    """The reference's own error in chi distance."""
    wanted = golden.vectors()["chi_radius"]
    assert close(chi_radius(np.array(wanted["alpha"]), wanted["gamma"]), wanted["value"])


def test_tables_hold_the_line_radii_and_groups() -> None:
    """Threshold, plug-in radii and the coarse grouping of a stream."""
    wanted, table = golden.vectors()["engine"], golden.numeric()
    assert close(table.log_threshold, wanted["log_threshold"])
    assert close(log_threshold(golden.BUDGET, 100), wanted["log_threshold"])
    assert close(table.kappa_fine, wanted["kappa_fine"])
    assert close(table.kappa_coarse, wanted["kappa_coarse"])
    assert table.coarse_map.tolist() == wanted["coarse_map"]
    assert close(np.exp(table.log_weights).sum(), 1.0, 1e-12)


def test_phi() -> None:
    """Sums, numbers of differences and the value of the dependence measure."""
    wanted, counts = golden.vectors()["phi"], np.array(golden.vectors()["layout"]["counts"])
    directions = dictionary.hermite_directions(layout.nominal(counts))[:2]
    phi = Phi("x", counts, numeric=True, directions=directions)
    bins = np.arange(len(counts))
    for t in range(200):
        phi.add((bins * 7 + t * t) % 5)
    assert close(phi.sums.squares, wanted["ss"])
    assert phi.sums.differences.tolist() == wanted["n"]
    assert close(phi.value(), wanted["value"])


@pytest.mark.parametrize("index", [0, 1])
def test_effect(index: int) -> None:
    """The estimate is the golden one; the interval holds it."""
    wanted = golden.vectors()["effect"][index]
    counts, current = np.array(wanted["ref"]), np.array(wanted["cur"])
    found = effect(counts, current, layout.nominal(counts), wanted["phi"])
    assert found is not None
    assert close(found.value, wanted["value"][0])
    assert 0 <= found.lower <= found.value < found.upper


def test_the_interval_of_an_effect_covers_it() -> None:
    """Of 400 samples of a population at a distance of .3, 90 to 99 % have it in their 95 % interval."""
    rng = np.random.default_rng(8)
    pi = np.full(16, 1 / 16)
    moved = pi + 0.3 / 16 * np.where(np.arange(16) % 2, 1, -1)
    drawn = [(rng.multinomial(5000, pi), rng.multinomial(1000, moved)) for _ in range(400)]
    found = [effect(m.astype(float), n.astype(float), layout.nominal(m)) for m, n in drawn]
    assert 0.9 < np.mean([one is not None and one.lower <= 0.3 <= one.upper for one in found]) < 0.99


def test_no_rows_have_no_effect() -> None:
    """Neither side may be empty; an unchanged side gives an effect near 0 with room above it."""
    some, none = np.array([50.0, 50, 100]), np.zeros(3)
    assert effect(some, none, layout.nominal(some)) is None
    assert effect(none, some, layout.nominal(some)) is None
    same = effect(some, some, layout.nominal(some))
    assert same is not None
    assert same.value == same.lower == 0
    assert 0 < same.upper < 0.5


@pytest.mark.parametrize("level", ["notice", "alarm"])
def test_minimum_detectable_effect_is_what_the_penalties_leave(level: str) -> None:
    """Small references see little: the golden shift of both levels, for 1,200 and for 120,000 rows."""
    small, big = golden.vectors()["minimum_detectable_effect"], golden.vectors()["minimum_detectable_effect_m1e5"]
    spec = TableSpec("big", "numeric", np.array(big["ref"]), tuple(big["special"]))
    large = build([spec], big["ticks"], big["F"])[0]
    assert close(_detectable(golden.numeric(), level), small[level])
    assert close(_detectable(large, level), big[level])
    assert close(large.mde, big["alarm"])


def _detectable(table: Any, level: str) -> float | None:
    from pilotfish_agent.drift.effect import minimum_detectable_effect

    penalties_of = table.penalties[0 if level == "notice" else 1]
    return minimum_detectable_effect(
        table.pi, table.special, table.scores[0], table.names, penalties_of, table.log_threshold
    )
