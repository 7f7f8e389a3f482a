"""NannyML: univariate drift (Jensen-Shannon) and missing values, thresholds from the chunks of the reference."""

from __future__ import annotations

import nannyml
import numpy as np
import pandas as pd

from benchmarks.peers.protocol import WINDOW, Judge, Verdicts, Windowed, main
from benchmarks.peers.worlds import Kind, Values


def frame(values: Values, kind: Kind) -> pd.DataFrame:
    """As a user would have it; levels are text."""
    return pd.DataFrame(
        {
            f"x{i}": c if kind == "numeric" else "level " + pd.Series(c.astype(int)).astype(str)
            for i, c in enumerate(values.T)
        }
    )


def chunks(reference: Values, kind: Kind) -> Judge:
    names = [f"x{i}" for i in range(reference.shape[1])]
    before = frame(reference, kind)
    drift = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=WINDOW)
    drift.fit(before)
    holes = nannyml.MissingValuesCalculator(column_names=names, chunk_size=WINDOW)
    holes.fit(before)
    has_holes = bool(np.isnan(reference).any())

    def judge(windows: Values) -> Verdicts:
        rows = frame(windows.reshape(-1, windows.shape[2]), kind)
        result = drift.calculate(rows).filter(period="analysis").to_df()
        over = np.stack([result[(n, "jensen_shannon", "alert")].to_numpy(bool) for n in names], axis=1)
        if has_holes:
            result = holes.calculate(rows).filter(period="analysis").to_df()
            over |= np.stack([result[(n, "alert")].to_numpy(bool) for n in names], axis=1)
        return over

    return judge


DETECTORS = {"NannyML": Windowed(chunks)}

if __name__ == "__main__":
    main(DETECTORS)
