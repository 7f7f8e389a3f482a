"""The rows a reference is made from, column by column: all of them up to a limit, a uniform sample beyond it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.layout import Floats, Ints
from pilotfish_agent.windows.binning import MISSING_WORDS, canonical, number, reread
from pilotfish_core.nouns import Column

_T = TypeVar("_T", bound=np.generic)

MAX_TEXTS = 100_000  # distinct texts held a column; what comes after is `other`, the frequent ones came before
MAX_CHARACTERS = 4 << 20  # of these texts together
_MISSING, _BEYOND = -1, -2
_MAX_TEXT = 1_000  # characters of a level


class Reservoir:
    """Which rows are kept: reservoir sampling (Vitter's algorithm R), a batch at a time.

    Args:
        limit: rows kept.
        seed: of the choice.
    """

    def __init__(self, limit: int, seed: int) -> None:
        self.limit = limit
        self.seen = 0
        self._rng = np.random.default_rng(seed)

    @property
    def kept(self) -> int:
        """Rows held."""
        return min(self.seen, self.limit)

    def place(self, rows: int) -> tuple[Ints | None, Ints]:
        """Of the next ``rows`` rows: which are kept (None: all), and at which position each."""
        first, self.seen = self.seen, self.seen + rows
        if self.seen <= self.limit:
            return None, np.arange(first, self.seen)
        row = np.arange(first, self.seen)
        at = np.where(row < self.limit, row, self._rng.integers(0, row + 1))
        chosen = np.flatnonzero(at < self.limit)
        return chosen, at[chosen]


@dataclass(slots=True)
class KeptColumn:
    """The kept rows of one column: numbers in ``values``, texts as codes of ``texts``, a missing value in neither.

    Attributes:
        rising: all values so far whole numbers, each larger than the one before, in file order.
        seen: present (not missing) values in all rows.
    """

    values: Floats = field(default_factory=lambda: np.full(0, math.nan))
    codes: NDArray[np.int32] | None = None
    texts: dict[str, int] = field(default_factory=dict)
    rising: bool = True
    seen: int = 0
    beyond: int = 0
    _last: float = -math.inf
    _characters: int = 0
    _known: dict[str | None, int] = field(default_factory=lambda: dict.fromkeys((None, *MISSING_WORDS), _MISSING))

    def add(self, column: Column, chosen: Ints | None, at: Ints, size: int) -> None:
        """Keeps a batch's chosen rows at positions ``at``; ``size`` is how many rows will be held then."""
        self.values = _grown(self.values, size, math.nan)
        if self.codes is not None:
            self.codes = _grown(self.codes, size, _MISSING)
        if isinstance(column, list | tuple):
            self._add_texts(column, chosen, at)
            return
        x = np.asarray(column, np.float64)
        self.seen += len(x) - int(np.isnan(x).sum())
        self._watch_order(x)
        self.values[at] = x if chosen is None else x[chosen]
        if self.codes is not None:
            self.codes[at] = _MISSING

    def _add_texts(self, column: Sequence[str | None], chosen: Ints | None, at: Ints) -> None:
        self.rising = False
        if self.codes is None:
            self.codes = np.full(len(self.values), _MISSING, np.int32)
        try:  # nearly always all texts are known
            codes = np.fromiter(map(self._known.__getitem__, column), np.int32, len(column))
        except KeyError:
            codes = np.fromiter(map(self._code, column), np.int32, len(column))
        self.seen += int((codes != _MISSING).sum())
        self.beyond += int((codes == _BEYOND).sum())
        self.codes[at] = codes if chosen is None else codes[chosen]
        self.values[at] = math.nan

    def _code(self, text: str | None) -> int:
        if text is None or text in MISSING_WORDS:
            return _MISSING
        code = self.texts.get(text)
        if code is None:
            if len(self.texts) >= MAX_TEXTS or len(text) > _MAX_TEXT or self._characters >= MAX_CHARACTERS:
                return _BEYOND
            code = self.texts[text] = self._known[text] = len(self.texts)
            self._characters += len(text)
        return code

    def _watch_order(self, x: Floats) -> None:
        if not self.rising or not len(x):
            return
        with np.errstate(invalid="ignore"):  # NaN and infinities end the order
            self.rising = bool((np.diff(x) > 0).all() and x[0] > self._last and (x == np.floor(x)).all())
        self._last = float(x[-1])

    def padded(self, size: int) -> None:
        """Rows that lack this column count as missing."""
        self.values = _grown(self.values, size, math.nan)
        if self.codes is not None:
            self.codes = _grown(self.codes, size, _MISSING)

    def numbers(self, size: int) -> Floats:
        """The kept rows as numbers, NaN for missing and what is no number."""
        self.padded(size)
        if self.codes is None:
            return self.values[:size]
        parsed = np.array(
            [*(number(reread(t)) for t in self.texts), math.nan, math.nan]
        )  # codes -2 and -1: the last two
        return np.where(self.codes[:size] >= 0, parsed[self.codes[:size]], self.values[:size])

    def number_share(self, size: int) -> float:
        """Of the present values the share that are numbers (texts that stand for one counted)."""
        self.padded(size)
        numbers = int((~np.isnan(self.values[:size])).sum())
        if self.codes is None:
            return 1.0 if numbers else 0.0
        is_number = np.array([_is_number(t) for t in self.texts], bool)
        per_code = np.bincount(self.codes[:size][self.codes[:size] >= 0], minlength=len(self.texts))
        texts = int(per_code.sum()) + int((self.codes[:size] == _BEYOND).sum())
        return (numbers + int(per_code[is_number].sum())) / max(numbers + texts, 1)

    def counted(self, size: int) -> Counter[str]:
        """Rows of each canonical text among the kept ones."""
        self.padded(size)
        found: Counter[str] = Counter()
        x = self.values[:size]
        for value, n in zip(*np.unique(x[~np.isnan(x)], return_counts=True), strict=True):
            found[canonical(float(value)) or ""] += int(n)
        if self.codes is not None:
            codes = self.codes[:size]
            per_code = np.bincount(codes[codes >= 0], minlength=len(self.texts))
            for text, n in zip(self.texts, per_code.tolist(), strict=True):
                if n:
                    found[reread(text)] += n
        return found

    def column(self, size: int, rows: Ints | None = None) -> Column:
        """The kept rows (all, or those asked for) as a Column that a binner takes."""
        self.padded(size)
        where = slice(size) if rows is None else rows
        x = self.values[where]
        if self.codes is None:
            return x
        known = [*self.texts, "\0", None]  # beyond what is held: certainly no level
        texts: list[str | None] = [known[c] for c in self.codes[where].tolist()]
        for i in np.flatnonzero(~np.isnan(x)).tolist():
            texts[i] = canonical(float(x[i]))
        return texts


def _is_number(text: str) -> bool:
    return not math.isnan(number(text)) and reread(text) == canonical(number(text))


def _grown(array: NDArray[_T], size: int, fill: float) -> NDArray[_T]:
    """The array with room for ``size`` items, doubled so that growing costs a constant a row."""
    if len(array) >= size:
        return array
    grown = np.full(max(size, 2 * len(array), 1024), fill, array.dtype)
    grown[: len(array)] = array
    return grown
