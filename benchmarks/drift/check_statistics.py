"""What `check` promises of one batch: false ones at their level, power, and intervals that hold the true effect.

Every reference is drawn anew; 32 bins of its own quantiles and 1 % missing values, or twenty levels. Seeds are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import kolmogorov, ndtr

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.drift.effect import exact_effect
from pilotfish_agent.drift.layout import EPS, Floats, edges_from_reference, nominal
from pilotfish_agent.drift.tests import js, ks
from pilotfish_agent.drift.tests._part import Side
from pilotfish_agent.drift.two_sample import categorical, numeric

SEEDS = {"null": 9481, "power": 9482, "coverage": 9483}
STREAMS, LEVEL = 20, 0.05
EACH = LEVEL / STREAMS
"""Level of one stream where twenty are checked."""
GATE = 0.1
MISSING = 0.01
DRAWS = 2_000

Cdf = Callable[[Floats], Floats]


class Stream(NamedTuple):
    """A reference as counted, and its true masses."""

    counts: Floats
    masses: Floats
    edges: Floats


def reference(rng: np.random.Generator, rows: int, share: float = MISSING) -> Stream:
    """Normal values, and this share of missing ones."""
    values = rng.standard_normal(rows - (missing := int(rng.binomial(rows, share))))
    edges = edges_from_reference(values)
    regular = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    return Stream(np.append(regular, [missing, 0.0, 0.0]), masses_of(edges, ndtr, share), edges)


def masses_of(edges: Floats, cdf: Cdf, share: float = MISSING) -> Floats:
    """True shares of the bins where finite values have this distribution function."""
    regular = np.diff(np.concatenate(([0.0], cdf(edges), [1.0])))
    return np.append(regular * (1 - share), [share, 0.0, 0.0])


def batch(rng: np.random.Generator, rows: int, masses: Floats) -> Floats:
    return rng.multinomial(rows, masses / masses.sum()).astype(np.float64)


def levels() -> Floats:
    """Twenty by Zipf's law, none unseen, .5 % missing."""
    zipf = 1 / np.arange(1.0, 21)
    return np.append(zipf / zipf.sum() * 0.995, [0.0, 0.005])


MOST_BEYOND = 3  # of levels in batches of 300 rows: some 1 in 12,000, a thirtieth of the level
MUTANTS = ("reference for the truth", "without the gate")
CELLS = [(m, n) for m in (1_000, 10_000) for n in (300, 1_000, 5_000)]


@bar(
    "check, nothing changed: 20 streams at 5 %, references of 1,000 and 10,000, batches of 300 to 5,000",
    "<= 44 of 12,000 (99 % Poisson limit of .0025), also at .08 sd; beyond .1: 0 numeric, <= 3 levels; mutants more",
)
def null() -> Result:
    rng = np.random.default_rng(SEEDS["null"])
    found = dict.fromkeys(("numeric", "categorical", "numeric beyond", "categorical beyond", "moved", *MUTANTS), 0)
    mass = levels()
    for m, n in CELLS:
        for _ in range(DRAWS):
            stream = reference(rng, m)
            c, moved = (batch(rng, n, masses_of(stream.edges, cdf)) for cdf in (ndtr, lambda e: ndtr(e - 0.08)))
            a, b = (batch(rng, rows, mass) for rows in (m, n))
            found["numeric"] += numeric(stream.counts, c).pvalue < EACH
            found["categorical"] += categorical(a, b).pvalue < EACH
            found["numeric beyond"] += numeric(stream.counts, c, GATE).pvalue < EACH
            found["categorical beyond"] += categorical(a, b, GATE).pvalue < EACH
            found["moved"] += numeric(stream.counts, moved, GATE).pvalue < EACH
            found["reference for the truth"] += numeric(stream.counts * 1e4, c).pvalue < EACH
            found["without the gate"] += numeric(stream.counts, moved).pvalue < EACH
    most = int(stats.poisson.ppf(0.99, EACH * DRAWS * len(CELLS)))
    words = (
        f"any change {found['numeric']} numeric, {found['categorical']} categorical; beyond {GATE:g}: "
        f"{found['numeric beyond']} numeric, {found['categorical beyond']} categorical, {found['moved']} when moved by "
        f".08 sd; mutants {', '.join(f'{m}: {found[m]:,}' for m in MUTANTS)}; seed {SEEDS['null']}"
    )
    holds = max(found[name] for name in ("numeric", "categorical", "moved")) <= most
    holds = holds and not found["numeric beyond"] and found["categorical beyond"] <= MOST_BEYOND
    sharp = min(found[name] for name in MUTANTS) > most
    return Result(words, holds and sharp, versions("numpy", "scipy"))


SHIFTS: dict[str, tuple[Cdf, float, float]] = {
    "mean .25": (lambda x: ndtr(x - 0.25), 0.98, 0.80),
    "sd 1.25": (lambda x: ndtr(x / 1.25), 0.98, 0.98),
    "bimodal": (lambda x: (ndtr((x - 0.8) / 0.6) + ndtr((x + 0.8) / 0.6)) / 2, 0.98, 0.45),
    "mean .1": (lambda x: ndtr(x - 0.1), 0.28, 0.0),
}
"""Distribution function, least power for any change and beyond .1."""
KS_DRAWS = 100


