"""A regression and its canary under the SDK, without HTTP: `rows FILE` writes a reference's rows, `serve FILE` works.

Ridge regression on scikit-learn's bundled diabetes data; its predictions are numbers, which fills what classes cannot.
Now and then it is fitted anew, which takes more CPU than its control group has; once FILE is there, it starts a worker
that asks for more memory than there is.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from pilotfish import Monitor

TRAINING = 250
ROWS = 6_000
PERIOD_S = 13.0
REST_S = 6.0
FIT_CPU_S = 1.5
GREEDY = "held = []\nwhile True: held.append(bytes(b'x' * 2**23))"


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


def fitted_anew() -> None:
    """Bursts of CPU time, without end."""
    data = load_diabetes()
    while True:
        time.sleep(REST_S)
        end = time.thread_time() + FIT_CPU_S
        while time.thread_time() < end:
            Ridge().fit(data.data, data.target)


def main() -> None:
    """Rows of a reference, or a model that works until it is ended."""
    if sys.argv[1] == "rows":
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            for features, value, _ in itertools.islice(drawn(1), ROWS):
                print(json.dumps({"features": features, "prediction": value}), file=file)
        return
    threading.Thread(target=fitted_anew, daemon=True).start()
    hungry, worker = Path(sys.argv[2]), None
    monitors = [Monitor(name="diabetes", version=version) for version in ("2026-11", "2026-12")]
    for row, (features, value, took) in enumerate(drawn(2)):
        newer = row % 2  # a canary that predicts 20 more
        monitors[newer].observe(features=features, prediction=value + 20 * newer, latency=took)
        if worker is None and hungry.exists():
            worker = subprocess.Popen([sys.executable, "-c", GREEDY])
        if worker is not None:
            worker.poll()  # the kernel has ended it
        time.sleep(0.02 * (1 + 0.6 * math.sin(2 * math.pi * time.monotonic() / PERIOD_S)))


if __name__ == "__main__":
    main()
