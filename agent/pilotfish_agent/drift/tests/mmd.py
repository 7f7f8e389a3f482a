"""Maximum mean discrepancy of vectors under a Gaussian kernel (Gretton et al., 2012), p by permutation."""

from __future__ import annotations

from typing import Final

import numpy as np

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Side, TestResult, drawn, of_values

NAME: Final = "mmd"
KINDS: Final = ("embedding",)
NEEDS: Final = "values"
MOST_ROWS: Final = 500
"""Of each side, drawn at random: cost grows with the square."""
PERMUTATIONS: Final = 500


def compare(reference: Side, current: Side) -> TestResult:
    """The unbiased squared discrepancy; the kernel's width is the median distance of all pairs."""
    return of_values(NAME, reference, current, _found, least=2)


def _found(a: Floats, b: Floats) -> tuple[float, float | None]:
    rng = np.random.default_rng(20240229)
    a, b = drawn(a, MOST_ROWS, rng), drawn(b, MOST_ROWS, rng)
    n, m = len(a), len(b)
    kernel = gaussian(np.concatenate((a, b)))
    first = np.zeros((PERMUTATIONS + 1, n + m))
    first[0, :n] = 1.0
    for row in first[1:]:
        row[rng.permutation(n + m)[:n]] = 1.0
    found = _unbiased(kernel, first, n, m)
    # Rounding must not tell a permutation from one that is the same.
    larger = int((found[1:] >= found[0] - 1e-12).sum())
    return float(found[0]), (1 + larger) / (1 + PERMUTATIONS)


def gaussian(x: Floats) -> Floats:
    """Kernel of all pairs of rows (n, n), 0 on the diagonal."""
    norm = (x * x).sum(1)
    squared = np.maximum(norm[:, None] + norm - 2 * (x @ x.T), 0.0)
    width = float(np.median(squared[np.triu_indices(len(x), 1)]))
    kernel: Floats = np.exp(-squared / (width or 1.0))
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _unbiased(kernel: Floats, first: Floats, n: int, m: int) -> Floats:
    """Of each assignment (P, n + m) of the rows to the two sides."""
    with_first = first @ kernel
    inside = (with_first * first).sum(1)
    across = with_first.sum(1) - inside
    other = kernel.sum() - inside - 2 * across
    found: Floats = inside / (n * (n - 1)) + other / (m * (m - 1)) - 2 * across / (n * m)
    return found
