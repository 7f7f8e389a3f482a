"""How large a change is, in chi distance, and what the present budget can find (docs/statistics.md, section 6).

Effect unit: ``d(q, pi) = sqrt(sum_b (q_b - pi_b)^2 / max(pi_b, .001))``. A mean that moves by x standard deviations
has d of about x for small x; a scale factor 1 + e has d of about 1.4 e.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from pilotfish_agent.drift.dictionary import LOCATION_STEPS, TILT_LIMIT
from pilotfish_agent.drift.layout import EPS, Floats, regular_bins

DETECTION_ROWS: Final = 20_000.0
NORMAL_95: Final = 1.96
_LEAST_NONCENTRALITY: Final = 1e-12


class Effect(NamedTuple):
    """Chi distance with a 95 % interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class _Distance:
    """The plug-in distance X of current masses q from reference masses p, with what its errors need."""

    squared: float  # X
    bias_degrees: float  # k: E[X] = k v when nothing changed
    row_variance: float  # v = phi (1/n + 1/m)
    variance: float  # delta-method variance of X

    @property
    def value(self) -> float:
        return math.sqrt(max(0.0, self.squared - self.bias_degrees * self.row_variance))


def _distance(reference: Floats, current: Floats, pi: Floats, phi: float, rows: float | None) -> _Distance:
    m = float(reference.sum())
    n = float(current.sum()) if rows is None else rows
    p, q = reference / m, current / current.sum()
    weight = np.maximum(pi, EPS)
    by_current = 2 * (q - p) / weight
    # Above EPS the weight is the reference's own mass, so it moves with the reference as well; so it may where the mass
    # lies below by no more than chance: taken for certainly rare, such a bin would make the interval too narrow.
    perhaps = pi + 2 * np.sqrt(phi * pi / m) >= EPS
    by_reference = np.where(perhaps, (q / weight) ** 2, by_current)
    variance = phi * (_variance(q, by_current) / n + _variance(pi, by_reference) / m)
    return _Distance(
        squared=float(((q - p) ** 2 / weight).sum()),
        bias_degrees=float((pi * (1 - pi) / weight).sum()),
        row_variance=phi * (1 / n + 1 / m),
        variance=variance,
    )


def _variance(mass: Floats, values: Floats) -> float:
    return float((mass * values * values).sum() - (mass * values).sum() ** 2)


def effect(
    reference: Floats, current: Floats, pi: Floats, phi: float = 1.0, *, rows: float | None = None
) -> Effect | None:
    """Effect of the current counts, with the interval that needs no scipy: ``d -+ 1.96 sqrt(V) / (2 d)``, floored at 0.

    Args:
        reference: counts (K,).
        current: counts (K,), decayed ones too.
        pi: reference masses (K,).
        phi: variance inflation by dependence.
        rows: effective number of current rows where counts are decayed: ``(sum w)^2 / sum w^2``.

    Returns:
        None where there are no rows on one side. An effect of 0 has no delta-method error: its upper end is then
        that of a distance at the noise level, ``sqrt(k v)``.
    """
    if current.sum() <= 0 or reference.sum() <= 0:
        return None
    found = _distance(reference, current, pi, phi, rows)
    noise = math.sqrt(found.bias_degrees * found.row_variance)
    half = NORMAL_95 * math.sqrt(max(found.variance, 0.0)) / (2 * max(found.value, noise, 1e-12))
    return Effect(found.value, max(0.0, found.value - half), found.value + half)


def exact_effect(
    reference: Floats, current: Floats, pi: Floats, phi: float = 1.0, *, level: float = 0.95
) -> Effect | None:
    """Effect of one batch, with the interval that inverts the noncentral chi-square distribution of X / v.

    Its ends are moved out by ``sqrt(max(1, V / (4 X v)))``: far from the reference X scatters by more than that
    distribution says. Needs scipy.special, so commands and `pf-worker` have it and the resident agent has `effect`.

    Args:
        reference: counts (K,), not divided by phi.
        current: counts (K,).
        pi: reference masses (K,).
        phi: variance inflation by dependence.
        level: share of intervals that hold the true distance.

    Returns:
        None where there are no rows on one side.
    """
    from scipy.special import chndtr, chndtrinc

    if current.sum() <= 0 or reference.sum() <= 0:
        return None
    found = _distance(reference, current, pi, phi, None)
    x, k, v = found.squared, found.bias_degrees, found.row_variance
    tail = (1 - level) / 2

    def end(probability: float) -> float:
        """The distance at which so small an X, or a smaller one, is as probable as that."""
        if k <= 0 or chndtr(x / v, k, _LEAST_NONCENTRALITY) < probability:
            return 0.0
        return math.sqrt(float(chndtrinc(x / v, k, probability)) * v)

    lower, upper = end(1 - tail), end(tail)
    wider = math.sqrt(max(1.0, found.variance / (4 * x * v))) if x > 0 else 1.0
    d = found.value
    return Effect(d, max(0.0, d - wider * (d - lower)), d + wider * (upper - d))


def minimum_detectable_effect(
    pi: Floats,
    special: Sequence[int],
    location: Floats,
    names: Sequence[str],
    penalties: Floats,
    log_threshold: float,
    *,
    rows: float = DETECTION_ROWS,
    phi: float = 1.0,
) -> float | None:
    """The smallest location shift, in standard deviations, found within ``rows / phi`` rows.

    Args:
        pi: reference masses (K,).
        special: special bins.
        location: the location scores over all bins (K,), first row of `StreamTables.scores`.
        names: of the alternatives, at least J of them.
        penalties: of one level, nats a row (J,).
        log_threshold: T, nats.
        rows: within which it must be found.
        phi: variance inflation by dependence.

    Returns:
        The worse of both directions on a grid of 5 % steps from .05 to 1.6; None where even 1.6 is not found, or
        where the stream has no location alternatives (fewer than two regular bins).
    """
    if f"loc{LOCATION_STEPS[0]:+g}" not in names:
        return None
    regular = regular_bins(len(pi), special)
    both = [
        _smallest_shift(
            sign,
            pi[regular],
            location[regular],
            _location_penalties(names, penalties, sign),
            log_threshold * phi / rows,
        )
        for sign in (1, -1)
    ]
    found = [shift for shift in both if shift is not None]
    return max(found) if len(found) == len(both) else None


def _location_penalties(names: Sequence[str], penalties: Floats, sign: int) -> Floats:
    return np.array([penalties[names.index(f"loc{sign * step:+g}")] for step in LOCATION_STEPS])


def _smallest_shift(sign: int, pi: Floats, location: Floats, paid: Floats, needed: float) -> float | None:
    """Smallest shift whose information, less the interpolated penalty, reaches the needed nats a row."""
    mass = pi / pi.sum()
    for step in range(72):
        shift = 0.05 * 1.05**step
        if shift > LOCATION_STEPS[-1]:
            break
        g = np.clip(sign * shift * location, -TILT_LIMIT, TILT_LIMIT)
        q = mass * np.exp(g)
        q /= q.sum()
        information = pi.sum() * float((q * np.log(q / mass)).sum())
        if information - float(np.interp(shift, LOCATION_STEPS, paid)) >= needed:
            return shift
    return None
