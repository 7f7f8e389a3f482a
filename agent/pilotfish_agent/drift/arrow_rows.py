"""Apache Arrow's columns as ours. pyarrow is imported here only: it comes with the extra `[parquet]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.rows import times
from pilotfish_agent.drift.table_rows import EXPECTED, Refuse, whole_rows
from pilotfish_agent.windows.binning import EXACT, canonical
from pilotfish_core.errors import DataError, UsageError
from pilotfish_core.nouns import Column

if TYPE_CHECKING:
    import pyarrow as pa

_UNITS: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def load() -> Any:
    """The module ``pyarrow``.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import compute, parquet
    except ImportError:
        raise UsageError("Parquet needs pyarrow", todo='pip install "pilotfish[parquet]"') from None
    del compute, parquet  # reached as attributes once they are imported
    return pa


@dataclass(slots=True)
class ArrowCells:
    """One record batch.

    Args:
        batch: of any schema.
        name: of the table, for errors.
        widths: numbers a list of each column of lists, as the first one of the table has; filled here.
    """

    batch: pa.RecordBatch
    name: str
    widths: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return int(self.batch.num_rows)

    def column(self, name: str, refuse: Refuse) -> Column:
        """A column in our form; see `table_rows.Cells`."""
        del refuse  # a typed column is right or wrong as a whole
        return self._column(name, _plain(self.batch.column(name)))

    def moments(self, name: str) -> Floats:
        """A column of times as epoch seconds."""
        pa, array = load(), _plain(self.batch.column(name))
        kind = array.type
        if pa.types.is_timestamp(kind):
            return _floats(array.cast(pa.int64())) / _UNITS[kind.unit]
        if pa.types.is_date(kind):
            return _floats(array.cast(pa.date32()).cast(pa.int32())) * 86_400
        return times(array.to_pylist())

    def shown(self, name: str, row: int) -> object:
        """One cell, for an error."""
        return self.batch.column(name)[row].as_py()

    def _column(self, name: str, array: Any) -> Column:
        pa, kind = load(), array.type
        test = pa.types
        if test.is_boolean(kind):
            return [canonical(v) for v in array.to_pylist()]
        if test.is_integer(kind):
            return _whole(array)
        if test.is_floating(kind) or test.is_decimal(kind) or test.is_null(kind):
            return _floats(array)
        if test.is_string(kind) or test.is_large_string(kind):
            return _texts(self.name, name, array)
        if test.is_timestamp(kind) or test.is_date(kind):
            return [None if v is None else v.isoformat() for v in _to_microseconds(array).to_pylist()]
        if test.is_duration(kind) or test.is_time(kind):
            whole = array.cast(pa.int32() if test.is_time32(kind) else pa.int64())
            return _floats(whole) / _UNITS[kind.unit]
        if _is_list(kind) and (_is_number(kind.value_type) or test.is_null(kind.value_type)):
            return self._lists(name, array)
        raise DataError(
            f"{self.name}: column {name!r}", got=str(kind), expected=EXPECTED, todo="leave it out with --ignore"
        )

    def _lists(self, name: str, array: Any) -> Column:
        """Rows of numbers, NaN throughout where a list is missing, has a gap, or another width than the first one."""
        lengths = _floats(array.value_lengths()) if hasattr(array, "value_lengths") else None
        if lengths is None:  # lists of fixed size
            lengths = np.full(len(array), float(array.type.list_size))
            lengths[np.asarray(array.is_null())] = np.nan
        known = lengths[~np.isnan(lengths)]
        if name not in self.widths:
            if not len(known):
                return np.full(len(array), np.nan)
            self.widths[name] = int(known[0])
        width = self.widths[name]
        out = np.full((len(array), width), np.nan)
        whole = lengths == width
        out[whole] = _floats(array.filter(load().array(whole)).flatten()).reshape(-1, width)
        return whole_rows(out)


def _plain(array: Any) -> Any:
    """Without dictionary encoding, run ends and extension types: what the values are themselves."""
    pa = load()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        array = pa.compute.run_end_decode(array)
    if str(array.type) == "string_view":  # newer than the oldest pyarrow that we take
        array = array.cast(pa.string())
    return array


def _is_list(kind: Any) -> bool:
    test = load().types
    return bool(test.is_list(kind) or test.is_large_list(kind) or test.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
    test = load().types
    return bool(test.is_integer(kind) or test.is_floating(kind) or test.is_decimal(kind))


def _floats(array: Any) -> Floats:
    """Numbers as float64, NaN for null."""
    found: Floats = np.asarray(array.cast(load().float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    return found


def _whole(array: Any) -> Column:
    """Whole numbers; as texts where float64 would lose digits."""
    found = _floats(array)
    if np.nanmax(np.abs(found), initial=0.0) >= EXACT:
        return [canonical(v) for v in array.to_pylist()]
    return found


def _texts(table: str, name: str, array: Any) -> Column:
    try:
        found: list[str | None] = array.to_pylist()
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: column {name!r}: not UTF-8 text", got=error.object[:40], expected="UTF-8") from None
    return found


def _to_microseconds(array: Any) -> Any:
    """Nanoseconds are more than Python's moments hold."""
    pa = load()
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
        return array.cast(pa.timestamp("us", array.type.tz), safe=False)
    return array
