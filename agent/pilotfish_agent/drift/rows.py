"""What the readers of data files share: batches of rows with their times, bad rows, bounded lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pilotfish_core.errors import DataError, UsageError
from pilotfish_core.nouns import ObservationBatch

BATCH_ROWS = 5_000
BATCH_CELLS = 500_000  # a wide table takes fewer rows a batch
MAX_LINE = 16 << 20  # bytes of one line; a longer one is a bad row and is skipped without being held
MAX_COLUMNS = 1_000  # `limits.features`
_BLOCK = 1 << 20
_LATEST = 1e11  # seconds; larger numbers are milliseconds


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a file.

    Attributes:
        batch: their columns.
        numbers: the number of each row in the file, from 1, int64 (rows,); bad rows leave gaps.
        times: epoch seconds (rows,), None when the file has no times.
    """

    batch: ObservationBatch
    numbers: NDArray[np.int64]
    times: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column is what.

    Attributes:
        time, prediction, label, id: names of CSV columns, None where there is none; JSON lines have fixed names.
        ignore: features left out.
        numeric: features whose every value must be a number or missing.
        categorical: features read as texts.
        model: only records of this model are read, where records name one.
    """

    time: str | None = None
    prediction: str | None = None
    label: str | None = None
    id: str | None = None
    ignore: frozenset[str] = frozenset()
    numeric: frozenset[str] = frozenset()
    categorical: frozenset[str] = frozenset()
    model: str | None = None

    def check_roles(self, spelled: str = "{}") -> None:
        """Refuses one column with two roles.

        Args:
            spelled: how the user names a role.

        Raises:
            UsageError: naming both.
        """
        roles = {"time": self.time, "prediction": self.prediction, "label": self.label, "id": self.id}
        for column in roles.values():
            named = [spelled.format(role) for role, other in roles.items() if other == column is not None]
            if len(named) > 1:
                words = f"one column with two roles: {', '.join(named)}"
                raise UsageError(words, got=column, expected="a column for each")


class BadRows:
    """Counts rows that cannot be read; the first one is kept for the error.

    Args:
        name: of the file.
        skip: bad rows are left out and counted; else `finish` raises.
    """

    def __init__(self, name: str, *, skip: bool) -> None:
        self.name = name
        self.skip = skip
        self.count = 0
        self._first: tuple[str, object, str] | None = None

    def add(self, row: int, column: str | None, got: object, expected: str) -> None:
        """One bad row: its number, the column where it is known, the value, what belongs there."""
        self.count += 1
        if self._first is None:
            where = f"row {row}" + (f", column {column!r}" if column is not None else "")
            self._first = (where, got, expected)

    def stopped(self) -> bool:
        """Whether nothing more is worth handing out: the file will be refused, bad rows are still counted."""
        return self.count > 0 and not self.skip

    def finish(self, rows: int) -> None:
        """Refuses the file when a row was bad and bad rows are not skipped.

        Raises:
            DataError: the first bad row, and how many there are.
        """
        if self._first is None or self.skip:
            return
        where, got, expected = self._first
        todo = f"{_many(self.count, rows)} bad: mend them or use --skip-bad"
        raise DataError(f"{self.name}: {where}", got=got, expected=expected, todo=todo)


def _many(bad: int, rows: int) -> str:
    if bad == rows:
        return "the only row is" if rows == 1 else f"all {rows:,} rows are"
    return f"{bad:,} of {rows:,} rows {'is' if bad == 1 else 'are'}"


def blocks(file: BinaryIO) -> Iterator[list[bytes | None]]:
    """Lines of a binary file with their ends, about a MiB at a time; None stands for one longer than `MAX_LINE`."""
    rest, too_long = b"", False
    while block := file.read(_BLOCK):
        lines: list[bytes | None] = list((rest + block).splitlines(keepends=True)) if b"\r" not in block else []
        if not lines:
            lines = _split(rest + block)
        rest = b""
        last = lines[-1] or b""
        if not last.endswith(b"\n"):
            rest = last
            lines.pop()
        if too_long and lines:
            lines[0], too_long = None, False
        if len(rest) > MAX_LINE:
            rest, too_long = b"", True
        if too_long:
            rest = b""
        yield lines
    if rest or too_long:
        yield [None if too_long else rest]


def _split(data: bytes) -> list[bytes | None]:
    """Splits at line feeds only (``splitlines`` splits at lone carriage returns too)."""
    lines: list[bytes | None] = [part + b"\n" for part in data.split(b"\n")]
    lines[-1] = (lines[-1] or b"")[:-1]
    return lines if lines[-1] else lines[:-1]


def seconds(value: object) -> float:
    """Epoch seconds of a number, a text with a number, or an RFC 3339 time (UTC without an offset); NaN if none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _rfc3339(str(value))
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        return math.nan
    return float(value)


def _rfc3339(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return math.nan
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp() if 1970 <= moment.year < 5000 else math.nan


EXPECTED_TIME = "epoch seconds or an RFC 3339 time such as 2025-11-23T10:00:00Z"


def times(values: Sequence[object]) -> NDArray[np.float64]:
    """`seconds` of each, NaN where a value is none."""
    if set(map(type, values)) == {float}:
        x = np.array(values, np.float64)
        x[~((x >= 0) & (x < _LATEST))] = math.nan
        return x
    return np.fromiter(map(seconds, values), np.float64, len(values))


def check_names(name: str, columns: Iterable[str], limit: int = MAX_COLUMNS) -> None:
    """Refuses column names that cannot be told apart from ours, and too many of them.

    Raises:
        DataError: an empty name, one that starts with @, or more than `MAX_COLUMNS`.
    """
    count = 0
    for i, column in enumerate(columns, 1):
        count += 1
        if not column.strip():
            raise DataError(f"{name}: column {i} has no name", expected="a name for every column")
        if column.startswith("@"):
            raise DataError(
                f"{name}: column {column!r}: names that start with @ are Pilotfish's own (@prediction, @score)",
                todo="rename the column or leave it out with --ignore",
            )
    if count > limit:
        raise DataError(f"{name}: too many columns", got=count, expected=f"at most {limit}", todo="use --ignore")
