"""The streams that all detectors see: frames of columns, a reference of 10,000 rows and what follows it. Numpy only.

A service of 10 rows a second: a tick of 10 s holds 100 rows, a window of 1,000 rows is full after 100 s.
Columns of a frame are independent; with a shift, each of the 25 shifts at a row of its own, so that a frame gives 25
delays and nobody's windows happen to begin with the shift.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Kind = Literal["numeric", "categorical"]

SEED: Final = 9501
REFERENCE_ROWS, COLUMNS = 10_000, 25
ROWS_A_DAY: Final = 864_000
BUDGET_ROWS: Final = 30 * ROWS_A_DAY
"""One false alarm in so many rows, over all columns."""
FIRST, LAST, AFTER = 20_000, 40_000, 60_000
"""Columns shift between these two rows of their frame; so many follow the last."""

SHAPES: Final = ("normal",) * 8 + ("lognormal",) * 4 + ("exponential",) * 3 + ("uniform",) * 2 + ("t3",) * 3
LEVELS: Final = np.array([0.35, 0.25, 0.15, 0.10, 0.08, 0.05, 0.02])
ZIPF: Final = 1 / np.arange(1, 21) / (1 / np.arange(1, 21)).sum()
STABLE: Final = ("stable numeric", "stable categorical")
PERMUTED: Final = "permuted"
"""Names of frames of real data in no order begin so: ``permuted flights 07 numeric``."""


@dataclass(frozen=True, slots=True)
class World:
    """One frame.

    Attributes:
        name: of what happens.
        kind: of all its columns; levels are numbers 0, 1, ...
        reference: rows before anything, (m, C); NaN where missing.
        live: what follows, (rows, C).
        shifts: the first shifted row of `live` of each column; None when nothing shifts.
    """

    name: str
    kind: Kind
    reference: Values
    live: Values
    shifts: NDArray[np.int64] | None

    def windows(self, rows: int) -> Values:
        """Whole windows, (W, rows, C)."""
        count = len(self.live) // rows
        return self.live[: count * rows].reshape(count, rows, -1)


def shaped(rng: np.random.Generator, shape: str, rows: int) -> Values:
    """Rows of one of the stable shapes."""
    draw: dict[str, Callable[[], Values]] = {
        "normal": lambda: rng.standard_normal(rows),
        "lognormal": lambda: np.exp(rng.standard_normal(rows)),
        "exponential": lambda: rng.standard_exponential(rows),
        "uniform": lambda: rng.random(rows),
        "t3": lambda: rng.standard_t(3, rows),
    }
    return draw[shape]()


def bimodal(rng: np.random.Generator, size: tuple[int, int]) -> Values:
    """Two humps with the mean and the variance of a standard normal."""
    found: Values = 0.6 * rng.standard_normal(size) + np.where(rng.random(size) < 0.5, 0.8, -0.8)
    return found


def outliers(rng: np.random.Generator, size: tuple[int, int]) -> Values:
    """Two rows in a hundred are six times as wide."""
    found: Values = rng.standard_normal(size) * np.where(rng.random(size) < 0.02, 6.0, 1.0)
    return found


def gradual(rng: np.random.Generator, size: tuple[int, int]) -> Values:
    """The mean wanders up by .5 sd within 20,000 rows and stays there."""
    found: Values = rng.standard_normal(size) + np.minimum(np.arange(size[0]) / 20_000, 1)[:, None] * 0.5
    return found


def missing(share: float) -> Callable[[np.random.Generator, tuple[int, int]], Values]:
    """Normal rows, some of them missing."""
    return lambda rng, size: np.where(rng.random(size) < share, np.nan, rng.standard_normal(size))


def leveled(shares: Values) -> Callable[[np.random.Generator, tuple[int, int]], Values]:
    """Levels of these shares."""
    return lambda rng, size: rng.choice(len(shares), size, p=shares).astype(np.float64)


def swapped(shares: Values, one: int, other: int) -> Values:
    """The shares with two of them exchanged."""
    result = shares.copy()
    result[[one, other]] = shares[[other, one]]
    return result


Draw = Callable[[np.random.Generator, tuple[int, int]], Values]


def normal(mean: float = 0.0, sd: float = 1.0) -> Draw:
    """Rows of a normal distribution."""
    return lambda rng, size: mean + sd * rng.standard_normal(size)


SHIFTS: Final[dict[str, tuple[Kind, Draw, Draw]]] = {
    "mean +.1 sd": ("numeric", normal(), normal(0.1)),
    "mean +.25 sd": ("numeric", normal(), normal(0.25)),
    "mean +.5 sd": ("numeric", normal(), normal(0.5)),
    "sd x1.25": ("numeric", normal(), normal(sd=1.25)),
    "bimodal": ("numeric", normal(), bimodal),
    "2 % outliers": ("numeric", normal(), outliers),
    "category swap": ("categorical", leveled(ZIPF), leveled(swapped(ZIPF, 3, 8))),
    "missing 1 to 5 %": ("numeric", missing(0.01), missing(0.05)),
    "gradual +.5 sd": ("numeric", normal(), gradual),
}
"""Kind, what the reference and the rows before are drawn from, and what comes."""


def shifted(name: str, columns: int = COLUMNS) -> World:
    """A frame in which every column shifts."""
    kind, calm, moved = SHIFTS[name]
    rng = np.random.default_rng([SEED, list(SHIFTS).index(name), columns])
    reference, live = calm(rng, (REFERENCE_ROWS, columns)), np.empty((LAST + AFTER, columns))
    shifts = rng.integers(FIRST, LAST, columns)
    for column, row in enumerate(shifts.tolist()):
        live[:row, column] = calm(rng, (row, 1))[:, 0]
        live[row:, column] = moved(rng, (len(live) - row, 1))[:, 0]
    return World(name, kind, reference, live, shifts)


def stable(name: str, rows: int) -> World:
    """Twenty numeric columns of five shapes, or five with seven levels."""
    rng = np.random.default_rng([SEED, 100 + STABLE.index(name)])

    def draw(count: int) -> Values:
        if name == "stable categorical":
            return leveled(LEVELS)(rng, (count, COLUMNS - len(SHAPES)))
        return np.stack([shaped(rng, shape, count) for shape in SHAPES], axis=1)

    kind: Kind = "categorical" if name == "stable categorical" else "numeric"
    return World(name, kind, draw(REFERENCE_ROWS), draw(rows), None)


def save(world: World, folder: pathlib.Path) -> None:
    """As a file that every numpy reads alike."""
    shifts = np.zeros(0, np.int64) if world.shifts is None else world.shifts
    np.savez(folder / f"{world.name}.npz", reference=world.reference, live=world.live, shifts=shifts, kind=world.kind)


def saved(folder: pathlib.Path) -> Iterator[World]:
    """All worlds of a folder, by name."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            kind: Kind = "numeric" if str(file["kind"]) == "numeric" else "categorical"
            shifts = file["shifts"].astype(np.int64) if file["shifts"].size else None
            yield World(path.stem, kind, file["reference"], file["live"], shifts)
