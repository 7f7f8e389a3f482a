"""Has one batch changed against its reference? p-values of one stream, from counts (docs/statistics.md, section 14).

Two-sided score tests in few directions (mean, spread, skew, tails; single special bins or levels), the smallest p times
their number; for "any change at all" a G-test beside them. Needs scipy.special, so it runs in commands and `pf-worker`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, chdtrc, ndtr

from pilotfish_agent.drift.dictionary import hermite_directions
from pilotfish_agent.drift.layout import EPS, Floats, Ints, nominal, unit_directions

FEWEST: Final = 5.0
"""Expected rows of a bin below which a normal approximation is not to be trusted."""
GROUPS: Final = 16
"""Groups of regular bins that the G-test compares."""
DIRECTIONS: Final = ("loc", "scale", "skew", "kurt")
SHAPE: Final = "plug"


class Outcome(NamedTuple):
    """One stream's answer.

    Attributes:
        pvalue: corrected for the number of tests; never NaN.
        statistic: of the test with the smallest p: standard errors beyond the minimum effect, or G.
        winner: which test that is, named as an alternative of the dictionary: loc+, scale-, sp0, cat3, plug (G).
    """

    pvalue: float
    statistic: float
    winner: str


class _One(NamedTuple):
    pvalue: float
    statistic: float
    name: str


def both(kind: str, reference: Floats, current: Floats, min_effect: float) -> tuple[Outcome, Outcome]:
    """(any change, a change beyond the minimum effect) of a stream; arguments as of `numeric`."""
    test = numeric if kind == "numeric" else categorical
    return test(reference, current), test(reference, current, min_effect)


def numeric(reference: Floats, current: Floats, min_effect: float = 0.0, special: int = 3) -> Outcome:
    """A numeric stream: counts (K,) of both sides, the last ``special`` bins special; divided by phi where rows depend.

    With ``min_effect`` 0 any change counts, else one that is larger in some direction, in chi distance.
    """
    regular = len(reference) - special
    a, b = _outer_merged(reference[:regular], current[:regular], float(current.sum() / reference.sum()))
    regular = len(a)
    r, c = np.concatenate((a, reference[len(reference) - special :])), np.concatenate((b, current[-special:]))
    if not special:
        r, c = a, b
    pi = nominal(r)
    ends = range(regular, regular + special)
    found = list(_directions(hermite_directions(pi, tuple(ends))[: min(4, regular - 1)], pi, r, c, min_effect))
    often = [i for i in range(special) if r[regular + i] + c[regular + i] >= FEWEST]
    places = np.array([regular + i for i in often], np.int64)
    found += _rates(places, [f"sp{i}" for i in often], pi, r, c, min_effect)
    if not min_effect:
        groups = np.concatenate(
            (np.minimum(np.arange(regular) * GROUPS // max(regular, 1), GROUPS - 1), GROUPS + np.arange(special))
        )
        found.append(_g(_grouped(groups, r), _grouped(groups, c)))
    return _smallest(found)


def categorical(reference: Floats, current: Floats, min_effect: float = 0.0) -> Outcome:
    """A categorical stream: counts (K,) of both sides; levels with at least five rows in both together are tested."""
    both = reference + current
    places = np.flatnonzero(both >= FEWEST)
    found = []
    if len(places) > 1:
        names = [f"cat{b}" for b in places.tolist()]
        found = _rates(places, names, nominal(reference), reference, current, min_effect)
    if not min_effect:
        m, n = reference.sum(), current.sum()
        few = both * min(m, n) / (m + n) < FEWEST
        found.append(_g(*_pooled(few, reference, current)))
    return _smallest(found, at_least=2 if not min_effect else 1)


def _grouped(groups: Ints, counts: Floats) -> Floats:
    return np.bincount(groups, counts).astype(np.float64)


def _pooled(few: NDArray[np.bool_], reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Counts of the bins that are not ``few``, and of the others together."""
    return np.append(reference[~few], reference[few].sum()), np.append(current[~few], current[few].sum())


def _smallest(found: Sequence[_One], at_least: int = 1) -> Outcome:
    """Bonferroni over the tests of one stream."""
    if not found:
        return Outcome(1.0, 0.0, SHAPE)
    best = min(found, key=lambda one: one.pvalue)
    return Outcome(min(1.0, max(len(found), at_least) * best.pvalue), best.statistic, best.name)


