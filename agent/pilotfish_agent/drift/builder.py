"""From rows to a reference: which columns are watched, as what, with which bins (docs/statistics.md, 2 and 11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.decided import Bins, decide
from pilotfish_agent.drift.kept import KeptColumn, Sample
from pilotfish_agent.drift.layout import MIN_REFERENCE_ROWS
from pilotfish_agent.drift.readers import DataFile
from pilotfish_agent.drift.reference import (
    Ignored,
    Kind,
    PhiSource,
    Reference,
)
from pilotfish_agent.drift.rows import Rows
from pilotfish_agent.drift.streams import prediction_columns
from pilotfish_agent.drift.timed import Counts, Dependence, Says, dependence, in_time_order, once_a_tick
from pilotfish_core.config import option
from pilotfish_core.errors import DataError, EmptyDataError
from pilotfish_core.nouns import Column, ObservationBatch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_ROWS = 2_000_000  # rows that set the edges; all rows are counted
SEED = 20240229
SECTION = "features"


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):  # of a variable or a flag
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v for v in value):
        raise ValueError("a list of column names such as [request_id, ts]")
    return tuple(value)


def _types(value: Any) -> tuple[tuple[str, str], ...]:
    kinds = ("numeric", "categorical")
    if isinstance(value, str):  # of a variable or a flag
        value = {k.strip(): v.strip() for k, _, v in (part.partition("=") for part in value.split(","))}
    if not isinstance(value, Mapping) or not all(isinstance(k, str) and v in kinds for k, v in value.items()):
        raise ValueError("a mapping of column names to numeric or categorical, such as {hour: categorical}")
    return tuple(value.items())


@dataclass(frozen=True, slots=True)
class Config:
    """Features: which columns are watched, and as what."""

    ignore: tuple[str, ...] = option((), _names, "Columns that are not watched.", "[request_id]")
    types: tuple[tuple[str, str], ...] = option(
        (), _types, "Columns whose kind is not to be guessed: numeric or categorical.", "{hour: categorical}"
    )


@dataclass(slots=True)
class ReferenceBuilder:
    """Collects rows and makes references of them; it can be asked again as rows come in.

    Args:
        task: `model.task`, for what a prediction is.
        ignore: features left out. types: kinds that are not to be guessed.
        max_rows: rows held (8 bytes a number); beyond it they are a uniform sample.
        tick_seconds: `drift.tick`, for phi.
        seed: of the sample.
    """

    task: str = "auto"
    ignore: Iterable[str] = ()
    types: Mapping[str, Kind] = field(default_factory=dict)
    max_rows: int = MAX_ROWS
    tick_seconds: float = 10.0
    seed: int = SEED
    _sample: Sample = field(init=False)
    _columns: dict[str, KeptColumn] = field(init=False, default_factory=dict)
    _times: KeptColumn | None = field(init=False, default=None)
    _says: KeptColumn = field(init=False, default_factory=KeptColumn)

    def __post_init__(self) -> None:
        """Starts empty."""
        self._sample = Sample(self.max_rows, self.seed)

    @property
    def rows(self) -> int:
        """Rows added."""
        return self._sample.seen

    def add(self, batch: ObservationBatch, times: Floats | None = None) -> None:
        """Takes a batch; ``times`` are epoch seconds (rows,). Give times with every batch or with none."""
        chosen, at = self._sample.place(batch.rows)
        size = self._sample.kept
        for name, column in self._of(batch).items():
            if name not in self._columns:
                # A column that comes late was missing until now.
                self._columns[name] = KeptColumn(rising=self.rows == batch.rows)
            self._columns[name].add(column, chosen, at, size)
        says = float(bool(batch.features)) + 2.0 * (batch.prediction is not None or batch.probabilities is not None)
        self._says.add(np.full(batch.rows, says), chosen, at, size)
        if times is not None:
            if self._times is None:
                self._times = KeptColumn()
            self._times.add(times, chosen, at, size)

    def _of(self, batch: ObservationBatch) -> dict[str, Column]:
        left_out = set(self.ignore)
        features = {k: v for k, v in batch.features.items() if k not in left_out}
        pseudo = {k: v for k, v in prediction_columns(batch, self.task).items() if k not in left_out}
        return features | pseudo

    def reference(
        self,
        *,
        created: float,
        model: str | None = None,
        version: str | None = None,
        source: str | None = None,
        skipped_rows: int = 0,
        independent: bool = False,
        lists: Iterable[str] = (),
        again: Callable[[], Iterable[Rows]] | None = None,
    ) -> Reference:
        """The reference of all rows so far.

        Args:
            created: epoch seconds.
            model: its name.
            version: its version.
            source: base name of the data file.
            skipped_rows: bad rows left out.
            independent: rows have no order that matters: phi is 1 and known.
            lists: columns that were lists of numbers, for the ignored ones.
            again: reads all rows once more, for the counts when the held ones are a sample (else the sample's counts).

        Raises:
            EmptyDataError: fewer than 200 rows.
            DataError: no column is left to watch.
        """
        if self.rows < MIN_REFERENCE_ROWS:
            raise EmptyDataError(
                "too few rows for a reference", got=self.rows, expected=f"at least {MIN_REFERENCE_ROWS}, better 10,000"
            )
        bins, ignored = self._bins(lists)
        if not bins:
            raise DataError(
                "no column is left to watch: " + "; ".join(f"{i.name!r}: {i.reason}" for i in ignored[:3]),
                expected="at least one feature or prediction",
                todo="see --numeric, --categorical, --prediction-column",
            )
        timed = self._times is not None and not independent
        counts, found = self._count(bins, timed=timed)
        if self.rows > self.max_rows and again is not None:
            counts, found = self._count_again(bins, again(), counts, timed=timed)
        phis = found.values(counts.rows) if found is not None else {}
        known: PhiSource = "set" if independent else "times" if phis else "unknown"
        moments = self._moments()
        return Reference(
            created=created,
            model=model,
            version=version,
            rows=counts.rows,
            features=tuple(b.reference(n, counts.of[n], phis.get(n, 1.0), known) for n, b in bins.items()),
            ignored=ignored,
            skipped_rows=skipped_rows,
            begins=float(moments.min()) if len(moments) else None,
            ends=float(moments.max()) if len(moments) else None,
            source=source,
            tick_rows=round(counts.rows / found.ticks, 3) if found is not None and found.ticks else None,
            seed=None if self.rows <= self.max_rows else self.seed,
        )

    def _moments(self) -> Floats:
        if self._times is None:
            return np.zeros(0)
        times = self._times.numbers(self._sample.kept)
        return times[np.isfinite(times)]

    def _count(self, bins: Mapping[str, Bins], *, timed: bool) -> tuple[Counts, Dependence | None]:
        """Counts of the held rows, and their dependence when all rows are held and have times."""
        size = self._sample.kept
        counts = Counts({name: b.binner() for name, b in bins.items()})
        says = self._says.numbers(size).astype(np.int64)
        ordered = timed and self.rows <= self.max_rows and self._times is not None
        held = []
        for part in in_time_order(None, size):
            ids = counts.add(self._part(bins, part), len(part), Says((says[part] & 1) > 0, (says[part] & 2) > 0))
            if ordered:  # as much memory as the rows themselves
                held.append(ids)
        if not ordered or self._times is None:
            return counts, None
        found = dependence(counts, {name: b.levels for name, b in bins.items()}, self.tick_seconds)
        joined = {name: np.concatenate([h[name] for h in held]) for name in bins}
        times = self._times.numbers(size)
        for part in in_time_order(times, size):
            found.add({name: i[part] for name, i in joined.items()}, times[part])
        return counts, found

    def _count_again(
        self, bins: Mapping[str, Bins], rows: Iterable[Rows], held: Counts, *, timed: bool
    ) -> tuple[Counts, Dependence | None]:
        """Counts of all rows in a second pass; phi from the file's order, unless that is not one of time."""
        counts = Counts(held.binners)
        levels = {name: b.levels for name, b in bins.items()}
        found = dependence(held, levels, self.tick_seconds) if timed else None
        for part in rows:
            ids = counts.add(self._of(part.batch), part.batch.rows, _says(part.batch))
            if found is not None and part.times is not None:
                found.add(ids, part.times)
        return counts, found

    def _part(self, bins: Mapping[str, Bins], rows: Ints) -> dict[str, Column]:
        return {name: self._columns[name].column(self._sample.kept, rows) for name in bins}

    def _bins(self, lists: Iterable[str]) -> tuple[dict[str, Bins], tuple[Ignored, ...]]:
        bins: dict[str, Bins] = {}
        ignored = [Ignored(name, "set by the user") for name in self.ignore]
        ignored += [Ignored(name, "lists of numbers: embeddings are not watched yet") for name in lists]
        for name, column in self._columns.items():
            made = decide(name, column, self._sample.kept, self.rows, asked=self.types.get(name), task=self.task)
            if isinstance(made, str):
                ignored.append(Ignored(name, made))
            else:
                bins[name] = made
        return bins, tuple(sorted(ignored, key=lambda i: i.name))


def _says(batch: ObservationBatch) -> Says:
    nothing = np.zeros(batch.rows, np.bool_)
    predicted = batch.prediction is not None or batch.probabilities is not None
    return Says(None if batch.features else nothing, None if predicted else nothing)


def build(
    file: DataFile, builder: ReferenceBuilder, *, rows: Callable[[], Iterable[Rows]] | None = None, **meta: Any
) -> Reference:
    """Reads a file, a second time when it has more rows than the builder holds, and makes its reference.

    Args:
        file: what to read.
        builder: fresh.
        rows: iterates over the file, to show progress on the way; the file itself when None.
        meta: see `ReferenceBuilder.reference`.

    Raises:
        DataError: the file is wrong, or nothing in it can be watched.
        EmptyDataError: it has too few rows.
    """

    def read() -> Iterable[Rows]:
        return once_a_tick(file if rows is None else rows(), builder.tick_seconds)

    for part in read():
        builder.add(part.batch, part.times)
    return builder.reference(again=read, skipped_rows=file.skipped, lists=sorted(file.lists), **meta)
