"""Bins of a stream: where the edges lie, which mass each has in the reference (docs/statistics.md, section 2)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Real = np.floating[Any]
Reals = NDArray[Real]
"""What a live engine computes in float32, and the check of its numbers in float64."""

EPS = 1e-3
"""Effect metric: a bin rarer than this weighs as if it were this frequent."""

MIN_REFERENCE_ROWS = 200
TAIL_QUANTILES = (0.001, 0.01, 0.99, 0.999)
MIN_TAIL_ROWS = 5
COARSE_GROUPS = 8
SPECIAL = 3
"""Missing, +inf, -inf: the last bins of a numeric stream."""


def bins_for(rows: int) -> int:
    """Number of equal-mass bins that a reference of so many rows carries."""
    if rows >= 1024:
        return 32
    return 16 if rows >= 500 else 8


def edges_from_reference(values: ArrayLike) -> Floats:
    """Interior edges of right-closed bins ``(e[k-1], e[k]]`` at order statistics of the reference.

    Args:
        values: finite float64 reference values, shape (m,), m >= 200.

    Returns:
        Increasing edges, shape (E,); bin of x is ``searchsorted(edges, x, side="left")``, so there are E + 1 bins.
        Quantiles k/nb (see `bins_for`), plus .001, .01, .99, .999 where at least 5 reference rows lie beyond.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    m = len(ordered)
    nb = bins_for(m)
    quantiles = [k / nb for k in range(1, nb)]
    quantiles += [q for q in TAIL_QUANTILES if min(q, 1 - q) * m >= MIN_TAIL_ROWS]
    # 1e-9: k/nb * m that is a whole number must not be pushed to the next rank by rounding.
    ranks = np.clip(np.ceil(np.array(quantiles) * m - 1e-9).astype(np.int64), 1, m - 1)
    return np.unique(ordered[np.unique(ranks) - 1])


def nominal(counts: ArrayLike) -> Floats:
    """Reference masses ``(r + 1/2) / (m + K/2)`` of counts (K,): positive, sum 1."""
    c = np.asarray(counts, dtype=np.float64)
    masses: Floats = (c + 0.5) / (c.sum() + 0.5 * len(c))
    return masses


def regular_bins(size: int, special: Collection[int]) -> NDArray[np.bool_]:
    """Mask (K,) of the bins that are not special (missing, +inf, -inf)."""
    mask = np.ones(size, dtype=np.bool_)
    mask[list(special)] = False
    return mask


def coarse_map(size: int, special: Collection[int] = ()) -> Ints:
    """Group of each bin, shape (K,): at most 8 groups of consecutive regular bins, one more for all special bins."""
    regular = np.flatnonzero(regular_bins(size, special))
    groups = min(COARSE_GROUPS, len(regular))
    result = np.full(size, groups, dtype=np.int64)
    result[regular] = np.arange(len(regular)) * groups // max(len(regular), 1)
    return result


def fold(groups: Ints, counts: ArrayLike) -> Floats:
    """Counts (..., K) summed over the groups of `coarse_map`, shape (..., G)."""
    member = groups[:, None] == np.arange(int(groups.max()) + 1)
    folded: Floats = np.asarray(counts, dtype=np.float64) @ member.astype(np.float64)
    return folded


def unit_directions(directions: Floats, pi: Floats) -> Floats:
    """Directions (q, K) centred under ``pi``, of unit length under ``max(pi, EPS)``; constant ones are left out."""
    centred = directions - (directions * pi).sum(-1, keepdims=True)
    length = np.sqrt((np.maximum(pi, EPS) * centred * centred).sum(-1, keepdims=True))
    kept = length[..., 0] > 1e-9
    result: Floats = centred[kept] / length[kept]
    return result


def as_floats(values: Any) -> Floats:
    """A contiguous float64 copy that may not be written to: tables are shared between streams."""
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array
