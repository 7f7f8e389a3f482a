"""Columns of lists of numbers on their way into a reference: held until an encoder is fitted, then as its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift import composites
from pilotfish_agent.drift.encoders import embedding
from pilotfish_agent.drift.kept import KeptColumn
from pilotfish_agent.drift.layout import Ints
from pilotfish_core.nouns import Column

HELD_ROWS: Final = 10_000
"""Rows of which one half is fitted on; twice as many move no centre by a tenth of its distance."""
HELD_CELLS: Final = 4 << 20
"""Of 4 bytes each: 16 MiB a column. Lists of 1,536 numbers are held for 2,730 rows, half of them to fit on."""
LEAST_HELD: Final = 2 * embedding.LEAST_FIT


@dataclass(slots=True)
class Fitted:
    """An encoder and the rows it made into parts.

    Attributes:
        encoder: as it stands in the reference.
        first: number of the first row that speaks of the parts: the encoder was fitted on rows before it.
        parts: the kept rows of each part.
    """

    encoder: Mapping[str, Any]
    first: int
    parts: dict[str, KeptColumn]


@dataclass(slots=True)
class Vectors:
    """The rows of one column of lists.

    Attributes:
        name: of the column.
        seed: of the fit.
        width: numbers a list.
        seen: rows with a usable list so far.
    """

    name: str
    seed: int
    width: int = 0
    seen: int = 0
    _held: list[NDArray[np.float32]] = field(default_factory=list)
    _held_rows: int = 0
    _first: int = 0
    _fitted: Fitted | None = None

    def add(self, column: Column, first: int, chosen: Ints | None, at: Ints, size: int) -> None:
        """Takes a batch's rows, shape (n, d), of which the first is row ``first``; the rest as `KeptColumn.add`."""
        rows = embedding.single(column)
        self.width = self.width or rows.shape[1]
        if rows.shape[1] != self.width:
            rows = np.full((len(rows), self.width), np.nan, np.float32)
        self.seen += int(embedding.usable(rows).sum())
        if self._fitted is not None:
            made = composites.encoded(self.name, rows, len(rows), self._fitted.encoder)
            for stream, values in made.items():
                self._fitted.parts[stream].add(values, chosen, at, size)
            return
        if not self._held:
            self._first = first
        gap = first - self._first - self._held_rows  # rows of batches without the column
        if gap:
            rows = np.concatenate([np.full((gap, self.width), np.nan, np.float32), rows])
        self._held.append(rows)
        self._held_rows += len(rows)
        if self._held_rows >= max(LEAST_HELD, min(HELD_ROWS, HELD_CELLS // self.width)):
            self._fitted = self._fit()
            if self._fitted is not None:
                self._held = []

    def fitted(self) -> Fitted | str:
        """The encoder with the parts of all rows so far, or why there is none."""
        if not 1 < self.width <= embedding.MAX_DIMENSIONS:
            return f"lists of {self.width} numbers: 2 to {embedding.MAX_DIMENSIONS:,} are watched as an embedding"
        found = self._fitted or self._fit()
        if found is None:
            return f"not enough data: {self.seen} lists of {self.width} numbers, at least {LEAST_HELD} are needed"
        return found

    def _fit(self) -> Fitted | None:
        """Fits on the first half of the usable rows held; the parts are those of all rows behind it."""
        rows = np.concatenate(self._held)
        good = np.flatnonzero(embedding.usable(rows))
        half = len(good) // 2
        if half < embedding.LEAST_FIT:
            return None
        encoder = embedding.fit(rows[good[:half]], self.seed)
        start = int(good[half])
        at = np.arange(self._first + start, self._first + len(rows))
        parts = {}
        for stream, values in composites.encoded(self.name, rows[start:], len(at), encoder).items():
            parts[stream] = KeptColumn(rising=False)
            parts[stream].add(values, None, at, self._first + len(rows))
        return Fitted(encoder, self._first + start, parts)
