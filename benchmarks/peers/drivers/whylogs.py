"""Whylogs: profiles of the reference and of each window, its own drift scores, verdict DRIFT."""

from __future__ import annotations

import pandas as pd
import whylogs
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

from benchmarks.peers.protocol import Judge, Windowed, each, main
from benchmarks.peers.worlds import Kind, Values


def frame(values: Values, kind: Kind) -> pd.DataFrame:
    """As a user would have it; levels are text."""
    names = [f"x{i}" for i in range(values.shape[1])]
    columns = {
        n: (c if kind == "numeric" else "level " + pd.Series(c.astype(int)).astype(str))
        for n, c in zip(names, values.T, strict=True)
    }
    if kind == "categorical":
        columns["row"] = range(len(values))  # its scores need a numeric column
    return pd.DataFrame(columns)


def profiles(reference: Values, kind: Kind) -> Judge:
    view = whylogs.log(frame(reference, kind)).view()
    names = [f"x{i}" for i in range(reference.shape[1])]

    def decide(window: Values) -> list[bool]:
        scores = calculate_drift_scores(whylogs.log(frame(window, kind)).view(), view, with_thresholds=True)
        return [bool(scores[n]) and scores[n]["drift_category"] == "DRIFT" for n in names]

    return each(decide)


DETECTORS = {"whylogs": Windowed(profiles)}

if __name__ == "__main__":
    main(DETECTORS)