def ks_power(rng: np.random.Generator, cdf: Cdf) -> float:
    """Of the exact two-sample test at the same level, on values drawn by inversion."""
    grid = np.linspace(-6, 6, 4_001)
    hits = 0
    for _ in range(KS_DRAWS):
        a, b = rng.standard_normal(10_000), np.interp(rng.random(1_000), cdf(grid), grid)
        both = np.concatenate((a, b))
        apart = [np.searchsorted(np.sort(x), both, "right") / len(x) for x in (a, b)]
        d = float(np.abs(apart[0] - apart[1]).max())
        hits += kolmogorov(math.sqrt(10_000 * 1_000 / 11_000) * d) < EACH
    return hits / KS_DRAWS


@bar(
    "check, power: reference of 10,000, batch of 1,000, 20 streams at 5 % (any change / beyond .1)",
    "mean .25 >= .98/.80, sd 1.25 >= .98/.98, bimodal >= .98/.45, mean .1 >= .28/0",
)
def power() -> Result:
    rng = np.random.default_rng(SEEDS["power"])
    words, holds = [], True
    for name, (cdf, any_, beyond) in SHIFTS.items():
        hits = np.zeros(2)
        draws = 500
        for _ in range(draws):
            stream = reference(rng, 10_000, 0.0)
            c = batch(rng, 1_000, masses_of(stream.edges, cdf, 0.0))
            hits += [numeric(stream.counts, c, least).pvalue < EACH for least in (0.0, GATE)]
        share = hits / draws
        holds = holds and share[0] >= any_ and (share[1] >= beyond if beyond else share[1] == 0)
        words.append(f"{name}: {share[0]:.2f}/{share[1]:.2f} (KS {ks_power(rng, cdf):.2f})")
    return Result(f"{', '.join(words)}; seed {SEEDS['power']}", bool(holds), versions("numpy", "scipy"))


DISTANCES = (0.0, 0.1, 0.25, 0.8, 1.0, 1.3)


def distance(p: Floats, q: Floats) -> float:
    """The true effect."""
    return math.sqrt(float(((q - p) ** 2 / np.maximum(p, EPS)).sum()))


def moved_by(edges: Floats, wanted: float) -> Floats:
    """Masses after the shift of the mean whose effect is the wanted one."""
    p = masses_of(edges, ndtr)
    low, high = 0.0, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        if distance(p, masses_of(edges, lambda e, x=middle: ndtr(e - x))) < wanted:  # type: ignore[misc]
            low = middle
        else:
            high = middle
    return masses_of(edges, lambda e: ndtr(e - low))


def covered(rng: np.random.Generator, m: int, n: int, wanted: float, draws: int) -> Iterator[bool]:
    """Whether the interval holds the true effect, over references and batches."""
    for _ in range(draws):
        stream = reference(rng, m)
        q = moved_by(stream.edges, wanted) if wanted else stream.masses
        found = exact_effect(stream.counts, batch(rng, n, q), nominal(stream.counts))
        assert found is not None
        yield found.lower <= distance(stream.masses, q) <= found.upper


@bar(
    "check, effect: coverage of the 95 % interval over effects of 0 to 1.3, m = 1,000 and 10,000, n = 300 to 5,000",
    "at least .92 in each of 36 cells, at most .98 over the cells of an effect",
)
def coverage() -> Result:
    rng, draws = np.random.default_rng(SEEDS["coverage"]), 500
    shares = {
        (wanted, m, n): float(np.mean(list(covered(rng, m, n, wanted, draws))))
        for wanted in DISTANCES
        for m, n in CELLS
    }
    (low, least), (high, most) = (f(shares.items(), key=lambda item: item[1]) for f in (min, max))
    means = {wanted: float(np.mean([s for (w, _, _), s in shares.items() if w == wanted])) for wanted in DISTANCES}
    words = (
        f"{', '.join(f'{mean:.3f} at {wanted:g}' for wanted, mean in means.items())}; least {least:.3f} at {low}, most "
        f"{most:.3f} at {high} (effect, m, n; {draws} draws each); seed {SEEDS['coverage']}"
    )
    holds = least >= 0.92 and max(means.values()) <= 0.98
    return Result(words, holds, versions("numpy", "scipy"))


@bar(
    "check, published values of its tests",
    "KS n = 10 at 5 % .40925; n = m = 10, D = .6: p .052448; disjoint JS .832555",
)
def published() -> Result:
    critical = float(stats.kstwo.isf(0.05, 10))
    ten = Side(np.array([10.0]), 1, np.arange(10.0)), Side(np.array([10.0]), 1, np.arange(10.0) + 5.5)
    exact = ks.compare(*ten)
    apart = js.compare(Side(np.array([1e12, 0.0])), Side(np.array([0.0, 1e12]))).statistic or 0.0
    found = (critical, exact.pvalue or 0.0, math.sqrt(apart))
    holds = all(abs(x - y) <= 5e-6 for x, y in zip(found, (0.40925, 0.052448, 0.832555), strict=True))
    return Result(", ".join(f"{x:.6f}" for x in found), holds, versions("numpy", "scipy"))
