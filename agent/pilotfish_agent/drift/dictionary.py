"""What shifts look like: a fixed dictionary of alternatives to the reference (docs/statistics.md, section 3).

An alternative is a likelihood ratio over the bins, ``L[b] = q(b) / pi(b)`` with ``sum(pi * L) = 1``. Numeric streams
have tilts ``q ~ pi * exp(g)`` along the Hermite scores of the normal quantile cells, tails, octiles and single bins;
special bins and levels grow or shrink against all others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from pilotfish_agent.drift.layout import Floats, regular_bins

Family = Literal[
    "location", "scale", "locscale", "skew", "kurtosis", "tail", "octile", "spike", "special", "level", "plugin"
]

WEIGHT_MAIN: Final = 0.7
WEIGHT_SPIKES: Final = 0.1
WEIGHT_PLUGINS: Final = 0.2
PLUGINS: Final = (("coarse", 1e3), ("coarse", 1e4), ("fine", 1e4), ("fine", 1e5))
"""(resolution, e-fold of the decayed counts in rows) of the four plug-in alternatives."""
PLUGIN_NAMES: Final = tuple(f"plug_{resolution}{rows:g}" for resolution, rows in PLUGINS)

LOCATION_STEPS: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
TILT_LIMIT: Final = 6.0
_LARGEST_SPECIAL, _LARGEST_LEVEL = 0.95, 0.97
_PREFIXES: Final[dict[str, Family]] = {
    "locscale": "locscale",
    "loc": "location",
    "scale": "scale",
    "skew": "skew",
    "kurt": "kurtosis",
    "tail": "tail",
    "oct": "octile",
    "spike": "spike",
    "sp": "special",
    "cat": "level",
    "plug": "plugin",
}
_TARGET = re.compile(r"(?:spike|oct|cat|sp)(\d+)")


@dataclass(frozen=True, slots=True)
class Dictionary:
    """The fixed alternatives of one stream.

    Attributes:
        names: J names, such as ``loc+0.4``, ``tail_hi1e-02x5``, ``sp0+.05``, ``cat3x2.0``.
        log_ratios: log likelihood ratios, shape (J, K).
        log_weights: prior log weights, shape (J,); they sum to .8, the plug-ins have the rest.
    """

    names: tuple[str, ...]
    log_ratios: Floats
    log_weights: Floats


def family(name: str) -> Family:
    """The family of an alternative, from its name."""
    for prefix, kind in _PREFIXES.items():
        if name.startswith(prefix):
            return kind
    raise ValueError(f"alternative {name!r} belongs to no family")


def target(name: str) -> int | None:
    """Which one of its family: level 3 of ``cat3x2.0``, octile 7 of ``oct7x2``, special bin 0 of ``sp0x5``."""
    match = _TARGET.match(name)
    return int(match[1]) if match else None


def moved_bin(name: str, special: Sequence[int]) -> int:
    """The only bin that an alternative moves against all others, -1 where there is none."""
    kind, index = family(name), target(name)
    if index is None or kind not in {"special", "level"}:
        return -1
    return special[index] if kind == "special" else index


def normal_scores(mass: Floats) -> Floats:
    """Mean of the Hermite polynomials He1..He4 in consecutive cells of the standard normal.

    Args:
        mass: probabilities of the cells, in order, shape (R,), sum 1.

    Returns:
        Shape (4, R): E[z | cell], E[z^2 - 1 | cell], E[He3 | cell], E[He4 | cell], exact from the cells' limits:
        the integral of He_k phi over (a, b) is He_{k-1}(a) phi(a) - He_{k-1}(b) phi(b).
    """
    upper = np.cumsum(mass)
    limits = np.concatenate(([-np.inf], _normal_quantiles(upper[:-1]), [np.inf]))
    lower_limits = np.concatenate(([-np.inf], _normal_quantiles((upper - mass)[1:])))
    below, above = _hermite_integrands(lower_limits), _hermite_integrands(limits[1:])
    scores: Floats = (below - above) / mass
    return scores


def _normal_quantiles(probabilities: Floats) -> Floats:
    """Standard normal quantiles by Wichura's AS 241 from the standard library, so that scipy need not be resident."""
    quantile = NormalDist().inv_cdf
    return np.array([quantile(p) if 0 < p < 1 else math.copysign(math.inf, p - 0.5) for p in probabilities.tolist()])


def _hermite_integrands(limits: Floats) -> Floats:
    """He_{k-1}(t) phi(t) for k = 1..4, shape (4, R); 0 at infinite limits."""
    finite = np.isfinite(limits)
    t = np.where(finite, limits, 0.0)
    density = np.where(finite, np.exp(-0.5 * t**2) / np.sqrt(2 * np.pi), 0.0)
    t = np.where(finite, t, 0.0)
    return np.array([density, t * density, t**2 * density - density, t**3 * density - 3 * (t * density)])


def hermite_directions(pi: Floats, special: Sequence[int] = ()) -> Floats:
    """Orthonormal location, scale, skew and kurtosis scores over all bins, shape (4, K), 0 at the special ones."""
    regular = regular_bins(len(pi), special)
    directions = np.zeros((4, len(pi)))
    if regular.sum() >= 2:
        norms = np.sqrt([1.0, 2.0, 6.0, 24.0])  # E[He_k(z)^2] = k!
        directions[:, regular] = normal_scores(pi[regular] / pi[regular].sum()) / norms[:, None]
    return directions


def scores_of(kind: str, pi: Floats, special: Sequence[int]) -> Floats:
    """`hermite_directions` of a numeric stream, zeros (4, K) of a categorical one."""
    return hermite_directions(pi, special) if kind == "numeric" else np.zeros((4, len(pi)))


