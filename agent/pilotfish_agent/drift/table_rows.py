"""What tables with typed columns share, Parquet files and data frames: which column is what, and their rows."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.json_rows import select
from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.rows import (
    BATCH_CELLS,
    BATCH_ROWS,
    EXPECTED_TIME,
    BadRows,
    Layout,
    Rows,
    check_names,
)
from pilotfish_agent.drift.streams import is_list, texts, with_output
from pilotfish_agent.windows.binning import MISSING_WORDS, floats
from pilotfish_core.errors import DataError
from pilotfish_core.nouns import Column, ObservationBatch

DEFAULT_TIME: Final = "ts"
"""The column of times where none is named."""
EXPECTED: Final = "numbers, texts, booleans, times or lists of numbers"
Refuse = Callable[[int, object, str], None]
"""Row of the batch, value, what belongs there."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Which columns are no features, and which are: `features` in the table's order."""

    time: str | None
    features: tuple[str, ...]


def roles(name: str, header: Sequence[str], layout: Layout) -> Roles:
    """What each column of a table is.

    Raises:
        DataError: a name stands there twice, a column that was named is not there, or a name is not fit for a feature.
    """
    seen: set[str] = set()
    for column in header:
        if column in seen:
            raise DataError(f"{name}: header: column {column!r} stands there twice", expected="unique names")
        seen.add(column)
    named = {"--time-column": layout.time, "--prediction-column": layout.prediction}
    named |= {"--label-column": layout.label, "--id-column": layout.id}
    for option, role in named.items():
        if role is not None and role not in seen:
            raise DataError(f"{name}: no column for {option}", got=role, expected=nearest(role, header))
    for column in (*layout.ignore, *layout.numeric, *layout.categorical):
        if column not in seen:
            raise DataError(f"{name}: no such column", got=column, expected=nearest(column, header))
    time = layout.time or (DEFAULT_TIME if DEFAULT_TIME in seen else None)
    apart = {time, layout.prediction, layout.label, layout.id} | layout.ignore
    features = tuple(h for h in header if h not in apart)
    check_names(name, features)
    return Roles(time, features)


def nearest(name: str, known: Sequence[str]) -> str:
    """``the column 'age'`` when one is close, else the first columns there are."""
    close = difflib.get_close_matches(name, known, 1)
    return f"one of the columns, perhaps {close[0]!r}" if close else "one of " + ", ".join(known[:8])


def batch_rows(cells: float) -> int:
    """Rows of a batch of a table with so many values a row, those in lists counted one by one."""
    return min(BATCH_ROWS, max(100, int(BATCH_CELLS / max(cells, 1))))


class Cells(Protocol):
    """The columns of one batch, whatever they are made of."""

    @property
    def rows(self) -> int:
        """How many there are."""
        ...

    def column(self, name: str, refuse: Refuse) -> Column:
        """A column as float64 (rows,), of lists (rows, numbers a list), or texts; NaN and None are missing."""
        ...

    def moments(self, name: str) -> Floats:
        """A column of times as epoch seconds, NaN where one is none."""
        ...

    def shown(self, name: str, row: int) -> object:
        """One cell, for an error."""
        ...


@dataclass(slots=True)
class TableRows:
    """Turns batches of cells into rows.

    Attributes:
        layout: which column is what; header: of the table.
        bad: where bad rows go.
        rows: rows seen, bad ones included.
    """

    layout: Layout
    bad: BadRows
    header: Sequence[str]
    rows: int = 0
    roles: Roles = field(init=False)

    def __post_init__(self) -> None:
        """Refuses a table that cannot be read as asked."""
        self.roles = roles(self.bad.name, self.header, self.layout)

    @property
    def needed(self) -> list[str]:
        """The columns that are read at all."""
        layout, known = self.layout, self.roles
        extra = (known.time, layout.prediction, layout.id)
        return [*known.features, *(name for name in extra if name is not None)]

    def take(self, cells: Cells) -> Rows | None:
        """The good rows of a batch; None when there are none, or the table is to be refused anyway."""
        drop: dict[int, None] = {}
        first = self.rows + 1
        self.rows += cells.rows

        def refuse_in(column: str) -> Refuse:
            def refuse(i: int, got: object, expected: str) -> None:
                if i not in drop:
                    drop[i] = None
                    self.bad.add(first + i, column, got, expected)

            return refuse

        moments = self._moments(cells, refuse_in)
        features = {name: self._feature(cells, name, refuse_in(name)) for name in self.roles.features}
        batch = self._batch(cells, features, refuse_in, drop)
        if self.bad.stopped() or not batch.rows:
            return None
        keep = _kept(cells.rows, drop)
        numbers = np.arange(first, first + cells.rows, dtype=np.int64)
        return Rows(batch, select(numbers, keep), select(moments, keep))

    def _moments(self, cells: Cells, refuse_in: Callable[[str], Refuse]) -> Floats | None:
        time = self.roles.time
        if time is None:
            return None
        found = cells.moments(time)
        for i in np.flatnonzero(np.isnan(found)).tolist():
            refuse_in(time)(i, cells.shown(time, i), EXPECTED_TIME)
        return found

    def _feature(self, cells: Cells, name: str, refuse: Refuse) -> Column:
        column = cells.column(name, refuse)
        if name not in self.layout.numeric or not isinstance(column, list):
            return column
        found = floats(column)
        for i in np.flatnonzero(np.isnan(found)).tolist():
            if column[i] is not None and column[i] not in MISSING_WORDS and column[i].strip().lower() != "nan":
                refuse(i, column[i], "a number")
        return found

    def _batch(
        self, cells: Cells, features: dict[str, Column], refuse_in: Callable[[str], Refuse], drop: dict[int, None]
    ) -> ObservationBatch:
        layout = self.layout
        prediction: Column = None
        if layout.prediction is not None:
            prediction = cells.column(layout.prediction, refuse_in(layout.prediction))
        ids = None if layout.id is None else cells.column(layout.id, refuse_in(layout.id))
        keep = _kept(cells.rows, drop)
        lists = prediction is not None and is_list(prediction)
        batch = ObservationBatch(
            model=layout.model or "",
            version=None,
            source="tail",
            rows=cells.rows - len(drop),
            features={name: select(column, keep) for name, column in features.items()},
            prediction=None if lists else select(prediction, keep),
            probabilities=select(prediction, keep) if lists else None,
            n_classes=prediction.shape[1] if lists else 0,
            ids=None if ids is None else texts(select(ids, keep)),
        )
        return with_output(batch)


def whole_rows(lists: Floats) -> Floats:
    """Lists (rows, numbers a list) in which one with a gap is missing throughout, in place."""
    lists[np.isnan(lists).any(axis=1)] = np.nan
    return lists


def _kept(rows: int, drop: dict[int, None]) -> NDArray[np.int64] | None:
    return np.array([i for i in range(rows) if i not in drop], np.int64) if drop else None