def _outer_merged(reference: Floats, current: Floats, rate: float) -> tuple[Floats, Floats]:
    """Outer regular bins merged inwards until each is expected to hold five rows of the batch."""
    first, last = 0, len(reference) - 1
    a, b = reference.astype(np.float64), current.astype(np.float64)
    while last - first > 1 and rate * a[first] < FEWEST:
        a[first + 1] += a[first]
        b[first + 1] += b[first]
        first += 1
    while last - first > 1 and rate * a[last] < FEWEST:
        a[last - 1] += a[last]
        b[last - 1] += b[last]
        last -= 1
    return a[first : last + 1], b[first : last + 1]


def _directions(h: Floats, pi: Floats, r: Floats, c: Floats, min_effect: float) -> Iterator[_One]:
    for name, one in zip(DIRECTIONS, h, strict=False):
        unit = unit_directions(one[None], pi)
        if not len(unit):  # a score without variance says nothing
            continue
        difference, error = _score(unit, r, c)
        z = (abs(float(difference[0])) - min_effect) / float(error[0])
        yield _One(min(1.0, float(2 * ndtr(-z))), z, name + ("+" if difference[0] >= 0 else "-"))


def _score(h: Floats, r: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Differences of the mean scores h (q, K), and their standard errors under the pooled masses."""
    m, n = r.sum(), c.sum()
    pool = (r + c) / (m + n)
    variance = pool @ (h * h).T - (pool @ h.T) ** 2
    error: Floats = np.sqrt(np.maximum(variance, 1e-300) * (1 / n + 1 / m))
    return (c / n - r / m) @ h.T, error


def _rates(places: Ints, names: Sequence[str], pi: Floats, r: Floats, c: Floats, min_effect: float) -> list[_One]:
    """Tests of single bins against all others.

    Any change: exact, by the binomial given the bin's total. Beyond a minimum effect: by the normal approximation, and
    where the bin is rare by the exact upper tail at the edge of the ball. Beta functions, so that counts divided by phi
    need not be whole.
    """
    if not len(places):
        return []
    m, n = float(r.sum()), float(c.sum())
    mass, current, both = pi[places], c[places], (r + c)[places]
    sd = np.sqrt(np.maximum(mass * (1 - mass), EPS))
    difference = (current / n - r[places] / m) / sd
    pool = both / (m + n)
    error = np.sqrt(np.maximum(pool * (1 - pool) / sd**2, 1e-300) * (1 / n + 1 / m))
    z = (np.abs(difference) - min_effect) / error
    if min_effect:
        rare = both * min(m, n) / (m + n) < FEWEST
        p = np.where(rare, _at_least(current, n, np.minimum(mass + min_effect * sd, 1.0)), 2 * ndtr(-z))
    else:
        share = n / (m + n)
        p = 2 * np.minimum(_at_most(current, both, share), _at_least(current, both, share))
    return [_One(*one) for one in zip(np.minimum(1.0, p).tolist(), z.tolist(), names, strict=True)]


def _at_least(k: Floats, n: Floats | float, p: Floats | float) -> Floats:
    """P(X >= k), X binomial (n, p)."""
    found: Floats = np.where(k > 0, betainc(np.maximum(k, 1e-300), np.maximum(n - k + 1, 1e-300), p), 1.0)
    return found


def _at_most(k: Floats, n: Floats, p: float) -> Floats:
    """P(X <= k), X binomial (n, p)."""
    found: Floats = np.where(k < n, betainc(np.maximum(n - k, 1e-300), k + 1, 1 - p), 1.0)
    return found


def _g(r: Floats, c: Floats) -> _One:
    """The likelihood-ratio test of two rows of counts (K,), chi-square with one degree less than there are bins."""
    statistic, p = g_test(r, c)
    return _One(p, statistic, SHAPE)


def g_test(reference: Floats, current: Floats) -> tuple[float, float]:
    """(G, p) of two rows of counts (K,); bins that are empty in both do not count; p is 1 where one bin is left."""
    m, n, both = reference.sum(), current.sum(), reference + current
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [
            np.where(x > 0, x * np.log(x * (m + n) / (both * rows)), 0.0) for x, rows in ((reference, m), (current, n))
        ]
    statistic = max(0.0, 2 * float(terms[0].sum() + terms[1].sum()))
    degrees = int((both > 0).sum()) - 1
    return statistic, float(chdtrc(degrees, statistic)) if degrees > 0 else 1.0
