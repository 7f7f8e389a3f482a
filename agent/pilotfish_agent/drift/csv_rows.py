"""CSV (UTF-8, header, RFC 4180) as column batches."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.json_rows import select
from pilotfish_agent.drift.rows import (
    BATCH_CELLS,
    BATCH_ROWS,
    EXPECTED_TIME,
    MAX_LINE,
    BadRows,
    Layout,
    Rows,
    blocks,
    times,
)
from pilotfish_agent.drift.table_rows import roles
from pilotfish_agent.windows.binning import EXACT, MISSING_WORDS, number
from pilotfish_core.errors import DataError
from pilotfish_core.nouns import Column, ObservationBatch

# What Python reads as a number and a data file does not mean as one: post codes such as 0123, and 1_000.
_CODES = re.compile(r"\n[+-]?0\d")
# Stands for a line that is too long: one cell, so that it never has the header's width (unless that is one cell).
_TOO_LONG = "\0too long\n"
Numbered = list[tuple[int, list[str]]]
Refuse = Callable[[int, str, object, str], None]


@dataclass(slots=True)
class CsvRows:
    """A reader of one CSV file.

    Attributes:
        bad: where bad rows go.
        rows: rows seen, bad ones included, the header not.
        names: the features, in file order.
    """

    layout: Layout
    bad: BadRows
    rows: int = 0
    names: dict[str, None] = field(default_factory=dict)
    _header: list[str] = field(default_factory=list)
    _time: str | None = None
    _suspect: bool = False

    def read(self, file: BinaryIO) -> Iterator[Rows]:
        """Batches of the file; a bad row ends them, unless bad rows are skipped."""
        reader = csv.reader(self._texts(file), strict=True)
        try:
            header = next((cells for cells in reader if cells), None)
        except csv.Error as error:
            raise DataError(f"{self.bad.name}: header: {error}", expected="comma-separated names") from None
        if header is None:
            raise DataError(f"{self.bad.name}: empty file", expected="a header and rows")
        self._take_header(header)
        held: Numbered = []
        size = min(BATCH_ROWS, max(100, BATCH_CELLS // len(header)))
        for pair in self._records(reader):
            held.append(pair)
            if len(held) >= size:
                yield from self._rows(held)
                held = []
        if held:
            yield from self._rows(held)

    def _texts(self, file: BinaryIO) -> Iterator[str]:
        """Decoded lines; bytes that are not UTF-8 become lone surrogates, which are then looked for cell by cell."""
        for lines in blocks(file):
            whole = b"".join([line for line in lines if line is not None])
            try:
                text = whole.decode("utf-8")
                self._suspect = self._suspect or "\0" in text
            except UnicodeDecodeError:
                self._suspect = True
            for line in lines:
                yield _TOO_LONG if line is None else line.decode("utf-8", "surrogateescape")

    def _take_header(self, header: list[str]) -> None:
        name = self.bad.name
        if any(_undecodable(h) or "\0" in h for h in header):
            raise DataError(f"{name}: header: not UTF-8 text", got=header[0][:40], expected="UTF-8")
        if len(header) == 1 and re.search(r"[;\t|]", header[0]):
            raise DataError(f"{name}: header: one column", got=header[0], expected="commas between the columns")
        self._header = header
        found = roles(name, header, self.layout)
        self._time, self.names = found.time, dict.fromkeys(found.features)

    def _records(self, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
        width = len(self._header)
        expected = f"{width} cells, as in the header"
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self.rows += 1
                self.bad.add(self.rows, None, str(error), "RFC 4180: quotes around a cell, doubled inside it")
                continue
            if not cells:
                continue
            self.rows += 1
            if len(cells) == width and cells[0] != _TOO_LONG[:-1]:
                yield self.rows, cells
            elif cells[0] == _TOO_LONG[:-1]:
                self.bad.add(self.rows, None, f"a line of more than {MAX_LINE:,} bytes", expected)
            else:
                self.bad.add(self.rows, None, f"{len(cells)} cells", expected)

    def _rows(self, numbered: Numbered) -> Iterator[Rows]:
        drop: dict[int, None] = {}
        columns = dict(zip(self._header, zip(*(cells for _, cells in numbered), strict=True), strict=True))

        def refuse(i: int, column: str, got: object, expected: str) -> None:
            if i not in drop:
                drop[i] = None
                self.bad.add(numbered[i][0], column, got, expected)

        if self._suspect:
            _refuse_odd(columns, refuse)
        moments = None
        if self._time is not None:
            moments = times(columns[self._time])
            for i in np.flatnonzero(np.isnan(moments)).tolist():
                refuse(i, self._time, columns[self._time][i], EXPECTED_TIME)
        features: dict[str, Column] = {}
        for name in self.names:
            features[name] = self._feature(name, columns[name], refuse)
        made = self._batch(columns, features, numbered, moments, drop)
        if made.batch.rows and not self.bad.stopped():
            yield made

    def _feature(self, name: str, cells: tuple[str, ...], refuse: Refuse) -> Column:
        if name in self.layout.numeric:
            return _must_be_numbers(name, cells, refuse)
        return _texts_of(cells) if name in self.layout.categorical else column_of(cells)

    def _batch(
        self,
        columns: dict[str, tuple[str, ...]],
        features: dict[str, Column],
        numbered: Numbered,
        moments: NDArray[np.float64] | None,
        drop: dict[int, None],
    ) -> Rows:
        layout = self.layout
        keep = np.array([i for i in range(len(numbered)) if i not in drop], np.int64) if drop else None
        batch = ObservationBatch(
            model=layout.model or "",
            version=None,
            source="tail",
            rows=len(numbered) - len(drop),
            features={k: select(v, keep) for k, v in features.items()},
            prediction=select(column_of(columns[layout.prediction]), keep) if layout.prediction else None,
            ids=select([c or None for c in columns[layout.id]], keep) if layout.id else None,
        )
        return Rows(batch, select(np.array([i for i, _ in numbered], np.int64), keep), select(moments, keep))


def column_of(cells: tuple[str, ...]) -> Column:
    """float64 when every cell is a number or missing, else texts with None for missing."""
    try:
        x = np.array(list(map(float, cells)))
    except ValueError:
        try:
            x = np.array([float(c) if c not in MISSING_WORDS else np.nan for c in cells])
        except ValueError:
            return _texts_of(cells)
    joined = "\n".join(("", *cells))
    if "_" in joined or _CODES.search(joined):
        return _texts_of(cells)
    # Whole numbers beyond 2^53 would lose digits.
    if np.nanmax(np.abs(x), initial=0) >= EXACT and any(c.lstrip("+-").isdigit() and len(c) > 15 for c in cells):
        return _texts_of(cells)
    return x


def _refuse_odd(columns: dict[str, tuple[str, ...]], refuse: Refuse) -> None:
    """Refuses rows with NUL bytes or bytes that are not UTF-8."""
    for name, cells in columns.items():
        for i, cell in enumerate(cells):
            if "\0" in cell:
                refuse(i, name, cell, "text without NUL bytes")
            elif _undecodable(cell):
                refuse(i, name, cell.encode("utf-8", "surrogateescape"), "UTF-8")


def _undecodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _texts_of(cells: tuple[str, ...]) -> list[str | None]:
    return [None if c in MISSING_WORDS else c for c in cells]


def _must_be_numbers(name: str, cells: tuple[str, ...], refuse: Refuse) -> NDArray[np.float64]:
    out = np.fromiter(map(number, cells), np.float64, len(cells))
    for i in np.flatnonzero(np.isnan(out)).tolist():
        if cells[i] not in MISSING_WORDS and cells[i].strip().lower() != "nan":
            refuse(i, name, cells[i], "a number")
    return out
