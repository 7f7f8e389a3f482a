"""Evidently's drift preset, by the formulas that it chooses, with the reference sorted once: its report takes a second.

The report itself runs on a few windows: its numbers must be those of the formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
from scipy.spatial.distance import jensenshannon
from scipy.stats import chisquare, ks_2samp

from benchmarks.peers.protocol import Differs, Judge, Verdicts, Windowed, each, main
from benchmarks.peers.worlds import Kind, Values

FAR, LEVEL = 0.1, 0.05
SMALL = 1_000
"""References of at most so many rows are judged by tests, larger ones by distances."""

Number = Callable[[Values], float]


def wasserstein(reference: Values) -> Number:
    """Distance over the standard deviation of the reference."""
    known = np.sort(reference)
    width = max(float(known.std()), 0.001)

    def number(current: Values) -> float:
        now = np.sort(current)
        both = np.sort(np.concatenate((known, now)), kind="stable")
        at = both[:-1]
        apart = np.searchsorted(known, at, "right") / len(known) - np.searchsorted(now, at, "right") / len(now)
        return float(np.abs(apart) @ np.diff(both)) / width

    return number


def by_levels(reference: Values, test: Callable[[Values, Values], float]) -> Number:
    """A number from the counts of the levels of either."""
    size = int(reference.max()) + 1

    def number(current: Values) -> float:
        bins = max(size, int(current.max()) + 1)
        counts = [np.bincount(x.astype(np.int64), minlength=bins).astype(np.float64) for x in (reference, current)]
        return test(*(c[(counts[0] + counts[1]) > 0] for c in counts))

    return number


def distance_of_levels(before: Values, now: Values) -> float:
    return float(jensenshannon(before / before.sum(), now / now.sum()))


def probability_of_levels(before: Values, now: Values) -> float:
    return float(chisquare(now, before * (now.sum() / before.sum()))[1])


def number_of(reference: Values, kind: Kind) -> Number:
    """What the preset computes for a column."""
    small = len(reference) <= SMALL
    if kind == "categorical":
        return by_levels(reference, probability_of_levels if small else distance_of_levels)
    return (lambda current: float(ks_2samp(reference, current).pvalue)) if small else wasserstein(reference)


def numbers(reference: Values, kind: Kind) -> Callable[[Values], Values]:
    """The same for a frame; missing values are dropped as it does."""
    columns = [number_of(c[~np.isnan(c)], kind) for c in reference.T]
    return lambda window: np.array([n(x[~np.isnan(x)]) for n, x in zip(columns, window.T, strict=True)])


def preset(reference: Values, kind: Kind, rows: int) -> Judge:
    of = numbers(reference[:rows], kind)

    def decide(window: Values) -> Verdicts:
        found: Verdicts = of(window) < LEVEL if rows <= SMALL else of(window) >= FAR
        return found

    return each(decide)


def dataset(values: Values, kind: Kind) -> Dataset:
    names = [f"x{i}" for i in range(values.shape[1])]
    columns = {
        n: c if kind == "numeric" else [f"level {int(x)}" for x in c] for n, c in zip(names, values.T, strict=True)
    }
    split = DataDefinition(**{"numerical_columns" if kind == "numeric" else "categorical_columns": names})
    return Dataset.from_pandas(pd.DataFrame(columns), data_definition=split)


def check(reference: Values, windows: Values, kind: Kind, rows: int) -> str:
    """The report on the same windows."""
    before, of, most = dataset(reference[:rows], kind), numbers(reference[:rows], kind), 0.0
    for window in windows:
        report = Report([DataDriftPreset()]).run(dataset(window, kind), before).dict()
        wanted = [float(m["value"]) for m in report["metrics"] if m["metric_name"].startswith("ValueDrift")]
        most = max(most, float(np.abs(of(window) - wanted).max()))
    if most > 1e-9:
        raise Differs(f"the report's numbers differ by {most:.1e} from the formulas: its preset has changed")
    return f"{len(windows)} reports, numbers within {most:.0e}"


DETECTORS = {
    "Evidently": Windowed(partial(preset, rows=10_000), check=partial(check, rows=10_000)),
    "Evidently, reference of 1,000 rows": Windowed(partial(preset, rows=SMALL), check=partial(check, rows=SMALL)),
}

if __name__ == "__main__":
    main(DETECTORS)
