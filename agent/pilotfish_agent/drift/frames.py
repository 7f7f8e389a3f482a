"""Data frames as sources of rows: pandas, pyarrow, anything that gives Arrow data, or a mapping of columns.

Nothing here imports pandas: a frame is known by what it can do.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np

from pilotfish_agent.drift import arrow_rows
from pilotfish_agent.drift.json_rows import scalars
from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.rows import BadRows, Layout, Rows, times
from pilotfish_agent.drift.table_rows import EXPECTED, Refuse, TableRows, batch_rows, whole_rows
from pilotfish_agent.windows.binning import EXACT, canonical
from pilotfish_core.errors import DataError, EmptyDataError, UsageError
from pilotfish_core.nouns import Column

_MISSING: Final = frozenset({"NAType", "NaTType", "NoneType"})  # pandas' own words for it, beside None
EXPECTED_FRAME: Final = "a pandas or Arrow table, or a mapping of names to columns of one length"


class Frame:
    """A table in memory, read as a `DataFile` is; iterating reads it from its beginning.

    Args:
        data: the table.
        layout: which column is what.
        name: of the table, for errors.
        skip_bad: bad rows are left out and counted; else they refuse the table at its end.

    Attributes:
        rows: rows read, bad ones not; skipped: bad rows left out; names: features.
    """

    def __init__(
        self, data: object, layout: Layout | None = None, *, name: str = "the data frame", skip_bad: bool = False
    ) -> None:
        self.name = name
        self.layout = layout or Layout()
        self.rows = 0
        self.skipped = 0
        self.names: tuple[str, ...] = ()
        self._table = _opened(data, name)
        self._skip_bad = skip_bad

    def __iter__(self) -> Iterator[Rows]:
        """Batches of rows, in order.

        Raises:
            DataError: a column is of no use and not ignored, or there are bad rows that are not skipped.
            EmptyDataError: it has no rows.
        """
        self.rows = 0
        bad = BadRows(self.name, skip=self._skip_bad)
        table = TableRows(self.layout, bad, self._table.header)
        self.names = table.roles.features
        for cells in self._table.batches(table.needed):
            rows = table.take(cells)
            if rows is not None:
                self.rows += rows.batch.rows
                yield rows
        self.skipped = bad.count
        bad.finish(table.rows)
        if not self.rows:
            raise EmptyDataError(f"{self.name}: no rows")


@dataclass(frozen=True, slots=True)
class _Arrow:
    """An Arrow table."""

    table: Any
    name: str

    @property
    def header(self) -> list[str]:
        return list(self.table.schema.names)

    def batches(self, needed: list[str]) -> Iterator[arrow_rows.ArrowCells]:
        widths: dict[str, int] = {}
        chosen = self.table.select(needed)
        size = batch_rows(chosen.nbytes / 8 / max(chosen.num_rows, 1))
        for batch in chosen.to_batches(max_chunksize=size):
            if batch.num_rows:
                yield arrow_rows.ArrowCells(batch, self.name, widths)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns in memory: sequences, numpy arrays, pandas' series."""

    columns: Mapping[str, Any]
    rows: int

    @property
    def header(self) -> list[str]:
        return list(self.columns)

    def batches(self, needed: list[str]) -> Iterator[ColumnCells]:
        size = batch_rows(sum(_width(self.columns[name]) for name in needed)) if self.rows else 1
        widths: dict[str, int] = {}
        for start in range(0, self.rows, size):
            part = slice(start, min(start + size, self.rows))
            yield ColumnCells({name: _part(self.columns[name], part) for name in needed}, part.stop - start, widths)


def _width(column: Any) -> int:
    """Values of a row, going by the first one."""
    first = column.iloc[0] if hasattr(column, "iloc") else column[0]
    return len(first) if isinstance(first, list | tuple | np.ndarray) else 1


def _part(column: Any, part: slice) -> Any:
    return column.iloc[part] if hasattr(column, "iloc") else column[part]


def _opened(data: object, name: str) -> _Arrow | _Columns:
    if hasattr(data, "iloc") and hasattr(data, "columns"):  # pandas, whose own Arrow export refuses mixed columns
        return _of_pandas(data, name)
    if isinstance(data, Mapping):
        return _of_mapping(data, name)
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__") or hasattr(data, "to_batches"):
        pa = arrow_rows.load()
        try:
            return _Arrow(data if isinstance(data, pa.Table) else pa.table(data), name)
        except (pa.ArrowException, TypeError) as error:  # a series, an Arrow array: one column without a name
            raise UsageError(f"{name}: is no table", got=type(data).__name__, expected=EXPECTED_FRAME) from error
    if hasattr(data, "to_arrow"):  # polars before it had the protocol
        return _Arrow(data.to_arrow(), name)
    raise UsageError(f"{name}: is no table", got=type(data).__name__, expected=EXPECTED_FRAME)


