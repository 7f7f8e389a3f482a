"""From rows to a reference: what is watched, as what, in which bins (docs/statistics.md, sections 2 and 11)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift import seasonal, strata
from pilotfish_agent.drift.composites import derived, streams
from pilotfish_agent.drift.decided import Bins, decide
from pilotfish_agent.drift.fits import Fits
from pilotfish_agent.drift.frames import Frame
from pilotfish_agent.drift.kept import KeptColumn, Reservoir
from pilotfish_agent.drift.layout import MIN_REFERENCE_ROWS, Floats, Ints
from pilotfish_agent.drift.readers import DataFile
from pilotfish_agent.drift.reference import (
    Ignored,
    Kind,
    PhiSource,
    Reference,
)
from pilotfish_agent.drift.rows import Rows
from pilotfish_agent.drift.strata import Strata
from pilotfish_agent.drift.streams import columns
from pilotfish_agent.drift.timed import Counts, Dependence, Plan, Says, dependence, in_time_order, once_a_tick
from pilotfish_agent.drift.vectors import Fitted
from pilotfish_agent.windows.binning import StratumBinner
from pilotfish_core.errors import DataError, EmptyDataError
from pilotfish_core.nouns import Column, ObservationBatch

MAX_ROWS = 2_000_000  # rows that set the edges; all rows are counted
SEED = 20240229


@dataclass(slots=True)
class ReferenceBuilder:
    """Collects rows and makes references of them; it can be asked again as rows come in.

    Args:
        task: `model.task`, for what a prediction is.
        ignore: features left out. types: kinds that are not to be guessed.
        max_rows: rows held (8 bytes a number); beyond it they are a uniform sample.
        tick_seconds: `drift.tick`, for phi.
        seed: of the sample.
        season, timezone: section `features`.
    """

    task: str = "auto"
    ignore: Iterable[str] = ()
    types: Mapping[str, Kind] = field(default_factory=dict)
    max_rows: int = MAX_ROWS
    tick_seconds: float = 10.0
    seed: int = SEED
    season: str = "auto"
    timezone: str = "UTC"
    _sample: Reservoir = field(init=False)
    _columns: dict[str, KeptColumn] = field(init=False, default_factory=dict)
    _times: KeptColumn | None = field(init=False, default=None)
    _says: KeptColumn = field(init=False, default_factory=KeptColumn)
    _fits: Fits = field(init=False)

    def __post_init__(self) -> None:
        """Starts empty."""
        self._sample = Reservoir(self.max_rows, self.seed)
        self._fits = Fits(self.seed, self.types)

    @property
    def rows(self) -> int:
        """Rows added."""
        return self._sample.seen

    def add(self, batch: ObservationBatch, times: Floats | None = None) -> None:
        """Takes a batch; ``times`` are epoch seconds (rows,). Give times with every batch or with none."""
        first = self.rows
        chosen, at = self._sample.place(batch.rows)
        size = self._sample.kept
        batch = self._fits.answered(batch)
        for name, column in self._fits.add(self._of(batch), first, chosen, at, size).items():
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
        return {name: column for name, column in columns(batch, self.task).items() if name not in left_out}

    def reference(
        self,
        *,
        created: float,
        model: str | None = None,
        version: str | None = None,
        source: str | None = None,
        skipped_rows: int = 0,
        independent: bool = False,
        measure: bool = True,
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
            measure: whether phi is measured where rows have times; it needs scipy.
            again: reads all rows once more, for the counts when the held ones are a sample (else the sample's counts).

        Raises:
            EmptyDataError: fewer than 200 rows.
            DataError: no column is left to watch.
        """
        if self.rows < MIN_REFERENCE_ROWS:
            raise EmptyDataError(
                "too few rows for a reference", got=self.rows, expected=f"at least {MIN_REFERENCE_ROWS}, better 10,000"
            )
        fitted, unfit = self._fits.fitted()
        bins, ignored = self._bins(fitted, unfit)
        if not bins:
            raise DataError(
                "no column is left to watch: " + "; ".join(f"{i.name!r}: {i.reason}" for i in ignored[:3]),
                expected="at least one feature or prediction",
                todo="see --numeric, --categorical, --prediction-column",
            )
        bins, refused, counts, ids = self._told_apart(bins, fitted)
        timed = self._times is not None and measure and not independent
        found = self._measured(bins, counts, ids) if timed and self.rows <= self.max_rows else None
        if self.rows > self.max_rows and again is not None:
            counts, found = self._count_again(bins, fitted, again(), counts, timed=timed)
        phis = found.values(counts.rows) if found is not None else {}
        known: PhiSource = "set" if independent else "times" if phis else "unknown"
        moments = self._moments()
        return Reference(
            created=created,
            model=model,
            version=version,
            rows=counts.rows,
            features=tuple(b.reference(n, counts.of[n], phis.get(n, 1.0), known) for n, b in bins.items()),
            encoders={name: one.encoder for name, one in fitted.items()},
            ignored=tuple(sorted((*ignored, *refused), key=lambda i: i.name)),
            skipped_rows=skipped_rows,
            begins=float(moments.min()) if len(moments) else None,
            ends=float(moments.max()) if len(moments) else None,
            source=source,
            tick_rows=round(counts.rows / found.ticks, 3) if found is not None and found.ticks else None,
            seed=None if self.rows <= self.max_rows else self.seed,
            strata=_strata_json(counts),
        )

    def binned(self) -> tuple[dict[str, Ints], Floats]:
        """The bin of each row held, by stream, -1 where it does not speak of it, and the rows' times."""
        if self._times is None:
            return {}, np.zeros(0)
        fitted, unfit = self._fits.fitted()
        bins, _ = self._bins(fitted, unfit)
        return self._count(bins, fitted)[1], self._times.numbers(self._sample.kept)

    @property
    def _zone(self) -> Strata:
        return strata.make("none", self.timezone)

    def _told_apart(
        self, bins: dict[str, Bins], fitted: Mapping[str, Fitted]
    ) -> tuple[dict[str, Bins], list[Ignored], Counts, dict[str, Ints]]:
        """(bins with the strata they need, streams that cannot have them, counts, the bin of each row)."""
        counts, ids = self._count(bins, fitted)
        divided, refused = self._divided(bins, fitted, ids)
        if divided or refused:
            bins = {name: divided.get(name, one) for name, one in bins.items() if name not in refused}
            counts, ids = self._count(bins, fitted)
        return bins, list(itertools.starmap(Ignored, refused.items())), counts, ids

    def _divided(
        self, bins: Mapping[str, Bins], fitted: Mapping[str, Fitted], ids: Mapping[str, Ints]
    ) -> tuple[dict[str, Bins], dict[str, str]]:
        """The bins of streams that need strata, and the streams that cannot have them, with the reason."""
        if self._times is None or self.season == "none":
            return {}, {}
        size, kept = self._sample.kept, self._kept(fitted)
        times = self._times.numbers(size)
        asked = None if self.season == "auto" else strata.make(self.season).kind
        trial = strata.trial(times, self._zone) if asked is None else strata.untried(times, self._zone)
        if trial is None:
            return {}, {}
        return seasonal.divided(bins, ids, lambda name: kept[name].numbers(size), trial, asked, self.seed)

    def _plan(self, bins: Mapping[str, Bins]) -> Plan:
        own = {name: b.season.strata for name, b in bins.items() if b.season is not None}
        kind = strata.richest(map(strata.kind_of, own.values()))
        binners = {n: b.binner() if b.ranked is None else StratumBinner(b.ranked) for n, b in bins.items()}
        return Plan(binners, strata.make(kind, self.timezone), own)

    def _moments(self) -> Floats:
        if self._times is None:
            return np.zeros(0)
        times = self._times.numbers(self._sample.kept)
        return times[np.isfinite(times)]

    def _count(self, bins: Mapping[str, Bins], fitted: Mapping[str, Fitted]) -> tuple[Counts, dict[str, Ints]]:
        """Counts of the held rows; and where they have times the bin of each row, as much memory as the rows."""
        size = self._sample.kept
        counts = Counts(self._plan(bins))
        says = self._says.numbers(size).astype(np.int64)
        kept = self._kept(fitted)
        times = None if self._times is None else self._times.numbers(size)
        held: list[dict[str, Ints]] = []
        for part in in_time_order(None, size):
            told = Says((says[part] & 1) > 0, (says[part] & 2) > 0, _counted(fitted, part))
            those = {name: kept[name].column(size, part) for name in bins}
            ids = counts.add(those, len(part), told, None if times is None else times[part])
            if times is not None:
                held.append(ids)
        return counts, {name: np.concatenate([h[name] for h in held]) for name in bins} if held else {}

    def _measured(self, bins: Mapping[str, Bins], counts: Counts, ids: Mapping[str, Ints]) -> Dependence:
        """The dependence of the held rows, which are all rows."""
        assert self._times is not None
        found = dependence(counts, {name: b.levels for name, b in bins.items()}, self.tick_seconds)
        size = self._sample.kept
        times = self._times.numbers(size)
        for part in in_time_order(times, size):
            found.add({name: i[part] for name, i in ids.items()}, times[part])
        return found

    def _count_again(
        self,
        bins: Mapping[str, Bins],
        fitted: Mapping[str, Fitted],
        rows: Iterable[Rows],
        held: Counts,
        *,
        timed: bool,
    ) -> tuple[Counts, Dependence | None]:
        """Counts of all rows in a second pass; phi from the file's order, unless that is not one of time."""
        counts = Counts(held.plan)
        levels = {name: b.levels for name, b in bins.items()}
        encoders = {name: one.encoder for name, one in fitted.items()}
        found = dependence(held, levels, self.tick_seconds) if timed else None
        for part in rows:
            batch = derived(part.batch, encoders)
            numbers = np.arange(counts.rows, counts.rows + batch.rows)
            ids = counts.add(self._of(batch), batch.rows, Says.of(batch, _counted(fitted, numbers)), part.times)
            if found is not None and part.times is not None:
                found.add(ids, part.times)
        return counts, found

    def _kept(self, fitted: Mapping[str, Fitted]) -> dict[str, KeptColumn]:
        """All columns that may be watched, by stream: plain ones and parts."""
        return self._columns | {stream: column for one in fitted.values() for stream, column in one.parts.items()}

    def _bins(
        self, fitted: Mapping[str, Fitted], unfit: Iterable[Ignored]
    ) -> tuple[dict[str, Bins], tuple[Ignored, ...]]:
        bins: dict[str, Bins] = {}
        ignored = [*(Ignored(name, "set by the user") for name in self.ignore), *unfit]
        size = self._sample.kept
        for name, column in self._columns.items():
            if name in fitted:  # batches in which all its lists were missing
                continue
            made = decide(name, column, size, self.rows, asked=self.types.get(name), task=self.task)
            if isinstance(made, str):
                ignored.append(Ignored(name, made))
            else:
                bins[name] = made
        for name, one in fitted.items():
            for stream, part in streams(name, one.encoder):
                made = decide(stream, one.parts[stream], size, self.rows, part=part)
                if isinstance(made, str):
                    ignored.append(Ignored(stream, made))
                else:
                    bins[stream] = replace(made, part_of=name, part=part.words)
        return bins, tuple(sorted(ignored, key=lambda i: i.name))


def _strata_json(counts: Counts) -> dict[str, Any]:
    told = counts.plan.strata
    if told.kind == "none":
        return {"kind": "none", "rows": []}
    return {"kind": told.kind, "rows": counts.hours.tolist(), "timezone": told.timezone}


def _counted(fitted: Mapping[str, Fitted], rows: Ints) -> dict[str, NDArray[np.bool_]]:
    """Which rows speak of each part: not those that its encoder was fitted on."""
    return {stream: rows >= one.first for one in fitted.values() for stream in one.parts}


def build(
    file: DataFile | Frame, builder: ReferenceBuilder, *, rows: Callable[[], Iterable[Rows]] | None = None, **meta: Any
) -> Reference:
    """Reads a file, a second time when it has more rows than the builder holds, and makes its reference.

    Args:
        file: what to read: a data file or a table in memory.
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
    return builder.reference(again=read, skipped_rows=file.skipped, **meta)
