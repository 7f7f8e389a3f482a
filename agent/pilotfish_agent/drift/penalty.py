"""What an alternative pays a row because the reference is finite (docs/statistics.md, section 5).

Needs scipy.special, so it runs in ``pf-worker`` and in commands, never in the resident agent.

The masses p of a continuous population between order statistics of the reference are Dirichlet, whatever the
distribution (Wilks, 1941). The penalty ``lam`` of a likelihood ratio L is the smallest number with
``E_p[(A F (1 + eta) / w)^(1 - kappa(p))] <= 1 + eta``, kappa(p) the root k of ``E_p[L^k] = exp(k lam)``. With a grid of
exponents k the expectation is a weighted sum of tail probabilities ``P(sum_b p_b L_b^k > exp(k lam))``, each by the
Lugannani-Rice saddlepoint formula (Adv. Appl. Prob. 12, 1980). A unit is added to the Dirichlet at the largest value
(Gaffke, 2004), which keeps the bound conservative for discrete data.

Speed: with the tilt ``r = s / (1 + s t)`` in place of the saddlepoint s, the level t is explicit in r. So a step of
the outer search on lam moves every saddlepoint by one Newton correction instead of a search of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.dictionary import moved_bin
from pilotfish_agent.drift.layout import EPS, Floats, Ints

EXPONENTS: Final = np.arange(1, 33) / 32
"""The grid of k. Half of it costs up to a factor of 19 in the penalty: do not coarsen."""

Mask = NDArray[np.bool_]
_CHUNK = 32
_CHUNK_TWO_BINS = 256
_INNER_STEPS, _OUTER_STEPS = 40, 50


@dataclass(slots=True)
class _Saddle:
    """Saddlepoints of one solve: tilts r where ``S1 / S0`` was last evaluated, shapes (J, I)."""

    level: Floats  # t, 0 where it is out of reach
    inside: Mask  # t lies between the smallest and the largest value
    below: Mask  # t lies at or under the smallest value: its tail is 1
    tilt: Floats
    logs: Floats  # log(1 - r U), shape (J, I, K), filled in when the probability is wanted
    total: Floats  # S0 = A + r S1
    residual: Floats  # S1 / S0 - t
    slope: Floats  # d(S1 / S0) / dr
    distance: Floats  # of the next Newton step, in standard deviations


class _DirichletTails:
    """``P(sum_b p_b U_b > t)``, p ~ Dirichlet(alpha + 1 at the largest U), for J alternatives times I exponents.

    Args:
        values: U, shape (J, I, K); bins with alpha = 0 are overwritten by 0.
        alpha: (K,), or (J, K) where every alternative has its own.
    """

    def __init__(self, values: Floats, alpha: Floats) -> None:
        self.values = values
        self.alpha = alpha
        per_value = alpha[:, None] if alpha.ndim == 2 else alpha
        self.rows = alpha.sum(-1, keepdims=True) + 1
        self.largest: Floats = values.max(-1)
        self.smallest: Floats = np.minimum(np.where(per_value > 0, values, np.inf).min(-1), self.largest)
        values[np.broadcast_to(per_value == 0, values.shape)] = 0.0
        self.lowest_tilt: Floats = 1 / np.minimum(values.min(-1), -1e-9)
        self.highest_tilt: Floats = 1 / self.largest
        self._weighted = np.empty_like(values)
        self._tilted = np.empty_like(values)

    def dot(self, values: Floats) -> Floats:
        """``sum_b alpha_b values_b``, shape (J, I)."""
        return _dot(values, self.alpha)

    def inside(self, level: Floats) -> Mask:
        """Where the level (J, I) has a tail that is neither 0 nor 1."""
        return (level < self.largest) & (level > self.smallest)

    def solve(self, level: Floats, start: Floats, wanted: Mask, tolerance: float) -> _Saddle:
        """Bracketed Newton on the tilt, in ``v = 1 / (1 - r max U)``, where the pole at the upper end is straight."""
        low, high = self.lowest_tilt.copy(), self.highest_tilt.copy()
        tilt, top = start, self.largest
        inside, below = self.inside(level), level <= self.smallest
        level = np.where(inside, level, 0.0)
        for _ in range(_INNER_STEPS):
            s0, s1, s2 = self._sums(tilt)
            residual, slope = s1 / s0 - level, (self.rows * s2 - s1 * s1) / (s0 * s0)
            low, high = np.where(residual < 0, tilt, low), np.where(residual >= 0, tilt, high)
            free = 1 - level * tilt
            v = 1 / (1 - tilt * top)
            rise = s2 * free - level * s1
            step = -(s1 * free - level * self.rows) * top * v * v / rise
            newton = np.where((rise > 0) & (v + step > 0), (1 - 1 / (v + step)) / top, np.nan)
            distance = np.maximum(np.abs(newton - tilt) * np.sqrt(slope * self.rows), np.abs(step) / v - 1e-14 * v)
            astray = ~(distance < 1e-9) & ~((newton > low) & (newton < high))
            allowed = (newton > self.lowest_tilt) & (newton < self.highest_tilt)
            before = tilt
            tilt = np.where(astray, 0.5 * (low + high), np.where(allowed, newton, tilt))
            distance = np.where(astray, np.where(inside, 1.0, 0.0), distance)
            if (distance * wanted).max() < tolerance:
                break
        return _Saddle(level, inside, below, before, self._tilted, s0, residual, slope, distance)

    def _sums(self, tilt: Floats) -> tuple[Floats, Floats, Floats]:
        """S0 = A + r S1, S1 = sum a U/(1 - r U), S2 = sum a (U/(1 - r U))^2, the added unit included."""
        weighted, tilted = self._weighted, self._tilted
        np.multiply(self.values, -tilt[..., None], out=tilted)
        np.add(tilted, 1, out=weighted)
        np.divide(self.values, weighted, out=weighted)
        added = self.largest / (1 - tilt * self.largest)
        s1 = self.dot(weighted) + added
        weighted *= weighted
        return self.rows + tilt * s1, s1, self.dot(weighted) + added * added

    def probability(self, at: _Saddle) -> tuple[Floats, Floats]:
        """(P(sum > t), density at t), shapes (J, I), by Lugannani-Rice at a solved saddle."""
        from scipy.special import ndtr

        level, tilt = at.level, at.tilt
        correction = np.where(at.distance < 1e-4, at.residual / at.slope, 0.0)  # the last Newton step, to second order
        np.log1p(at.logs, out=at.logs)
        free = 1 - level * tilt
        cumulant = self.rows * np.log1p(-level * tilt) - self.dot(at.logs) - np.log1p(-tilt * self.largest)
        cumulant -= 0.5 * at.total / free * at.slope * correction * correction
        saddle = (tilt - correction) / (1 - level * (tilt - correction))
        root = np.sign(saddle) * np.sqrt(np.maximum(-2 * cumulant, 0))
        scaled = saddle * np.sqrt(free**3 * at.slope * at.total)
        bell = np.exp(-0.5 * root * root) / np.sqrt(2 * np.pi)
        tail = ndtr(-root) + bell * (1 / scaled - 1 / root)
        singular = np.abs(root) < 1e-4  # removable: the level is the mean
        tail = np.where(singular, 0.5, tail)
        density = np.where(singular, bell * np.sqrt(self.rows), bell * saddle * self.rows / root)
        return np.where(at.inside, np.clip(tail, 0, 1), at.below), np.where(at.inside, density, 0.0)


def _dot(values: Floats, weights: Floats) -> Floats:
    """``sum_b values[j, i, b] weights[b]`` (or weights[j, b]), shape (J, I)."""
    if weights.ndim == 2:
        per_alternative: Floats = np.einsum("jik,jk->ji", values, weights)
        return per_alternative
    shared: Floats = (values.reshape(-1, values.shape[-1]) @ weights).reshape(values.shape[:2])
    return shared


def penalties(
    log_ratios: Floats,
    alpha: Floats,
    pi: Floats,
    log_line: float,
    log_weights: Floats,
    delta: float = 0.0,
    *,
    floored: Floats | None = None,
    eta: float = 1.0,
    chunk: int = _CHUNK,
) -> Floats:
    """Penalty of every alternative in nats a row, shape (J,).

    Args:
        log_ratios: (J, K).
        alpha: effective reference counts, (K,), or (J, K) with ``pi`` alike.
        pi: reference masses.
        log_line: log((1 + eta) A F): the line that the evidence of one stream must reach.
        log_weights: (J,).
        delta: radius of the minimum effect (chi distance); 0 for level notice.
        floored: ``max(pi, EPS)``, shaped as ``pi``; merged bins give the sums of theirs.
        eta: share of the budget that the finite reference may take.
        chunk: alternatives solved together; bounds the memory.
    """
    result = np.empty(len(log_ratios))
    distance = log_line - log_weights
    floored = np.maximum(pi, EPS) if floored is None else floored
    for first in range(0, len(result), chunk):
        part = slice(first, first + chunk)
        own = (alpha[part], pi[part], floored[part]) if alpha.ndim == 2 else (alpha, pi, floored)
        with np.errstate(all="ignore"):
            result[part] = _Search(log_ratios[part], *own, distance[part], delta, eta).run()
    return result


class _Search:
    """The outer search: lam of a chunk of alternatives, by bracketed Newton and then secant steps."""

    def __init__(
        self,
        log_ratios: Floats,
        alpha: Floats,
        pi: Floats,
        floored: Floats,
        distance: Floats,
        delta: float,
        eta: float,
    ) -> None:
        powers = np.expm1(EXPONENTS[None, :, None] * log_ratios[:, None])  # L^k - 1: levels are near 1
        if delta:
            powers = gated(powers, pi, floored, delta)
        self.mean = _dot(powers, pi)
        powers -= self.mean[..., None]
        self.spread = np.sqrt(_dot(np.square(powers), pi))
        powers /= self.spread[..., None]
        self.tails = _DirichletTails(powers, alpha)
        before = np.concatenate(([0.0], EXPONENTS[:-1]))
        # sum_i weight_i P(kappa < k_i) bounds E[(A/w)^(1 - kappa)] - 1
        self.weights = np.exp((1 - before) * distance[:, None]) - np.exp((1 - EXPONENTS) * distance[:, None])
        self.log_eta = float(np.log(eta))
        self.base: Floats = np.log1p(self.mean[:, -1])
        rows = self.tails.rows[..., 0]
        self.first_step = np.minimum(1.2 * distance / rows, 2 * self.spread[:, -1] / np.sqrt(rows))

    def run(self) -> Floats:
        """Penalties (J,): the root of excess(lam) = 0, or the gate's mean where that is enough."""
        lam = before = self.base
        low, high = self.base.copy(), np.full(len(lam), np.inf)
        done = np.zeros(len(lam), dtype=np.bool_)
        saddle: _Saddle | None = None
        last_excess = np.zeros(len(lam))
        for step in range(_OUTER_STEPS):
            saddle = self._saddle(lam, saddle, done, 1e-3 if step < 2 else 1e-8)
            excess, slope = self._excess(lam, saddle)
            if step == 0:
                done = excess <= 0
                following = np.where(done, self.base, self.base + self.first_step)
            else:
                low = np.where(excess > 0, np.maximum(low, lam), low)
                high = np.where(excess <= 0, np.minimum(high, lam), high)
                if step > 2:
                    secant = (excess - last_excess) / (lam - before)
                    usable = (secant < 0) & (secant > -1e300) & (np.minimum(excess, last_excess) > -50)
                    slope = np.where(usable, secant, slope)
                following, settled = self._next(lam, lam - excess / slope, low, high)
                following = np.where(done, lam, following)
                done = done | settled
            before, last_excess, lam = lam, excess, following
            if done.all():
                break
        return lam

    def _next(self, lam: Floats, newton: Floats, low: Floats, high: Floats) -> tuple[Floats, Mask]:
        """(next lam, which are settled); a step out of the bracket becomes a bisection or a trebling."""
        settled = np.abs(newton - lam) < 2e-12 + 2e-11 * np.abs(lam)
        fair = (newton > low) & (newton < high) & (newton < self.base + 4 * (lam - self.base))
        rescue = np.where(np.isfinite(high), 0.5 * (low + high), self.base + 3 * (lam - self.base))
        return np.where(settled | fair, newton, rescue), settled

    def _saddle(self, lam: Floats, last: _Saddle | None, done: Mask, tolerance: float) -> _Saddle:
        """Saddlepoints at the levels of lam, started from those of the last lam."""
        tails = self.tails
        level = (np.expm1(EXPONENTS * lam[:, None]) - self.mean) / self.spread
        inside = tails.inside(level)
        reachable = np.where(inside, level, 0.0)
        if last is None:
            start = np.clip(reachable / (1 + reachable**2), 0.9 * tails.lowest_tilt, 0.9 * tails.highest_tilt)
            wanted = inside
        else:
            moved = np.where(last.inside, (reachable - last.level) / last.slope, 0.0)
            start = np.where(inside, last.tilt + moved, 0.0)
            start = np.where(start >= tails.highest_tilt, 0.5 * (last.tilt + tails.highest_tilt), start)
            start = np.where(start <= tails.lowest_tilt, 0.5 * (last.tilt + tails.lowest_tilt), start)
            wanted = inside & ~done[:, None]
        return tails.solve(level, start, wanted, tolerance)

    def _excess(self, lam: Floats, saddle: _Saddle) -> tuple[Floats, Floats]:
        """Log of the bounded expectation over eta, and its derivative in lam, shapes (J,)."""
        probability, density = self.tails.probability(saddle)
        density = density * np.exp(EXPONENTS * lam[:, None]) * EXPONENTS / self.spread
        bound = np.maximum((self.weights * probability).sum(1), 1e-300)
        return np.log(bound) - self.log_eta, -(self.weights * density).sum(1) / bound


