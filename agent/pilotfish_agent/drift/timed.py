"""Counts of rows on a reference's bins, and per tick for phi where rows have times (docs/statistics.md, section 7)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.dependence import LEAST, Phi
from pilotfish_agent.drift.ingest import Repeats, chosen, counting
from pilotfish_agent.drift.layout import Floats, Ints
from pilotfish_agent.drift.rows import Rows
from pilotfish_agent.drift.strata import Strata, narrowed, owed
from pilotfish_agent.drift.streams import LATENCY
from pilotfish_agent.windows.binning import StratumBinner
from pilotfish_agent.windows.ticks import TickRule, TickSplitter
from pilotfish_core.nouns import Column, ObservationBatch

PART_ROWS = 50_000
ABSENT = -1
MAX_LATE_SHARE = 0.01  # a file that is out of order by more says nothing about dependence


class Binning(Protocol):
    """One column's binner, where all strata have the same bins."""

    bins: int

    def ids(self, column: Column) -> Ints:
        """The bin of each value."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How columns are counted.

    Attributes:
        binners: by column; one by stratum takes the stratum of each row.
        strata: which the rows are told apart into.
        own: how many of them a column tells apart, 1 where it does not stand here.
    """

    binners: Mapping[str, Binning | StratumBinner]
    strata: Strata
    own: Mapping[str, int]

    def stratum(self, name: str, hours: Ints) -> Ints:
        """The stratum of a column that rows (n,) of strata ``hours`` belong to."""
        found: Ints = narrowed(hours, self.strata.count, self.own.get(name, 1))
        return found


@dataclass(frozen=True, slots=True)
class Says:
    """Which rows have features, and which have a prediction, bool (rows,); None: all. ``own``: of single columns.

    A record without features leaves the features' counts alone; one with some counts as missing for the others.
    """

    features: NDArray[np.bool_] | None = None
    predictions: NDArray[np.bool_] | None = None
    own: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    @staticmethod
    def of(batch: ObservationBatch, own: Mapping[str, NDArray[np.bool_]] | None = None) -> Says:
        """Of a batch whose rows are all alike in this."""
        nothing = np.zeros(batch.rows, np.bool_)
        predicted = batch.prediction is not None or batch.probabilities is not None
        return Says(None if batch.features else nothing, None if predicted else nothing, own or {})


@dataclass(slots=True)
class Counts:
    """Bin counts of all rows added.

    Attributes:
        plan: binners and strata.
        of: int64 (S, K) by column, a row for each stratum that it tells apart.
        hours: rows of each stratum of the plan.
        rows: rows added.
    """

    plan: Plan
    of: dict[str, Ints] = field(init=False)
    hours: Ints = field(init=False)
    rows: int = 0

    def __post_init__(self) -> None:
        """Starts at zero."""
        plan = self.plan
        self.hours = np.zeros(plan.strata.count, np.int64)
        self.of = {name: np.zeros((plan.own.get(name, 1), b.bins), np.int64) for name, b in plan.binners.items()}

    def add(self, columns: Mapping[str, Column], rows: int, says: Says, times: Floats | None = None) -> dict[str, Ints]:
        """Counts rows; returns each column's bin ids, -1 where a row does not speak of the column at all."""
        ids = {}
        hours = np.zeros(rows, np.int64) if times is None else self.plan.strata.of(times)
        self.hours += np.bincount(hours, minlength=len(self.hours))
        for name, binner in self.plan.binners.items():
            column = columns.get(name)
            values = np.full(rows, math.nan) if column is None else column
            stratum = self.plan.stratum(name, hours)
            found = binner.ids(values, stratum) if isinstance(binner, StratumBinner) else binner.ids(values)
            mask = says.predictions if name.startswith("@") else says.features
            if name == LATENCY:  # what was not measured is not missing
                mask = np.zeros(rows, np.bool_) if column is None else ~np.isnan(column)
            for one in (mask, says.own.get(name)):
                if one is not None:
                    found = np.where(one, found, ABSENT)
            ids[name] = found
            size = binner.bins + 1
            counted = np.bincount(stratum * size + found + 1, minlength=len(self.of[name]) * size)
            self.of[name] += counted.reshape(-1, size)[:, 1:]
        self.rows += rows
        return ids


@dataclass(slots=True)
class Dependence:
    """Feeds tick counts to one Phi a column.

    Attributes:
        phis: by column.
        counts: of the reference, by column and stratum.
        plan: what they were counted by.
        splitter: cuts the ticks.
        ticks: ticks closed.
    """

    phis: Mapping[str, Phi]
    counts: Mapping[str, Ints]
    plan: Plan
    splitter: TickSplitter
    ticks: int = 0
    _open: dict[str, Ints] = field(default_factory=dict)
    _hour: int = 0

    def add(self, ids: Mapping[str, Ints], times: Floats) -> None:
        """Rows in file order with their bin ids."""
        if not len(times):
            return
        closed = self.splitter.split(times)
        # Tick of each row: 0 is the one that was open, len(closed) is the one that stays open.
        tick = np.zeros(len(times), np.int64)
        for i, _ in closed:
            tick[i:] += 1
        fresh = self.plan.strata.of(times[[i for i, _ in closed]])
        hours = np.concatenate(([self._hour if self._open else self.plan.strata.at(times[0])], fresh))
        self.ticks, self._hour = self.ticks + len(closed), int(hours[-1])
        for name, phi in self.phis.items():
            bins, known = self.counts[name].shape[1], ids[name] >= 0
            flat = (tick * bins + ids[name])[known]
            counts = np.bincount(flat, minlength=(len(closed) + 1) * bins).reshape(-1, bins)
            if name in self._open:
                counts[0] += self._open[name]
            levelled = level(counts[:-1], self.counts[name], self.plan.stratum(name, hours[:-1]))
            for one in levelled:
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
        name: Phi(name, counts.of[name].sum(0), numeric=words is None, levels=words or ())
        for name, words in levels.items()
    }
    return Dependence(phis, counts.of, counts.plan, TickSplitter(TickRule(tick_seconds), counts.plan.strata))


def level(counts: Ints, reference: Ints, strata: Ints) -> Ints | Floats:
    """Counts of ticks (T, K) less what their stratum (T,) owes to the season: all strata alike, sums as before."""
    if len(reference) == 1:
        return counts
    levelled: Floats = counts - counts.sum(1, keepdims=True) * owed(reference, reference.sum(0))[strata]
    return levelled


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