def numeric(pi: Floats, special: Sequence[int] = (), scores: Floats | None = None) -> Dictionary:
    """Dictionary of a numeric stream.

    Args:
        pi: reference masses, shape (K,).
        special: the bins of missing, +inf and -inf, in this order.
        scores: `hermite_directions` where they are known already.
    """
    regular = regular_bins(len(pi), special)
    names: list[str] = []
    rows: list[Floats] = []
    inside = pi[regular].sum()
    mass = pi[regular] / inside
    if regular.sum() >= 2:
        directions = hermite_directions(pi, special) if scores is None else scores
        for name, tilt in _tilts(mass, directions[:, regular]):
            names.append(name)
            rows.append(_tilted(mass, regular, tilt))
    for index, bin_ in enumerate(special):
        for label, share in _special_targets(float(pi[bin_])):
            if index == 0 or label.startswith("+"):  # factors only for missing: infinities start from almost nothing
                names.append(f"sp{index}{label}")
                rows.append(_one_against_all(pi, bin_, share))
    return Dictionary(tuple(names), np.array(rows).reshape(len(rows), len(pi)), log_weights(names))


def categorical(pi: Floats) -> Dictionary:
    """Dictionary of a categorical stream: every level (`other` and `missing` included) grows and shrinks; pi (K,)."""
    names: list[str] = []
    rows: list[Floats] = []
    for level, share in enumerate(map(float, pi)):
        for factor in (0.2, 0.5, 0.8, 1.25, 2.0, 5.0):
            names.append(f"cat{level}x{factor}")
            rows.append(_one_against_all(pi, level, min(share * factor, _LARGEST_SPECIAL)))
        for step in ("+.01", "+.1"):
            names.append(f"cat{level}{step}")
            rows.append(_one_against_all(pi, level, min(share + float(step) * (1 - share), _LARGEST_LEVEL)))
    return Dictionary(tuple(names), np.array(rows), log_weights(names))


def log_weights(names: Sequence[str]) -> Floats:
    """Log weights (J,): .7 shared by all alternatives that are not spikes, .1 by the spikes (by the others if none)."""
    spike = np.array([family(name) == "spike" for name in names], dtype=np.bool_)
    spikes = int(spike.sum())
    others = len(names) - spikes
    each = (WEIGHT_MAIN if spikes else WEIGHT_MAIN + WEIGHT_SPIKES) / max(others, 1)
    weights: Floats = np.log(np.where(spike, WEIGHT_SPIKES / max(spikes, 1), each))
    return weights


def _tilts(mass: Floats, directions: Floats) -> Iterator[tuple[str, Floats]]:
    """(name, g) of all tilts of the regular bins."""
    h1, h2, h3, h4 = directions
    signs = (1, -1)
    yield from ((f"loc{s * t:+g}", s * t * h1) for t in LOCATION_STEPS for s in signs)
    yield from ((f"scale{s * t:+g}", s * t * h2) for t in (0.05, 0.1, 0.2, 0.4, 0.8) for s in signs)
    for t in (0.2, 0.5):
        for s in signs:
            yield from ((f"locscale{s * t:+g}{u * t:+g}", t * (s * h1 + u * h2) / math.sqrt(2)) for u in signs)
    yield from ((f"skew{s * t:+g}", s * t * h3) for t in (0.1, 0.25) for s in signs)
    yield from ((f"kurt{s * t:+g}", s * t * h4) for t in (0.1, 0.25, 0.5) for s in signs)
    middle = np.cumsum(mass) - mass / 2
    yield from _tail_tilts(middle)
    for k in range(8):
        octile = (middle > k / 8) & (middle <= (k + 1) / 8)
        if octile.any() and not octile.all():
            yield from ((f"oct{k}x{odds:g}", octile * np.float64(math.log(odds))) for odds in (0.5, 2.0))
    if len(mass) >= 9:
        yield from ((f"spike{k}", math.log(2.5) * (np.arange(len(mass)) == k)) for k in range(len(mass)))


def _tail_tilts(middle: Floats) -> Iterator[tuple[str, Floats]]:
    """(name, g) of the tails: low, high or both, beyond 1.1 % and .11 %."""
    for name, low, high in (("lo", True, False), ("hi", False, True), ("both", True, True)):
        for width, factors in ((0.011, (2.0, 5.0)), (0.0011, (5.0, 20.0))):
            tail = (low & (middle < width)) | (high & (middle > 1 - width))
            if tail.any() and not tail.all():
                yield from ((f"tail_{name}{width:.0e}x{odds:g}", tail * np.float64(math.log(odds))) for odds in factors)


def _tilted(mass: Floats, regular: np.ndarray[tuple[int], np.dtype[np.bool_]], tilt: Floats) -> Floats:
    """Log ratio (K,) of ``q ~ mass * exp(g)`` on the regular bins, special bins untouched."""
    g = np.clip(tilt, -TILT_LIMIT, TILT_LIMIT)
    row = np.zeros(len(regular))
    row[regular] = g - math.log(float((mass * np.exp(g)).sum()))
    return row


def _special_targets(share: float) -> Iterator[tuple[str, float]]:
    for label in ("+.002", "+.01", "+.05", "+.2"):
        yield label, min(share + float(label) * (1 - share), _LARGEST_SPECIAL)
    for label in ("x.2", "x2", "x5"):
        yield label, min(share * float(label[1:]), _LARGEST_SPECIAL)


def _one_against_all(pi: Floats, bin_: int, share: float) -> Floats:
    """Log ratio (K,) when one bin takes the share and the others keep their proportions."""
    row = np.full(len(pi), math.log((1 - share) / (1 - pi[bin_])))
    row[bin_] = math.log(share / pi[bin_])
    return row
