"""A regression and its canary under the SDK, without HTTP: `rows FILE` writes a reference's rows, `serve` works on.

Ridge regression on scikit-learn's bundled diabetes data; its predictions are numbers, which fills what classes cannot.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from pilotfish import Monitor

TRAINING = 250
ROWS = 6_000
PERIOD_S = 13.0


def drawn(seed: int) -> Iterator[tuple[dict[str, float], float, float]]:
    """(features, prediction, seconds it took) of rows drawn with replacement, without end."""
    data = load_diabetes(scaled=False)
    model = Ridge().fit(data.data[:TRAINING], data.target[:TRAINING])
    rng, pool = np.random.default_rng(seed), data.data[TRAINING:]
    while True:
        row = pool[rng.integers(len(pool))]
        began = time.perf_counter()
        value = float(model.predict(row[None])[0])
        yield dict(zip(data.feature_names, row.tolist(), strict=True)), value, time.perf_counter() - began


def main() -> None:
    """Rows of a reference, or a model that works until it is ended."""
    if sys.argv[1] == "rows":
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            for features, value, _ in itertools.islice(drawn(1), ROWS):
                print(json.dumps({"features": features, "prediction": value}), file=file)
        return
    monitors = [Monitor(name="diabetes", version=version) for version in ("2026-11", "2026-12")]
    for row, (features, value, took) in enumerate(drawn(2)):
        newer = row % 2  # a canary that predicts 20 more
        monitors[newer].observe(features=features, prediction=value + 20 * newer, latency=took)
        time.sleep(0.02 * (1 + 0.6 * math.sin(2 * math.pi * time.monotonic() / PERIOD_S)))


if __name__ == "__main__":
    main()
