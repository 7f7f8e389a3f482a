"""Classifier two-sample test of vectors (Lopez-Paz and Oquab, 2017): how well a linear one tells the sides apart."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Side, TestResult, drawn, of_values

NAME: Final = "classifier"
KINDS: Final = ("embedding",)
NEEDS: Final = "values"
MOST_ROWS: Final = 1_000
"""Of each side, drawn at random; half of them to learn from."""
RIDGE: Final = 1e-2


def compare(reference: Side, current: Side) -> TestResult:
    """Area under the curve on the half that it has not seen (.5: it cannot tell), p one-sided by ranks."""
    return of_values(NAME, reference, current, _found, least=20)


def _found(a: Floats, b: Floats) -> tuple[float, float | None]:
    rng = np.random.default_rng(20240229)
    a, b = drawn(a, MOST_ROWS, rng), drawn(b, MOST_ROWS, rng)
    learn = np.concatenate((a[::2], b[::2]))
    centre, size = learn.mean(0), learn.std(0)
    size = np.where(size > 0, size, 1.0)
    weight = _ridge(_features((learn - centre) / size), np.repeat((-1.0, 1.0), (len(a[::2]), len(b[::2]))))
    scores = [_features((x[1::2] - centre) / size) @ weight for x in (a, b)]
    return _area(*scores)


def _features(x: Floats) -> Floats:
    """Values and their squares, so that a change of spread shows too; outliers are cut."""
    z = np.clip(x, -6.0, 6.0)
    return np.concatenate((z, z * z - 1), axis=1)


def _ridge(x: Floats, y: Floats) -> Floats:
    """Weights (p,) of ridge regression on both sides with equal say, by the smaller of the two systems."""
    each = np.where(y > 0, 1 / (y > 0).sum(), 1 / (y < 0).sum())
    x = x - (each[:, None] * x).sum(0) / 2
    root = np.sqrt(each)
    wx, wy = x * root[:, None], y * root
    if x.shape[1] <= len(x):
        found: Floats = np.linalg.solve(wx.T @ wx + RIDGE * np.eye(x.shape[1]), wx.T @ wy)
        return found
    dual: Floats = wx.T @ np.linalg.solve(wx @ wx.T + RIDGE * np.eye(len(x)), wy)
    return dual


def _area(a: Floats, b: Floats) -> tuple[float, float]:
    """Share of pairs in which b scores higher, ties as half, and its p: the normal approximation with ties."""
    both = np.concatenate((a, b))
    _, place, times = np.unique(both, return_inverse=True, return_counts=True)
    rank = (np.cumsum(times) - (times - 1) / 2)[place]
    n, m, total = len(a), len(b), len(both)
    area = (float(rank[n:].sum()) - m * (m + 1) / 2) / (n * m)
    ties = float((times.astype(np.float64) ** 3 - times).sum()) / (total * (total - 1))
    variance = (total + 1 - ties) / (12 * n * m)
    return area, 0.5 * math.erfc((area - 0.5) / math.sqrt(2 * variance)) if variance > 0 else 1.0
