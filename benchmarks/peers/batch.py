"""``python -m benchmarks.peers.batch WHO``: one batch of 10,000 rows against 100,000, 25 columns; a line of JSON.

Both sides are in memory when the clock starts, as each tool takes them, and all is imported: what is measured is the
calculation. The best of some runs; peak memory is that of the whole process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

REFERENCE_ROWS, ROWS, SEED = 100_000, 10_000, 9471
NUMERIC, CATEGORICAL = 20, 5
SHARES = np.array([0.35, 0.25, 0.15, 0.10, 0.08, 0.05, 0.02])
SHIFTED = "n0"
Table = dict[str, Any]


def table(rows: int, seed: int, shift: float = 0.0) -> Table:
    """20 numbers of five shapes, the first one moved by ``shift``; 5 of seven levels, as lists of texts."""
    rng = np.random.default_rng([SEED, seed])
    draw: tuple[Callable[[int], Any], ...] = (
        rng.standard_normal,
        rng.standard_exponential,
        rng.random,
        lambda n: rng.standard_t(3, n),
        lambda n: np.exp(rng.standard_normal(n)),
    )
    numbers: Table = {f"n{j}": draw[j % len(draw)](rows) for j in range(NUMERIC)}
    numbers[SHIFTED] = numbers[SHIFTED] + shift
    levels = {f"c{j}": [f"level {i}" for i in rng.choice(len(SHARES), rows, p=SHARES)] for j in range(CATEGORICAL)}
    return numbers | levels


def evidently() -> Callable[[], list[str]]:
    """Its drift preset on data frames."""
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    reference, current = pd.DataFrame(table(REFERENCE_ROWS, 0)), pd.DataFrame(table(ROWS, 1, 0.25))

    def run() -> list[str]:
        found = Report([DataDriftPreset()]).run(current, reference).dict()
        values = {m["config"]["column"]: m["value"] for m in found["metrics"] if "column" in m.get("config", {})}
        return [name for name, value in values.items() if value >= 0.1]

    return run


def batches(whole: Table, rows: int) -> Iterator[Any]:
    """As the readers of files hand them on."""
    from pilotfish_agent.drift.rows import BATCH_ROWS, Rows
    from pilotfish_core.nouns import ObservationBatch

    for start in range(0, rows, BATCH_ROWS):
        end = min(rows, start + BATCH_ROWS)
        part = {name: column[start:end] for name, column in whole.items()}
        batch = ObservationBatch(model="", version=None, source="tail", rows=end - start, features=part)
        yield Rows(batch, np.arange(start + 1, end + 1), None)


def check() -> Callable[[], list[str]]:
    """`check` on a built reference."""
    import pilotfish_agent.drift.tests.js as _  # noqa: F401 - imported before the clock starts
    from pilotfish_agent.commands.check import Report
    from pilotfish_agent.drift import battery
    from pilotfish_agent.drift.check import Options
    from pilotfish_agent.drift.check import check as checked
    from pilotfish_agent.drift.reference import Reference

    reference = Reference.from_json(sys.stdin.read())
    current = list(batches(table(ROWS, 1, 0.25), ROWS))
    tests = battery.chosen(["js"])

    def run() -> list[str]:
        found = checked(reference, current, Options())
        results = {n: tuple(battery.results(one, tests, battery.NO_VALUES)) for n, one in found.features().items()}
        report = Report(found, 0, results).json()
        return [f["feature"] for f in report["features"] if f["verdict"] != "stable"]

    return run


def check_all() -> Callable[[], list[str]]:
    """`check --tests all`, with the reference made of its rows in the same calculation."""
    import scipy.stats  # noqa: F401 - imported before the clock starts

    from pilotfish_agent.commands.check import Report
    from pilotfish_agent.drift import battery
    from pilotfish_agent.drift.builder import ReferenceBuilder
    from pilotfish_agent.drift.check import Options
    from pilotfish_agent.drift.check import check as checked

    before, current = list(batches(table(REFERENCE_ROWS, 0), REFERENCE_ROWS)), list(batches(table(ROWS, 1, 0.25), ROWS))
    tests = battery.chosen([battery.ALL])

    def run() -> list[str]:
        builder = ReferenceBuilder()
        for rows in before:
            builder.add(rows.batch)
        reference = builder.reference(created=0.0)
        raw = battery.RawValues(reference), battery.RawValues(reference)
        for side, part in zip(raw, (before, current), strict=True):
            for rows in part:
                side.add(rows.batch)
        found = checked(reference, current, Options())
        results = {name: tuple(battery.results(one, tests, raw)) for name, one in found.features().items()}
        report = Report(found, 0, results).json()
        return [f["feature"] for f in report["features"] if f["verdict"] != "stable"]

    return run


def made() -> str:
    """The built reference, as JSON."""
    from pilotfish_agent.drift.builder import ReferenceBuilder

    builder = ReferenceBuilder()
    for rows in batches(table(REFERENCE_ROWS, 0), REFERENCE_ROWS):
        builder.add(rows.batch)
    return builder.reference(created=0.0, independent=True).to_json()


def peak_mib() -> float:
    """Of this process since it was started."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


WHO = {"evidently": (evidently, 2), "check": (check, 9), "check_all": (check_all, 3)}


def main() -> int:
    """Measures one of them."""
    who = sys.argv[1]
    if who == "made":
        sys.stdout.write(made())
        return 0
    make, times = WHO[who]
    run, cpu = make(), []
    for _ in range(times):
        start = time.process_time()
        found = run()
        cpu.append(time.process_time() - start)
    print(json.dumps({"cpu": min(cpu), "peak_mib": peak_mib(), "found": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
