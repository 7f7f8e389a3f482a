"""Real data: in no order, where every alarm is false, and in its true order, where known columns must be found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from benchmarks.bars import Result, bar, versions
from benchmarks.peers import datasets, product
from benchmarks.peers.datasets import Frame
from benchmarks.reference import nulls
from pilotfish_agent.drift.effect import effect
from pilotfish_agent.drift.layout import nominal
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.reference import FeatureReference

SEED: Final = 9504
FRAMES: Final[dict[str, Callable[[], Frame]]] = {
    "flights": datasets.flights,
    "employment": datasets.employment,
    "housing": datasets.housing,
    "digits": datasets.digits,
    "breast_cancer": datasets.breast_cancer,
}
MOST_REFERENCE, MOST_LIVE = 20_000, 40_000
BLIND_RUNS: Final = 3
"""Of the mutant."""
LARGE: Final = 0.2
EXPECTED: Final = {
    "flights": {"flight"},
    "employment": {"AGEP"},
    "housing": {"Longitude", "Latitude", "HouseAge", "y_pred"},
    "digits": set[str](),
}
"""Columns whose last quarter differs from the first by d > .2 with 95 % confidence: `offline`, 2026-11-30."""


def permuted(runs: int) -> Result:
    """Each run of each data set at a budget of one alarm; notices and alarms both count."""
    found, blind = dict.fromkeys(FRAMES, 0), 0
    for number, (name, load) in enumerate(FRAMES.items()):
        for run in range(runs):
            frame = load().permuted(np.random.default_rng([SEED, number, run]))
            before, after = product.split(frame, min(frame.rows // 2, MOST_REFERENCE), MOST_LIVE)
            reference, budget = product.built(before), product.within(max(1, after.rows // product.ROWS))
            tables = product.tables_of(reference, budget)
            found[name] += len({(e.feature, e.ts) for e in product.entries(reference, tables, after, budget)})
            if run < BLIND_RUNS:
                careless = [nulls.without_penalty(t) for t in tables]
                blind += len({(e.feature, e.ts) for e in product.entries(reference, careless, after, budget)})
    most, most_blind = nulls.limit(runs * len(FRAMES)), nulls.limit(BLIND_RUNS * len(FRAMES))
    text = f"{sum(found.values())} false alarms in {runs * len(FRAMES)} permutations, budget one each (limit {most}): "
    text += ", ".join(f"{name} {n}" for name, n in found.items())
    text += f"; mutant lam = 0: {blind} in {BLIND_RUNS * len(FRAMES)} (limit {most_blind}); seed {SEED}"
    return Result(text, sum(found.values()) <= most and blind > most_blind, versions("numpy", "pandas", "scikit-learn"))


@bar("real data, permuted, short", "within the 99 % Poisson limit of the budget")
def permuted_short() -> Result:
    return permuted(3)


@bar("real data, permuted 20 times", "within the 99 % Poisson limit of the budget", slow=True)
def permuted_long() -> Result:
    return permuted(20)


# -- in true order


def quarters(frame: Frame) -> tuple[Frame, Frame, Frame]:
    """The first quarter, the last one, and all but the first."""
    size = frame.rows // 4
    return frame.part(slice(0, size)), frame.part(slice(frame.rows - size, None)), frame.part(slice(size, None))


def counted(stream: FeatureReference, frame: Frame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Rows of a frame in the bins of a reference."""
    if stream.levels is not None:
        texts = frame.categorical.get(stream.name)
        words = [f"{x:.0f}" for x in frame.numeric[stream.name]] if texts is None else texts.tolist()
        place = {level: i for i, level in enumerate(stream.levels)}
        return np.bincount([place.get(w, len(place)) for w in words], minlength=len(place) + 2).astype(np.float64)
    values, edges = frame.numeric[stream.name], np.asarray(stream.edges)
    bins = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="left"))
    return np.bincount(bins, minlength=len(edges) + 4).astype(np.float64)


def offline(frame: Frame) -> dict[str, float]:
    """The lower end of each column's effect between the first and the last quarter, dependence included."""
    first, last, _ = quarters(frame)
    found = {}
    for stream in product.built(first).features:
        before = np.asarray(stream.counts, np.float64)
        measured = effect(before, counted(stream, last), nominal(before), stream.phi)
        found[stream.name] = 0.0 if measured is None else measured.lower
    return found


@bar("real data, true order: columns that move by d > .2", "recall >= .9 at level alarm")
def true_order() -> Result:
    """The first quarter is the reference, the rest runs at the default settings."""
    wanted, hit, words, stale = 0, 0, [], []
    for name, expected in EXPECTED.items():
        frame = FRAMES[name]()
        if {k for k, lower in offline(frame).items() if lower > LARGE} != expected:
            stale.append(name)
        first, _, rest = quarters(frame)
        reference, settings = product.built(first), Config()
        said = product.entries(reference, product.tables_of(reference, settings), rest, settings)
        found = {e.feature: e.row for e in reversed(said) if e.kind == "alarm"}
        wanted += len(expected)
        hit += len(expected & found.keys())
        listed = [f"{k} after {found[k]:,} rows" if k in found else f"{k} NOT" for k in sorted(expected)]
        others = [f"{k} {found[k]:,}" for k in found if k not in expected and k != "@model"]
        words.append(f"{name}: {', '.join(listed) or 'none listed'}; also {', '.join(others) or 'none'}")
    text = f"{hit} of {wanted} found ({' | '.join(words)})"
    if stale:
        text += f"; the list differs from what the offline test now says of {', '.join(stale)}"
    return Result(text, hit >= 0.9 * wanted and not stale, versions("numpy", "pandas", "scikit-learn"))