def gated(values: Floats, pi: Floats, floored: Floats, delta: float) -> Floats:
    """Linear majorant of values (J, I, K) over the ball of the minimum effect.

    With ``g = floored = max(pi, EPS)``, every p with ``sum (p - pi)^2 / g <= delta^2`` has
    ``E_p[values] <= E_pi[gated]`` (Cauchy-Schwarz around the g-mean).
    """
    g = floored
    centre = _dot(values, g) / g.sum(-1, keepdims=True)
    squares = np.square(values - centre[..., None])
    length = np.sqrt(np.maximum(_dot(squares, g), 1e-300))[..., None]
    slack = _dot(squares, g - pi)[..., None]
    majorant: Floats = values + 0.5 * delta * ((squares + slack) / length + length)
    return majorant


def stream_penalties(
    log_ratios: Floats,
    names: Sequence[str],
    alpha: Floats,
    pi: Floats,
    special: Sequence[int],
    log_line: float,
    log_weights: Floats,
    delta: float = 0.0,
) -> Floats:
    """`penalties` of a stream's dictionary.

    Alternatives that move one bin against all others take two values only: the Dirichlet over the merged bins is
    exact (aggregation), so they are solved with two bins instead of K.
    """
    moved = np.array([moved_bin(name, special) for name in names])
    single, full = np.flatnonzero(moved >= 0), np.flatnonzero(moved < 0)
    result = np.empty(len(names))
    if len(full):
        result[full] = penalties(log_ratios[full], alpha, pi, log_line, log_weights[full], delta)
    if len(single):
        bins = moved[single]
        other = (bins + 1) % len(pi)
        result[single] = penalties(
            np.stack((log_ratios[single, bins], log_ratios[single, other]), axis=1),
            _one_and_rest(alpha, bins),
            _one_and_rest(pi, bins),
            log_line,
            log_weights[single],
            delta,
            floored=_one_and_rest(np.maximum(pi, EPS), bins),
            chunk=_CHUNK_TWO_BINS,
        )
    return result


def _one_and_rest(values: Floats, bins: Ints) -> Floats:
    """Values (K,) of each given bin and of all others together, shape (len(bins), 2)."""
    return np.stack((values[bins], values.sum() - values[bins]), axis=1)


def chi_radius(alpha: Floats, probability: float) -> float:
    """The radius r with ``P(sqrt(sum (p - pi)^2 / pi) > r) ~ probability``, p ~ Dirichlet(alpha), alpha (K,).

    A Pearson type III match of the first three cumulants, which are exact for gamma variates.
    """
    from scipy.special import gammainccinv

    a = np.maximum(alpha, 1.0)
    mean = float(len(a))
    variance = float((2 + 6 / a).sum())
    third = float((8 + 112 / a + 120 / a**2).sum())
    freedom = 8 * variance**3 / third**2
    quantile = 2 * float(gammainccinv(freedom / 2, probability))
    return float(np.sqrt((mean + np.sqrt(variance) * (quantile - freedom) / np.sqrt(2 * freedom)) / a.sum()))
