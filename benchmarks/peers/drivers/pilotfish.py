"""Ours: layout, tables, engine and line of the product, ticks of 100 rows, one false alarm in 30 days over all columns.

Level notice is the detector without a minimum effect, which no peer has; level alarm has the default one of .1.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.protocol import Found
from benchmarks.peers.worlds import BUDGET_ROWS, COLUMNS, Kind, Values, World, saved
from benchmarks.reference import nulls
from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.layout import bin_index, edges_from_reference
from pilotfish_agent.drift.tables import StreamTables, TableSpec, build

NAMES = ("Pilotfish", "Pilotfish, level alarm at .1")
ROWS = 100
"""Of a tick."""
Bins = NDArray[np.int64]


class Column:
    """Bins of one column: those of the product, missing and the infinities last; of levels, other and missing last."""

    def __init__(self, reference: Values, kind: Kind) -> None:
        if kind == "numeric":
            self._edges = edges_from_reference(reference[~np.isnan(reference)])
            self.size = len(self._edges) + 4
            self._special: tuple[int, ...] = (self.size - 3, self.size - 2, self.size - 1)
        else:
            self._edges = np.arange(reference.max())
            self.size = len(self._edges) + 3
            self._special = ()
        counts = np.bincount(self.bins(reference), minlength=self.size).astype(np.float64)
        self.spec = TableSpec("x", kind, counts, self._special)

    def bins(self, values: Values) -> Bins:
        """Of each value."""
        found = bin_index(self._edges, values)
        if self._special:
            found[np.isnan(values)] = self._special[0]
        return found

    def counts(self, values: Values) -> Bins:
        """Of each tick, (T, K)."""
        ticks = len(values) // ROWS
        at = self.bins(values[: ticks * ROWS]) + np.repeat(np.arange(ticks) * self.size, ROWS)
        return np.bincount(at, minlength=ticks * self.size).reshape(ticks, self.size)


def prepared(world: World) -> tuple[list[StreamTables], list[Bins]]:
    """Tables and ticks of all columns."""
    columns = [Column(c, world.kind) for c in world.reference.T]
    tables = build([c.spec for c in columns], BUDGET_ROWS / ROWS, max(COLUMNS, len(columns)))
    return tables, [c.counts(x) for c, x in zip(columns, world.live.T, strict=True)]


def delays(tables: list[StreamTables], counts: list[Bins], shifts: Bins) -> list[list[int | None]]:
    """Rows from its shift to the first crossing of each column, at each level; earlier crossings start it anew."""
    engine, line, first = Engine(tables), tables[0].log_threshold, np.full((2, len(tables)), -1)
    for t in range(len(counts[0])):
        over = engine.step([c[t] for c in counts]) >= line
        rows = (t + 1) * ROWS - shifts
        for f in np.flatnonzero(over.any(0) & (rows <= 0)).tolist():
            engine.reset(f)
        found = over & (first < 0) & (rows > 0)
        first[found] = np.broadcast_to(rows, first.shape)[found]
        if (first >= 0).all():
            break
    return [[int(d) if d >= 0 else None for d in level] for level in first]


def stable(worlds: list[World]) -> list[int]:
    """Alarms of each level: streams over their line, and the model as a whole, over all columns at once."""
    parts = [prepared(world) for world in worlds]
    tables, counts = [t for p in parts for t in p[0]], [c for p in parts for c in p[1]]
    outcome = nulls.run(tables, ([c[t] for c in counts] for t in range(len(counts[0]))), oracle=False)
    return [outcome.count(0), outcome.count(1)]


def measured(worlds: Iterator[World]) -> dict[str, Found]:
    """Both levels."""
    found, calm, began = {name: Found() for name in NAMES}, [], time.process_time()
    for world in worlds:
        if world.shifts is None:
            calm.append(world)
            continue
        for name, level in zip(NAMES, delays(*prepared(world), world.shifts), strict=True):
            found[name].delays[world.name] = level
    for name, alarms in zip(NAMES, stable(calm), strict=True):
        found[name].alarms["all"] = [alarms, sum(w.live.size for w in calm)]
        found[name].cpu = time.process_time() - began
    return found


if __name__ == "__main__":
    results = measured(saved(pathlib.Path(sys.argv[1])))
    print(
        json.dumps(
            {n: {"alarms": f.alarms, "delays": f.delays, "cpu": f.cpu, "checks": []} for n, f in results.items()}
        )
    )
