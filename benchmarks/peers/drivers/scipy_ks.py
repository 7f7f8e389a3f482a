"""scipy's two-sample KS and chi-square: at p < .05 as people use them, and at the budget that Pilotfish keeps.

At the budget: one alarm in `BUDGET_ROWS` rows over all columns, so p < rows of the window / (columns x those rows).
`Best` of the windows is known only afterwards: nobody could have chosen it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.stats import chi2_contingency, ks_2samp, kstwo

from benchmarks.peers.protocol import WINDOW, Differs, Judge, Windowed, each, main
from benchmarks.peers.worlds import BUDGET_ROWS, Kind, Values

LEVEL = 0.05
WINDOWS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)


def fixed(rows: int) -> str:
    """Name of a detector at the budget."""
    return f"KS at the budget, window {rows:,}"


def distance(known: Values) -> Callable[[Values], float]:
    """The statistic against a sorted reference, of whatever is not missing."""

    def of(window: Values) -> float:
        now = np.sort(window[~np.isnan(window)])
        left, right = (np.searchsorted(known, now, side) / len(known) for side in ("left", "right"))
        share = np.arange(len(now) + 1) / len(now)
        return float(max((share[1:] - right).max(), (left - share[:-1]).max()))

    return of


@functools.cache
def critical(known: int, rows: int, level: float) -> float:
    """The smallest statistic with a p below the level, by the distribution that scipy takes for large samples."""
    return float(kstwo.isf(level, round(known * rows / (known + rows))))


def chi_square(reference: Values, window: Values) -> float:
    bins = int(max(reference.max(), window.max())) + 1
    counts = np.stack([np.bincount(x.astype(np.int64), minlength=bins) for x in (reference, window)])
    return float(chi2_contingency(counts[:, counts.any(0)])[1])


def usual(reference: Values, kind: Kind) -> Judge:
    """As people use it."""
    if kind == "categorical":
        return each(lambda w: [chi_square(c, x) < LEVEL for c, x in zip(reference.T, w.T, strict=True)])
    return each(lambda w: [ks_2samp(c, x).pvalue < LEVEL for c, x in zip(reference.T, w.T, strict=True)])


def at_budget(reference: Values, kind: Kind, rows: int) -> Judge:
    """As strict as the promise."""
    level = rows / BUDGET_ROWS / reference.shape[1]
    if kind == "categorical":
        return each(lambda w: [chi_square(c, x) < level for c, x in zip(reference.T, w.T, strict=True)])
    known = [np.sort(c[~np.isnan(c)]) for c in reference.T]
    columns = [(distance(c), len(c)) for c in known]

    def decide(window: Values) -> list[bool]:
        held = (~np.isnan(window)).sum(0).tolist()
        return [of(x) > critical(m, n, level) for (of, m), x, n in zip(columns, window.T, held, strict=True)]

    return each(decide)


def check(reference: Values, windows: Values, kind: Kind) -> str:
    """Scipy's own statistic and p on the same windows."""
    if kind == "categorical":
        return "scipy itself"
    most, level = 0.0, WINDOW / BUDGET_ROWS / reference.shape[1]
    for window in windows:
        for column, x in zip(reference.T, window.T, strict=True):
            wanted = ks_2samp(column, x, method="asymp", nan_policy="omit")
            known = np.sort(column[~np.isnan(column)])
            found = distance(known)(x)
            most = max(most, abs(found - float(wanted.statistic)))
            if (found > critical(len(known), int((~np.isnan(x)).sum()), level)) != (wanted.pvalue < level):
                raise Differs(f"scipy decides otherwise at D = {found:.4f}, p = {wanted.pvalue:.2e}")
    if most > 1e-9:
        raise Differs(f"scipy's statistic differs by {most:.1e} from that of a reference sorted once")
    return f"{len(windows)} windows, statistics within {most:.0e}, same verdicts"


DETECTORS = {"scipy KS, chi-square p < .05": Windowed(usual)} | {
    fixed(rows): Windowed(partial(at_budget, rows=rows), rows, check if rows == WINDOW else None) for rows in WINDOWS
}

if __name__ == "__main__":
    main(DETECTORS)
