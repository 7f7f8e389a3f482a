"""Counts of all rows on a reference's bins, and per tick for phi where rows have times (docs/statistics.md, 7)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.dependence import LEAST, Phi
from pilotfish_agent.drift.ingest import Repeats, chosen, counting
from pilotfish_agent.drift.rows import Rows
from pilotfish_agent.windows.ticks import TickRule, TickSplitter
from pilotfish_core.nouns import Column

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PART_ROWS = 50_000
ABSENT = -1
MAX_LATE_SHARE = 0.01  # a file that is out of order by more says nothing about dependence


class Binning(Protocol):
    """One column's binner."""

    bins: int

    def ids(self, column: Column) -> Ints:
        """The bin of each value."""
        ...


@dataclass(frozen=True, slots=True)
class Says:
    """Which rows have features, and which have a prediction, bool (rows,); None: all.

    A record without features leaves the features' counts alone; one with some counts as missing for the others.
    """

    features: NDArray[np.bool_] | None = None
    predictions: NDArray[np.bool_] | None = None


@dataclass(slots=True)
class Counts:
    """Bin counts of all rows added.

    Attributes:
        binners: by column.
        of: int64 (K,) by column.
        rows: rows added.
    """

    binners: Mapping[str, Binning]
    of: dict[str, Ints] = field(init=False)
    rows: int = 0

    def __post_init__(self) -> None:
        """Starts at zero."""
        self.of = {name: np.zeros(b.bins, np.int64) for name, b in self.binners.items()}

    def add(self, columns: Mapping[str, Column], rows: int, says: Says) -> dict[str, Ints]:
        """Counts rows; returns each column's bin ids, -1 where a row does not speak of the column at all."""
        ids = {}
        for name, binner in self.binners.items():
            column = columns.get(name)
            found = binner.ids(np.full(rows, math.nan) if column is None else column)
            mask = says.predictions if name.startswith("@") else says.features
            if mask is not None:
                found = np.where(mask, found, ABSENT)
            ids[name] = found
            self.of[name] += np.bincount(found + 1, minlength=binner.bins + 1)[1:]
        self.rows += rows
        return ids


@dataclass(slots=True)
class Dependence:
    """Feeds tick counts to one Phi a column.

    Attributes:
        phis, bins: by column.
        splitter: cuts the ticks.
        ticks: ticks closed.
    """

    phis: Mapping[str, Phi]
    bins: Mapping[str, int]
    splitter: TickSplitter
    ticks: int = 0
    _open: dict[str, Ints] = field(default_factory=dict)

    def add(self, ids: Mapping[str, Ints], times: Floats) -> None:
        """Rows in file order with their bin ids."""
        closed = self.splitter.split(times)
        # Tick of each row: 0 is the one that was open, len(closed) is the one that stays open.
        tick = np.zeros(len(times), np.int64)
        for i, _ in closed:
            tick[i:] += 1
        self.ticks += len(closed)
        for name, phi in self.phis.items():
            bins, known = self.bins[name], ids[name] >= 0
            flat = (tick * bins + ids[name])[known]
            counts = np.bincount(flat, minlength=(len(closed) + 1) * bins).reshape(-1, bins)
            if name in self._open:
                counts[0] += self._open[name]
            for one in counts[:-1]:
                phi.add(one)
            self._open[name] = counts[-1]

    def values(self, rows: int) -> dict[str, float]:
        """Phi by column; none when the rows were not in order, or fill too few ticks to say anything."""
        if self.splitter.late > MAX_LATE_SHARE * rows or self.ticks <= LEAST:
            return {}
        return {name: phi.value() for name, phi in self.phis.items()}


def dependence(counts: Counts, levels: Mapping[str, Sequence[str] | None], tick_seconds: float) -> Dependence:
    """A fresh `Dependence` against the masses of ``counts``; ``levels`` of a column, None where it is numeric."""
    phis = {
        name: Phi(name, counts.of[name], numeric=words is None, levels=words or ()) for name, words in levels.items()
    }
    bins = {name: len(c) for name, c in counts.of.items()}
    return Dependence(phis, bins, TickSplitter(TickRule(tick_seconds)))


def once_a_tick(rows: Iterable[Rows], tick_seconds: float) -> Iterator[Rows]:
    """The same rows, of which those that repeat an id within a tick are left out: live traffic is counted so.

    Without ids, or without times and so without ticks, nothing is left out.
    """
    splitter, repeats = TickSplitter(TickRule(tick_seconds)), Repeats()
    for part in rows:
        if part.batch.ids is None or part.times is None:
            yield part
            continue
        closes = splitter.split(part.times)
        limits = [0, *(i for i, _ in closes), part.batch.rows]
        fresh = repeats.fresh_in_ticks(part.batch, limits, [*(True for _ in closes), False])
        mask = counting(part.batch, *fresh)
        if mask is None:
            yield part
        elif mask.any():
            yield Rows(chosen(part.batch, mask), part.numbers[mask], part.times[mask])


def in_time_order(times: Floats | None, rows: int) -> Iterator[Ints]:
    """Row numbers in parts: in order of time, or as they are without times."""
    order = np.arange(rows) if times is None else np.argsort(times, kind="stable")
    for start in range(0, rows, PART_ROWS):
        yield order[start : start + PART_ROWS]
