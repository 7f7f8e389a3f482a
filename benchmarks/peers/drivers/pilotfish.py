"""Ours: layout, tables, engine and line of the product, ticks of 100 rows, one false alarm in 30 days over all columns.

Level notice is the detector without a minimum effect, which no peer has; level alarm has the default one of .1.
"""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr

from benchmarks.peers import product
from benchmarks.peers.datasets import Frame
from benchmarks.peers.protocol import Found, printed
from benchmarks.peers.worlds import (
    BUDGET_ROWS,
    COLUMNS,
    LEVELS,
    PERMUTED,
    SHAPES,
    STABLE,
    Kind,
    Values,
    World,
    saved,
    stable,
)
from benchmarks.reference import nulls
from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.layout import edges_from_reference
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.tables import StreamTables, TableSpec, build

NOTICE, ALARM = NAMES = ("Pilotfish", "Pilotfish, level alarm at .1")
ROWS = 100
"""Of a tick."""
BUDGET_TICKS = BUDGET_ROWS // ROWS
Bins = NDArray[np.int64]


class Column:
    """Bins of one column: those of the product, missing and the infinities last; of levels, other and missing last."""

    def __init__(self, reference: Values, kind: Kind) -> None:
        if kind == "numeric":
            self.edges = edges_from_reference(reference[~np.isnan(reference)])
            self.size = len(self.edges) + 4
            self._special: tuple[int, ...] = (self.size - 3, self.size - 2, self.size - 1)
        else:
            self.edges = np.arange(reference.max() + 1)
            self.size = len(self.edges) + 2
            self._special = ()
        counts = np.bincount(self.bins(reference), minlength=self.size).astype(np.float64)
        self.spec = TableSpec("x", kind, counts, self._special)

    def bins(self, values: Values) -> Bins:
        """Of each value."""
        found = np.searchsorted(self.edges, values)
        if self._special:
            found[np.isnan(values)] = self._special[0]
        return found

    def counts(self, values: Values) -> Bins:
        """Of each tick, (T, K)."""
        ticks = len(values) // ROWS
        at = self.bins(values[: ticks * ROWS]) + np.repeat(np.arange(ticks) * self.size, ROWS)
        return np.bincount(at, minlength=ticks * self.size).reshape(ticks, self.size)


def columns_of(world: World) -> list[Column]:
    return [Column(c, world.kind) for c in world.reference.T]


def tables_of(columns: list[Column], budget_ticks: float = BUDGET_TICKS) -> list[StreamTables]:
    return build([c.spec for c in columns], budget_ticks, max(COLUMNS, len(columns)))


def counts_of(columns: list[Column], world: World) -> list[Bins]:
    """Ticks of all columns."""
    return [c.counts(x) for c, x in zip(columns, world.live.T, strict=True)]


def delays(world: World) -> list[list[int | None]]:
    """Rows from its shift to the first crossing of each column, at each level; earlier crossings start it anew."""
    columns = columns_of(world)
    tables, counts = tables_of(columns), counts_of(columns, world)
    assert world.shifts is not None
    engine, line, first = Engine(tables), tables[0].log_threshold, np.full((2, len(tables)), -1)
    for t in range(len(counts[0])):
        over = engine.step([c[t] for c in counts]) >= line
        rows = (t + 1) * ROWS - world.shifts
        for f in np.flatnonzero(over.any(0) & (rows <= 0)).tolist():
            engine.reset(f)
        found = over & (first < 0) & (rows > 0)
        first[found] = np.broadcast_to(rows, first.shape)[found]
        if (first >= 0).all():
            break
    return [[int(d) if d >= 0 else None for d in level] for level in first]


def on_rows(worlds: list[World]) -> list[int]:
    """Alarms of each level on stable frames: streams over their line, and the model as a whole, all columns at once."""
    parts = [columns_of(world) for world in worlds]
    counts = [c for columns, world in zip(parts, worlds, strict=True) for c in counts_of(columns, world)]
    ticks = ([c[t] for c in counts] for t in range(len(counts[0])))
    outcome = nulls.run(tables_of([c for columns in parts for c in columns]), ticks, oracle=False)
    return [outcome.count(0), outcome.count(1)]