def _of_pandas(data: Any, name: str) -> _Columns:
    names = [str(column) for column in data.columns]
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise DataError(f"{name}: column {twice!r} stands there twice", expected="unique names")
    return _Columns({n: data.iloc[:, i] for i, n in enumerate(names)}, len(data))


def _of_mapping(data: Mapping[Any, Any], name: str) -> _Columns:
    columns = {}
    for key, column in data.items():
        if isinstance(column, str | bytes) or not hasattr(column, "__len__") or not hasattr(column, "__getitem__"):
            raise DataError(f"{name}: column {key!r}", got=type(column).__name__, expected="a list or an array")
        columns[str(key)] = column
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        shown = ", ".join(f"{key!r}: {len(column)}" for key, column in list(columns.items())[:5])
        raise DataError(f"{name}: columns of different lengths", got=shown, expected="one length")
    return _Columns(columns, lengths.pop() if lengths else 0)


@dataclass(slots=True)
class ColumnCells:
    """One batch of columns in memory; see `table_rows.Cells`.

    Args:
        columns: parts of the columns.
        rows: their length.
        widths: numbers a list of each column of lists, as the first one of the table has; filled here.
    """

    columns: Mapping[str, Any]
    rows: int
    widths: dict[str, int] = field(default_factory=dict)

    def column(self, name: str, refuse: Refuse) -> Column:
        """A column in our form."""
        raw = self.columns[name]
        kind = _kind(raw)
        if kind == "M":
            moments = _moments(raw).astype("datetime64[us]").tolist()
            return [None if moment is None else moment.isoformat() for moment in moments]
        if kind == "m":
            return _seconds(np.asarray(raw, "timedelta64[ns]"))
        if getattr(raw, "ndim", 1) == 2 and kind in "iuf":
            return whole_rows(np.array(raw, np.float64))
        if kind in "iuf":
            found = _numbers(raw)
            if kind == "f" or np.nanmax(np.abs(found), initial=0.0) < EXACT:
                return found
        return self._objects(name, _values(raw), refuse)

    def moments(self, name: str) -> Floats:
        """A column of times as epoch seconds."""
        raw = self.columns[name]
        if _kind(raw) == "M":
            return _seconds(_moments(raw).astype("datetime64[ns]"))
        return times([_moment(value) for value in _values(raw)])

    def shown(self, name: str, row: int) -> object:
        """One cell, for an error."""
        return _values(self.columns[name])[row]

    def _objects(self, name: str, values: list[Any], refuse: Refuse) -> Column:
        values = [_simple(value) for value in values]
        types = set(map(type, values))
        if list in types or (name in self.widths and types == {type(None)}):
            return self._lists(name, values)
        for i, value in enumerate(values):
            if not isinstance(value, int | float | str | type(None)):
                refuse(i, value, EXPECTED)
                values[i] = None
        return scalars(values, set(map(type, values)))

    def _lists(self, name: str, values: list[Any]) -> Column:
        width = self.widths.setdefault(name, len(next(v for v in values if isinstance(v, list))))
        out = np.full((len(values), width), np.nan)
        for i, value in enumerate(values):
            if isinstance(value, list) and len(value) == width and all(isinstance(v, int | float) for v in value):
                with contextlib.suppress(OverflowError):  # a whole number beyond any float
                    out[i] = value
        return whole_rows(out)


def _kind(raw: Any) -> str:
    """Letter of the type as numpy has it; ``O`` for anything else."""
    found = getattr(getattr(raw, "dtype", None), "kind", "O")
    return found if isinstance(found, str) else "O"


def _numbers(raw: Any) -> Floats:
    if hasattr(raw, "iloc"):  # pandas has types of its own, whose gaps are no NaN
        return np.asarray(raw.to_numpy(dtype=np.float64, na_value=np.nan), np.float64)
    return np.asarray(raw, np.float64)


def _moments(raw: Any) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """UTC, without a time zone."""
    return raw.to_numpy(dtype="datetime64[ns]") if hasattr(raw, "iloc") else np.asarray(raw, "datetime64[ns]")


def _seconds(values: np.ndarray[Any, Any]) -> Floats:
    found = values.astype(np.int64) / 1e9
    found[np.isnat(values)] = np.nan
    return found


def _values(raw: Any) -> list[Any]:
    if hasattr(raw, "tolist"):  # arrays and series
        return list(raw.tolist())
    return list(raw)


def _moment(value: Any) -> Any:
    """A moment of Python or pandas as epoch seconds; others as they are."""
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return _simple(value)


def _simple(value: Any) -> Any:
    """A cell as JSON would have it: number, text, list of numbers or None; foreign things stay what they are."""
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is float:
        return None if math.isnan(value) else value
    if kind.__name__ in _MISSING:
        return None
    if isinstance(value, bool | np.bool_):
        return canonical(value)
    if isinstance(value, np.generic):
        return _simple(value.item())
    if isinstance(value, Decimal):
        return _simple(float(value))
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else value
