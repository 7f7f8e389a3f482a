"""The golden vectors (tests/golden/detector.json) and the tables that belong to them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tables import StreamTables, TableSpec, build

BUDGET: Final = 43_200.0
PATH: Final = Path(__file__).parents[1] / "golden" / "detector.json"
LEVELS: Final = np.array([500.0, 300, 150, 50, 0])


@cache
def vectors() -> dict[str, Any]:
    """All of them."""
    read: dict[str, Any] = json.loads(PATH.read_text())
    return read


def close(found: Any, wanted: Any, tolerance: float = 1e-9) -> bool:
    """Within the tolerance, absolute or relative, shapes and infinities alike."""
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=tolerance))


def reference() -> tuple[Floats, tuple[int, ...]]:
    """Counts (37,) of the golden numeric reference, its special bins."""
    found = vectors()["nominal"]
    return np.array(found["ref"]), tuple(found["special"])


def ticks() -> Floats:
    """Counts (12, 37); the fifth tick is empty."""
    return np.array(vectors()["engine"]["counts"])


@cache
def numeric(phi: float = 1.0) -> StreamTables:
    """Tables of the golden numeric stream, F = 100."""
    counts, special = reference()
    return build([TableSpec("x", "numeric", counts, special, phi)], BUDGET, 100)[0]


@cache
def categorical() -> StreamTables:
    """Tables of the golden categorical stream, F = 3."""
    return build([TableSpec("c", "categorical", LEVELS)], BUDGET, 3)[0]


@cache
def assorted() -> tuple[StreamTables, ...]:
    """Six streams that differ in kind, K, J, phi and minimum effect."""
    counts, special = reference()
    few = np.array([60.0, 80, 70, 90, 3, 0, 0])
    specs = [
        TableSpec("x", "numeric", counts, special),
        TableSpec("few", "numeric", few, (4, 5, 6), 1.5625),
        TableSpec("c", "categorical", LEVELS),
        TableSpec("none special", "numeric", counts[:-3], (), 1.0, 0.5),
        TableSpec("one bin", "numeric", np.array([1200.0, 12, 0, 0]), (1, 2, 3)),
        TableSpec("levels", "categorical", np.array([900.0, 50, 40, 30, 20, 10, 5, 0, 7]), (), 3.0517578125),
    ]
    return tuple(build(specs, BUDGET))


def draw(tables: tuple[StreamTables, ...], seed: int, number: int, shift: float = 0.0) -> list[list[NDArray[np.int64]]]:
    """``number`` ticks of 0 to 150 rows of every stream; with a shift the last regular bin is more frequent."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(number):
        tick = []
        for table in tables:
            masses = table.pi.copy()
            masses[len(masses) - len(table.special) - 1] += shift
            rows = int(rng.integers(0, 150)) if rng.random() > 0.1 else 0
            tick.append(rng.multinomial(rows, masses / masses.sum()))
        drawn.append(tick)
    return drawn