# -- longer than rows could be drawn: counts of ticks from the true masses of the bins

BELOW: dict[str, Callable[[Values], Values]] = {
    "normal": ndtr,
    "lognormal": lambda x: ndtr(np.log(np.maximum(x, 1e-300))),
    "exponential": lambda x: -np.expm1(-np.maximum(x, 0)),
    "uniform": lambda x: np.clip(x, 0, 1),
    "t3": lambda x: stdtr(3, x),
}
"""Distribution functions of the stable shapes."""


def stable_streams() -> tuple[list[Column], list[Values]]:
    """The columns of the stable frames, and what the masses of their bins are in truth."""
    columns, masses = [], []
    for name in STABLE:
        these = columns_of(stable(name, 0))
        columns += these
        if name == "stable categorical":
            masses += [np.concatenate((LEVELS, [0, 0]))] * len(these)
        else:
            for shape, column in zip(SHAPES, these, strict=True):
                share = np.diff(BELOW[shape](column.edges), prepend=0, append=1)
                masses.append(np.concatenate((share, np.zeros(3))))
    return columns, masses


def drawn(masses: list[Values], ticks: int, seed: int) -> Iterator[list[Bins]]:
    """Counts of ticks."""
    rng, block = np.random.default_rng(seed), 1_000
    for first in range(0, ticks, block):
        some = [rng.multinomial(ROWS, p, size=min(block, ticks - first)) for p in masses]
        yield from ([c[t] for c in some] for t in range(len(some[0])))


def month(ticks: int, seed: int) -> list[int]:
    """Alarms of each level in so many ticks of the stable frames."""
    columns, masses = stable_streams()
    outcome = nulls.run(tables_of(columns), drawn(masses, ticks, seed), oracle=False)
    return [outcome.count(0), outcome.count(1)]


def in_no_order(parts: Sequence[World]) -> list[int]:
    """Alarms of each level on a frame of real data, through the reference builder and the watch of the product."""
    before, after = (frame_of(parts, live=live) for live in (False, True))
    reference, settings = product.built(before), Config()
    said = product.entries(reference, product.tables_of(reference, settings), after, settings)
    return [sum(e.kind == kind for e in said) for kind in ("notice", "alarm")]


def frame_of(parts: Sequence[World], *, live: bool) -> Frame:
    """The rows of the worlds side by side; levels are texts again."""
    columns: dict[Kind, dict[str, Values]] = {"numeric": {}, "categorical": {}}
    for world in parts:
        values = world.live if live else world.reference
        columns[world.kind] |= {f"{world.kind}_{i}": c for i, c in enumerate(values.T)}
    texts = {n: np.array([f"level {int(x)}" for x in c], object) for n, c in columns["categorical"].items()}
    times = np.arange(len(values), dtype=np.float64) * (product.TICK / product.ROWS) + live * 1e6
    return Frame("real", columns["numeric"], texts, times, timed=False)


def measured(worlds: Iterable[World]) -> dict[str, Found]:
    """Both levels."""
    found, began = {name: Found() for name in NAMES}, time.process_time()
    together: dict[str, list[World]] = {}
    for world in worlds:
        if world.shifts is None:
            together.setdefault(world.name.rpartition(" ")[0], []).append(world)
            continue
        for name, level in zip(NAMES, delays(world), strict=True):
            found[name].delays[world.name] = level
    for frame, parts in together.items():
        rows = sum(w.live.size for w in parts)
        for name, alarms in zip(
            NAMES, in_no_order(parts) if frame.startswith(PERMUTED) else on_rows(parts), strict=True
        ):
            found[name].alarms[frame] = [alarms, rows]
            found[name].cpu = time.process_time() - began
    return found


if __name__ == "__main__":
    printed(measured(saved(pathlib.Path(sys.argv[1]))))
