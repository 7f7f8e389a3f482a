"""Drift over all replicas: the recording rules under promtool against numpy on the same rows."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.bars import Result, bar, versions
from tests.alerts.replicas import Key, Replica, asked, draw, expected, reference

SEED: Final = 6101
REPLICAS: Final = 4
ROWS: Final = 300  # a minute and replica
BEFORE: Final = 65
"""Minute of the first question: all has run for an hour."""
RESTART: Final = 80
AFTER: Final = 120
"""Minute of the second one: the restart lies inside its hour."""


def played() -> tuple[list[dict[str, str]], list[list[Mapping[str, Any]]]]:
    """Series and rows of two hours; the values drift from minute 30 on, and one replica restarts.

    It dies after half a minute of rows that nobody scraped, is away for a scrape, and begins at 0.
    """
    rng = np.random.default_rng(SEED)
    every = [Replica(reference(SEED)) for _ in range(REPLICAS)]
    minutes: list[list[Mapping[str, Any]]] = []
    for minute in range(AFTER + 1):
        shift = 0.3 if minute >= 30 else 0.0
        died = minute == RESTART
        minutes.append([draw(rng, ROWS // 2 if died and i == 0 else ROWS, shift) for i in range(REPLICAS)])
        for i, (replica, part) in enumerate(zip(every, minutes[-1], strict=True)):
            replica.take(part)
            if died and i == 0:
                replica.restart()
            replica.scrape(down=died and i == 0)
    return [line for i, one in enumerate(every) for line in one.lines(f"r{i}")], minutes


def words(found: Mapping[Key, float], wanted: Mapping[Key, float]) -> tuple[str, float]:
    """The largest difference of each distance, and of all."""
    names = sorted({name for _, name in wanted})
    worst = {
        name: max(abs(found.get(key, np.inf) - value) for key, value in wanted.items() if key[1] == name)
        for name in names
    }
    return ", ".join(f"{name.removesuffix('1h')} {worst[name]:.1e}" for name in names), max(worst.values())


def promtool() -> str:
    """Its name and version."""
    done = subprocess.run(("promtool", "--version"), capture_output=True, text=True, check=True)
    return " ".join((done.stdout or done.stderr).split()[:3]).replace(", version", "")


@bar("fleet: rules over all replicas under promtool", "equal numpy to 1e-9; with a restart in the hour <= 1e-3")
def rules() -> Result:
    if shutil.which("promtool") is None:
        return Result("promtool is not installed: apt-get install prometheus", None)
    lines, minutes = played()
    made = reference(SEED)
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder:
        before = asked(Path(folder), lines, BEFORE)
        after = asked(Path(folder), lines, AFTER)
    exact, first = words(before, expected(made, minutes, BEFORE))
    near, second = words(after, expected(made, minutes, AFTER))
    text = (
        f"{exact}; with a restart {near} (half a minute of its rows lost, down for a scrape); {REPLICAS} replicas x "
        f"{ROWS} rows a minute, {len(made.features)} features, {len(lines)} series, seed {SEED}"
    )
    return Result(text, first <= 1e-9 and second <= 1e-3, f"{versions('numpy')}, {promtool()}")
