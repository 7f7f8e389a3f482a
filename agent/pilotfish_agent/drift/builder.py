"""From rows to a reference: which columns are watched, as what, with which bins (docs/statistics.md, 2 and 11)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.kept import KeptColumn, Sample
from pilotfish_agent.drift.layout import MIN_REFERENCE_ROWS, edges_from_reference
from pilotfish_agent.drift.readers import DataFile
from pilotfish_agent.drift.redact import redacted
from pilotfish_agent.drift.reference import (
    Binner,
    FeatureReference,
    Ignored,
    Kind,
    PhiSource,
    Reference,
    positions,
)
from pilotfish_agent.drift.rows import Rows
from pilotfish_agent.drift.streams import PREDICTION, is_class, prediction_columns
from pilotfish_agent.drift.timed import Counts, Dependence, Says, dependence, in_time_order, once_a_tick
from pilotfish_agent.windows.binning import LevelBinner, NumericBinner, rounded
from pilotfish_core.config import option
from pilotfish_core.errors import DataError, EmptyDataError
from pilotfish_core.nouns import Column, ObservationBatch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_ROWS = 2_000_000  # rows that set the edges; all rows are counted
MAX_LEVELS = 63
MIN_LEVEL_ROWS = 20
CATEGORICAL_INTEGERS = 20  # whole numbers of at most so many distinct values are categories
NUMBER_SHARE = 0.99
IDENTIFIER_SHARE = 0.9
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
            made = self._decide(name, column)
            if isinstance(made, str):
                ignored.append(Ignored(name, made))
            else:
                bins[name] = made
        return bins, tuple(sorted(ignored, key=lambda i: i.name))

    def _decide(self, name: str, column: KeptColumn) -> Bins | str:
        """The bins of a column, or why it is not watched."""
        size = self._sample.kept
        if redacted(name):
            return "its name looks like private data or is no UTF-8"
        if column.seen == 0:
            return "all values are missing"
        asked = self.types.get(name)
        if asked is None and not name.startswith("@"):
            reason = _no_feature(column, size, self.rows)
            if reason:
                return reason
        if (asked or _kind(name, column, size, self.task)) == "categorical":
            return _levels(column, size)
        x = column.numbers(size)
        finite = x[np.isfinite(x)]
        if len(finite) < MIN_REFERENCE_ROWS:
            return f"not enough data: {len(finite)} numbers, at least {MIN_REFERENCE_ROWS} are needed"
        return _quantiles(finite)


@dataclass(frozen=True, slots=True)
class Bins:
    """How a column is binned."""

    kind: Kind
    edges: Floats | None = None
    levels: tuple[str, ...] | None = None
    log_abs_mean: float | None = None
    zero_share: float | None = None

    def binner(self) -> Binner:
        """What turns a column into bins."""
        return NumericBinner(self.edges) if self.edges is not None else LevelBinner(self.levels or ())

    def reference(self, name: str, counts: Ints, phi: float, known: PhiSource) -> FeatureReference:
        """With the counts, what stands in the reference."""
        return FeatureReference(
            name=name,
            kind=self.kind,
            rows=int(counts.sum()),
            counts=counts,
            edges=self.edges,
            levels=self.levels,
            special={} if self.edges is None else positions(len(self.edges)),
            phi=phi,
            phi_source=known,
            log_abs_mean=self.log_abs_mean,
            zero_share=self.zero_share,
        )


def _says(batch: ObservationBatch) -> Says:
    nothing = np.zeros(batch.rows, np.bool_)
    predicted = batch.prediction is not None or batch.probabilities is not None
    return Says(None if batch.features else nothing, None if predicted else nothing)


def _no_feature(column: KeptColumn, size: int, rows: int) -> str | None:
    """Why a column is no feature: an identifier or a time."""
    if rows < MIN_REFERENCE_ROWS:
        return None
    if column.rising and column.seen == rows:
        return "whole numbers that rise from row to row: a counter or a time; --numeric watches it all the same"
    if column.codes is None or column.number_share(size) > NUMBER_SHARE:
        return None
    texts = len(column.texts) + column.beyond
    if _are_dates(column.texts):
        return "dates or times; --categorical watches it all the same"
    if texts > IDENTIFIER_SHARE * column.seen and column.seen >= MIN_REFERENCE_ROWS:
        return "an identifier: nearly every value is another; --categorical watches it all the same"
    return None


def _are_dates(texts: Mapping[str, int], probe: int = 50) -> bool:
    """Whether all of the first texts read as ISO 8601 dates or times with a date."""
    first = [t for t, _ in zip(texts, range(probe), strict=False)]
    return bool(first) and all(map(_is_date, first))


def _is_date(text: str) -> bool:
    if len(text) < 8 or not text[:4].isdigit():
        return False
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return not text.isdigit()


def _kind(name: str, column: KeptColumn, size: int, task: str) -> Kind:
    if column.codes is not None and column.number_share(size) <= NUMBER_SHARE:
        return "categorical"
    x = column.numbers(size)
    present = x[~np.isnan(x)]
    if name == PREDICTION:
        return "categorical" if is_class(present, task) or _constant(present) else "numeric"
    if _constant(present):
        return "categorical"
    if not np.isfinite(present).any():
        return "numeric"
    whole = bool((present[np.isfinite(present)] % 1 == 0).all())
    return "categorical" if whole and len(np.unique(present)) <= CATEGORICAL_INTEGERS else "numeric"


def _constant(present: Floats) -> bool:
    return len(present) > 0 and math.isfinite(present[0]) and bool((present == present[0]).all())


def _levels(column: KeptColumn, size: int) -> Bins:
    counted = column.counted(size)
    admitted = [t for t, n in counted.items() if n >= MIN_LEVEL_ROWS and not redacted(t)]
    admitted.sort(key=lambda t: (-counted[t], t))
    return Bins("categorical", levels=tuple(admitted[:MAX_LEVELS]))


def _quantiles(finite: Floats) -> Bins:
    # Rounding keeps the order, so the edges of rounded values are the rounded edges.
    edges = np.unique([rounded(e) for e in edges_from_reference(finite).tolist()])
    size = np.abs(finite[finite != 0])
    return Bins(
        "numeric",
        edges=edges,
        log_abs_mean=float(np.log(size).mean()) if len(size) else None,
        zero_share=float((finite == 0).mean()),
    )


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
