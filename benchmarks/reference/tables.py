"""What the detector knows before the first row, in plain numpy and scipy: docs/statistics.md, sections 2 to 6.

Written to be read beside the text and to be an oracle; slow (seconds a stream). The product's own tables are
`pilotfish_agent.drift.tables`; both match tests/golden/detector.json.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import chi2

Floats = NDArray[np.float64]

RARE = 1e-3  # a bin rarer than this counts as this frequent when effects are measured
PLUGINS = (("coarse", 1e3), ("coarse", 1e4), ("fine", 1e4), ("fine", 1e5))
EXPONENTS = np.arange(1, 33) / 32


# -- bins (section 2)


def edges(values: Floats) -> Floats:
    """Interior edges at order statistics of the reference values (m,), m >= 200."""
    ordered, m = np.sort(values), len(values)
    bins = 32 if m >= 1024 else 16 if m >= 500 else 8
    quantiles = [k / bins for k in range(1, bins)]
    quantiles += [q for q in (0.001, 0.01, 0.99, 0.999) if min(q, 1 - q) * m >= 5]
    ranks = [min(max(int(np.ceil(q * m - 1e-9)), 1), m - 1) for q in quantiles]
    return np.unique(ordered[np.array(ranks) - 1])


def counts_in(edge: Floats, values: Floats) -> Floats:
    """Rows in each right-closed bin (E + 1,)."""
    return np.bincount(np.searchsorted(edge, values, side="left"), minlength=len(edge) + 1).astype(np.float64)


def masses(counts: Floats) -> Floats:
    """Reference masses, half a row added to each bin."""
    mass: Floats = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return mass


def groups_of_bins(size: int, special: Sequence[int]) -> NDArray[np.int64]:
    """For each bin its group: 8 runs of regular bins, one more group for all special bins."""
    regular = [b for b in range(size) if b not in special]
    count = min(8, len(regular))
    group = np.full(size, count)
    for place, b in enumerate(regular):
        group[b] = place * count // len(regular)
    return group


# -- alternatives (section 3)


def hermite_means(mass: Floats) -> Floats:
    """Means of He1 .. He4 over the normal cells that have these masses in order, shape (4, R)."""
    limit = ndtri(np.clip(np.concatenate(([0.0], np.cumsum(mass)[:-1], [1.0])), 0, 1))
    inside = np.isfinite(limit)
    z = np.where(inside, limit, 0.0)
    density = np.where(inside, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), 0.0)
    # The integral of He_k times the density from a to b is He_{k-1}(a) density(a) - He_{k-1}(b) density(b).
    integrand = np.array([density, z * density, (z**2 - 1) * density, (z**3 - 3 * z) * density])
    means: Floats = (integrand[:, :-1] - integrand[:, 1:]) / mass
    return means


def numeric_alternatives(pi: Floats, special: Sequence[int]) -> dict[str, Floats]:
    """Likelihood ratios (K,) by name."""
    found: dict[str, Floats] = {}
    regular = np.array([b for b in range(len(pi)) if b not in special], dtype=np.int64)
    inside = pi[regular].sum()
    mass = pi[regular] / inside

    def tilt(name: str, exponent: Floats) -> None:
        tilted = mass * np.exp(np.clip(exponent, -6, 6))
        ratio = np.ones(len(pi))
        ratio[regular] = tilted / tilted.sum() / mass
        found[name] = ratio

    if len(regular) >= 2:
        _smooth_tilts(mass, tilt)
        _mass_tilts(mass, tilt)
    for index, b in enumerate(special):
        for step in (0.002, 0.01, 0.05, 0.2):
            found[f"sp{index}{step:+g}".replace("0.", ".")] = one_bin(pi, b, min(pi[b] + step * (1 - pi[b]), 0.95))
        for factor in (0.2, 2.0, 5.0) if index == 0 else ():
            found[f"sp{index}x{factor:g}".replace("0.", ".")] = one_bin(pi, b, min(pi[b] * factor, 0.95))
    return found


def _smooth_tilts(mass: Floats, tilt: object) -> None:
    assert callable(tilt)
    h1, h2, h3, h4 = hermite_means(mass) / np.sqrt([1, 2, 6, 24])[:, None]
    for name, score, sizes in (
        ("loc", h1, (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)),
        ("scale", h2, (0.05, 0.1, 0.2, 0.4, 0.8)),
        ("locscale", None, (0.2, 0.5)),
        ("skew", h3, (0.1, 0.25)),
        ("kurt", h4, (0.1, 0.25, 0.5)),
    ):
        for size in sizes:
            for sign in (1, -1):
                if score is not None:
                    tilt(f"{name}{sign * size:+g}", sign * size * score)
                    continue
                for other in (1, -1):
                    tilt(f"{name}{sign * size:+g}{other * size:+g}", size * (sign * h1 + other * h2) / np.sqrt(2))


def _mass_tilts(mass: Floats, tilt: object) -> None:
    """Tails, octiles and single bins: odds of a set of bins against the rest."""
    assert callable(tilt)
    middle = np.cumsum(mass) - mass / 2
    for side, low, high in (("lo", True, False), ("hi", False, True), ("both", True, True)):
        for width, all_odds in ((0.011, (2, 5)), (0.0011, (5, 20))):
            members = (low & (middle < width)) | (high & (middle > 1 - width))
            for odds in all_odds if members.any() and not members.all() else ():
                tilt(f"tail_{side}{width:.0e}x{odds}", np.log(odds) * members)
    for k in range(8):
        members = (middle > k / 8) & (middle <= (k + 1) / 8)
        for factor in (0.5, 2.0) if members.any() and not members.all() else ():
            tilt(f"oct{k}x{factor:g}", np.log(factor) * members)
    for k in range(len(mass)) if len(mass) >= 9 else ():
        tilt(f"spike{k}", np.log(2.5) * (np.arange(len(mass)) == k))


def one_bin(pi: Floats, b: int, share: float) -> Floats:
    """One bin takes the share, the others keep their proportions."""
    ratio = np.full(len(pi), (1 - share) / (1 - pi[b]))
    ratio[b] = share / pi[b]
    return ratio


def categorical_alternatives(pi: Floats) -> dict[str, Floats]:
    """Likelihood ratios (K,) by name."""
    found = {}
    for b, share in enumerate(pi):
        for factor in (0.2, 0.5, 0.8, 1.25, 2.0, 5.0):
            found[f"cat{b}x{factor}"] = one_bin(pi, b, min(share * factor, 0.95))
        for text in ("+.01", "+.1"):
            found[f"cat{b}{text}"] = one_bin(pi, b, min(share + float(text) * (1 - share), 0.97))
    return found


def log_weights(names: Sequence[str]) -> Floats:
    """Prior log weights of the fixed alternatives: .7 and .1 for spikes, which the others take where there are none."""
    spike = np.array([n.startswith("spike") for n in names])
    main = 0.7 if spike.any() else 0.8
    weights: Floats = np.log(np.where(spike, 0.1 / max(spike.sum(), 1), main / max((~spike).sum(), 1)))
    return weights


# -- penalty (sections 5 and 6)


def gate(values: Floats, pi: Floats, delta: float) -> Floats:
    """Linear majorant of values (..., K) over all masses within chi distance ``delta`` of ``pi``."""
    if not delta:
        return values
    g = np.maximum(pi, RARE)
    centre = (g * values).sum(-1, keepdims=True) / g.sum()
    squares = (values - centre) ** 2
    length = np.sqrt(np.maximum((g * squares).sum(-1, keepdims=True), 1e-300))
    slack = ((g - pi) * squares).sum(-1, keepdims=True)
    majorant: Floats = values + delta / 2 * ((squares + slack) / length + length)
    return majorant


def tail(values: Floats, counts: Floats, level: float) -> float:
    """``P(sum p_b values_b > level)``, p Dirichlet(counts + 1 at the largest value): Lugannani-Rice."""
    alpha = counts.copy()
    alpha[np.argmax(values)] += 1
    gap = np.where(alpha > 0, values - level, 0.0)
    if gap.max() <= 0 or gap.min() >= 0:
        return 0.0 if gap.max() <= 0 else 1.0
    saddle = _saddle(alpha, gap)
    weight = gap / (1 - saddle * gap)
    exponent = -(alpha * np.log1p(-saddle * gap)).sum()
    root = np.sign(saddle) * np.sqrt(max(-2 * exponent, 0.0))
    if abs(root) < 1e-4:
        return 0.5
    scaled = saddle * np.sqrt((alpha * weight**2).sum())
    bell = np.exp(-(root**2) / 2) / np.sqrt(2 * np.pi)
    return float(np.clip(ndtr(-root) + bell * (1 / scaled - 1 / root), 0, 1))


def _saddle(alpha: Floats, gap: Floats) -> float:
    """Root s of ``sum alpha gap / (1 - s gap)``, which increases between its two poles."""
    low, high = (1 - 1e-12) / gap.min(), (1 - 1e-12) / gap.max()
    low, high = (low, 0.0) if (alpha * gap).sum() > 0 else (0.0, high)
    saddle = (low + high) / 2
    for _ in range(200):
        weight = gap / (1 - saddle * gap)
        slope = (alpha * weight).sum()
        low, high = (saddle, high) if slope < 0 else (low, saddle)
        newton = saddle - slope / (alpha * weight**2).sum()
        following = newton if low < newton < high else (low + high) / 2
        if abs(following - saddle) <= 1e-13 * abs(saddle):
            return float(following)
        saddle = following
    return float(saddle)


def penalty(ratio: Floats, counts: Floats, pi: Floats, log_line: float, log_weight: float, delta: float) -> float:
    """Nats a row that one alternative pays, shape (K,) in, eta = 1.

    ``log_line`` is log(2 A F). The smallest number at which the expected loss of budget over references is at most 1:
    a sum over exponents k of the probability that the reference needs more than k, times what that costs.
    """
    values = np.array([gate(np.exp(k * np.log(ratio)), pi, delta) for k in EXPONENTS])
    ell = log_line - log_weight
    before = np.concatenate(([0.0], EXPONENTS[:-1]))
    cost = np.exp((1 - before) * ell) - np.exp((1 - EXPONENTS) * ell)

    def excess(lam: float) -> float:
        chances = [tail(v, counts, float(np.exp(k * lam))) for k, v in zip(EXPONENTS, values, strict=True)]
        return float(np.log(max((cost * chances).sum(), 1e-300)))

    low = float(np.log((pi * values[-1]).sum()))
    if excess(low) <= 0:
        return low
    high = low + 1.5 * ell / counts.sum()
    while excess(high) > 0:
        low, high = high, low + 2 * (high - low)
    return _root(excess, low, high)


def _root(function: object, low: float, high: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-12, rtol=1e-12))


def chi_radius(alpha: Floats, probability: float) -> float:
    """Radius that the chi distance of the reference's own error exceeds with this probability: Pearson III."""
    a = np.maximum(alpha, 1.0)
    mean, variance, third = float(len(a)), (2 + 6 / a).sum(), (8 + 112 / a + 120 / a**2).sum()
    freedom = 8 * variance**3 / third**2
    quantile = (chi2.isf(probability, freedom) - freedom) / np.sqrt(2 * freedom)
    return float(np.sqrt((mean + np.sqrt(variance) * quantile) / a.sum()))
