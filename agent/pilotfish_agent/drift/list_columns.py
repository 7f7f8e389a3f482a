"""Lists in data files: rows of numbers (embeddings), or objects, of which number and label are kept."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pilotfish import described
from pilotfish_core.nouns import Column

OBJECTS: Final = 0
_ONE_WIDTH = 0.5
_NUMBER = {int, float}


@dataclass(slots=True)
class ListColumns:
    """The columns of one file that hold lists; what each is is told by the first batch that holds some.

    Attributes:
        widths: numbers of each list, by column; `OBJECTS`: texts, mappings, or lists of several lengths.
    """

    widths: dict[str, int] = field(default_factory=dict)

    def holds(self, name: str, types: set[type]) -> bool:
        """Whether a batch's values of these types are such a column's."""
        return list in types or (name in self.widths and types == {type(None)})

    def columns(self, name: str, values: Sequence[Any], numbers: Sequence[int]) -> dict[str, Column]:
        """The columns of a batch's values.

        Numbers are an array of shape (rows, width), NaN throughout what is no such list; of objects there are
        ``name.count`` and ``name.label``.

        Args:
            name: of the column.
            values: a list or None a row; others are missing.
            numbers: of the rows in the file; they decide which object is named.
        """
        if name not in self.widths:
            self.widths[name] = _width([value for value in values if type(value) is list])
        if self.widths[name] == OBJECTS:
            return _objects(name, values, numbers)
        return {name: _rows(values, self.widths[name])}

    def names(self, name: str) -> Iterator[str]:
        """The columns that a column of the file has become."""
        if self.widths.get(name) == OBJECTS:
            yield from (f"{name}.count", f"{name}.label")
        else:
            yield name


def _width(lists: Sequence[list[Any]]) -> int:
    widths = Counter(len(one) if one and set(map(type, one)) <= _NUMBER else OBJECTS for one in lists)
    width, rows = widths.most_common(1)[0]
    return width if rows > _ONE_WIDTH * len(lists) else OBJECTS


def _rows(values: Sequence[Any], width: int) -> Column:
    out = np.full((len(values), width), np.nan)
    for i, value in enumerate(values):
        if type(value) is list and len(value) == width and set(map(type, value)) <= _NUMBER:
            with contextlib.suppress(OverflowError):  # a whole number beyond any float
                out[i] = value
    return out


def _objects(name: str, values: Sequence[Any], numbers: Sequence[int]) -> dict[str, Column]:
    count, labels = np.full(len(values), np.nan), [None] * len(values)
    for i, (value, number) in enumerate(zip(values, numbers, strict=True)):
        if type(value) is list:
            told: Any = described.objects(value, number)
            count[i], labels[i] = told["count"], told["label"]
    return {f"{name}.count": count, f"{name}.label": labels}
