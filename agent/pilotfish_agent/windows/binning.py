"""Values to bin counts: all that is kept of a feature (docs/statistics.md, section 2).

Both binners need one `searchsorted` and one `bincount` a call: call them with batches, not with single values.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pilotfish_core.nouns import Column

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DIGITS = 12  # values that agree to so many significant digits are one value: float noise is not drift
EXACT = 2.0**53  # above it float64 skips integers
MISSING_WORDS = frozenset(("", "NA", "NaN", "null", "None", "N/A"))
REMEMBERED = 256  # texts that are no levels whose place is kept: reading one again costs a microsecond
SHORT = 600  # texts: counting distinct ones first pays from here on
MAX_DIGITS = 15  # whole numbers of more digits need not survive float64
_CODE = re.compile(r"0\d|.*_")
_LARGEST = float(np.finfo(np.float64).max)


def rounded(x: float) -> float:
    """``x`` to 12 significant digits."""
    return float(f"{x:.{DIGITS - 1}e}")


def upper_edge(edge: float) -> float:
    """The largest double that rounds (12 significant digits) to ``edge`` or below; rounding is monotone."""
    goal = rounded(edge)
    # Half a unit of the last digit above it, give or take the double's own rounding; else it has to be searched for.
    digits, _, exponent = f"{edge:.{DIGITS - 1}e}".replace(".", "").partition("e")
    if edge and math.isfinite(edge):
        guess = float(f"{int(digits) * 10 + 5}e{int(exponent) - DIGITS}")
        for last in (guess, math.nextafter(guess, -math.inf)):
            if rounded(last) <= goal < rounded(math.nextafter(last, math.inf)):
                return last
    return _last(edge, lambda x: rounded(x) <= rounded(edge))


def lower_edge(value: float) -> float:
    """The largest double that rounds to less than ``value``."""
    return _last(value, lambda x: rounded(x) < rounded(value))


def _last(near: float, holds: Callable[[float], bool]) -> float:
    """The largest double for which the monotone ``holds`` is true; it lies within a 12th digit of ``near``."""
    if not math.isfinite(near):
        return near
    step = max(abs(near) * 10.0 ** (1 - DIGITS), 5e-324 * 16)
    low, high = max(near - 2 * step, -_LARGEST), min(near + 2 * step, _LARGEST)
    if holds(high):
        return high
    if not holds(low):
        return -math.inf  # `near` is the smallest value of all
    while (middle := low + (high - low) / 2) not in (low, high):
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def canonical(value: object) -> str | None:
    """The text by which a category is compared: ``true``/``false``, integers without ``.0``, None for missing.

    Other numbers have 12 significant digits. A text that reads as a number is not touched: see `LevelBinner`.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, float):
        return str(value)
    if value != value:  # noqa: PLR0124 - NaN
        return None
    if abs(value) < EXACT and value == int(value):
        return str(int(value))
    return f"{value:.{DIGITS}g}"


def number(text: str | None) -> float:
    """The number a text stands for: NaN for missing and for what is no number, 1 and 0 for true and false."""
    if text is None or text in MISSING_WORDS:
        return math.nan
    try:
        return float(text)
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(text.lower(), math.nan)


def floats(column: Column) -> Floats:
    """A column as float64: texts are parsed one by one, whatever is no number becomes NaN."""
    if isinstance(column, list | tuple):
        return np.fromiter(map(number, column), np.float64, len(column))
    return np.asarray(column, np.float64)


class NumericBinner:
    """Counts of a numeric stream: right-closed bins, then missing, +inf, -inf.

    Args:
        edges: ascending finite float64 (E,), the reference's quantiles.

    Attributes:
        bins: E + 1 + 3.
    """

    __slots__ = ("_edges", "_order", "_place", "bins")

    def __init__(self, edges: Iterable[float]) -> None:
        moved = [upper_edge(float(e)) for e in edges]
        if any(a >= b for a, b in itertools.pairwise(moved)) or not all(map(math.isfinite, moved)):
            raise ValueError(f"edges must be finite and ascending (12 digits), got {moved[:5]}...")
        # With these outer edges one search tells apart -inf (0), +inf (E+2) and NaN (E+3), which sorts last.
        self._edges = np.array([-math.inf, *moved, _LARGEST, math.inf])
        self.bins = len(moved) + 4
        self._order = np.array([*range(1, len(moved) + 2), len(moved) + 3, len(moved) + 2, 0])
        self._place: Ints = np.argsort(self._order)

    def counts(self, column: Column) -> Ints:
        """Counts of a column, int64 (E+4,)."""
        found = self._edges.searchsorted(floats(column))
        ordered: Ints = np.bincount(found, minlength=self.bins)[self._order]
        return ordered

    def ids(self, column: Column) -> Ints:
        """The bin of each value, int64 (n,)."""
        found: Ints = self._place[self._edges.searchsorted(floats(column))]
        return found


class StratumBinner:
    """Bins of a numeric stream whose rows are ranked inside their own stratum: each has edges of its own.

    Args:
        edges: ascending finite float64 (S, E).

    Attributes:
        bins: E + 1 + 3.
    """

    __slots__ = ("_binners", "bins")

    def __init__(self, edges: Iterable[Iterable[float]]) -> None:
        self._binners = [NumericBinner(own) for own in edges]
        self.bins = self._binners[0].bins

    def ids(self, column: Column, strata: Ints) -> Ints:
        """The bin of each value, int64 (n,), where ``strata`` (n,) says to which one each belongs."""
        x = floats(column)
        found = np.empty(len(x), np.int64)
        for stratum in np.unique(strata).tolist():
            mine = strata == stratum
            found[mine] = self._binners[stratum].ids(x[mine])
        return found


class LevelBinner:
    """Counts of a categorical stream: its levels, then other, missing.

    A text that is no level is read once more as a number (``3.0`` is ``3``) or boolean (``True`` is ``true``);
    a missing word (``NA``, empty, ...) is missing unless it is a level itself.

    Args:
        levels: canonical texts, unique, (L,).

    Attributes:
        bins: L + 2.
    """

    __slots__ = ("_edges", "_index", "_place", "_seen", "bins")

    def __init__(self, levels: Sequence[str]) -> None:
        self._index = {level: i for i, level in enumerate(levels)}
        if len(self._index) != len(levels):
            raise ValueError("levels must be unique")
        self.bins = len(levels) + 2
        # A level that is the canonical text of a number gets a bin (below, upto] of its own, the gaps are other.
        edges, place = [], [len(levels)]
        for value, i in sorted((v, i) for level, i in self._index.items() if (v := _value(level)) is not None):
            below, upto = _bounds(value)
            edges += [below, upto]
            place += [i, len(levels)]
        self._edges = np.array([*edges, math.inf])
        self._place: Ints = np.array([*place, len(levels) + 1])
        self._seen: dict[str | None, int] = dict(self._index.items())

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels, without other and missing."""
        return tuple(self._index)

    def counts(self, column: Column) -> Ints:
        """Counts of a column, int64 (L+2,)."""
        if not isinstance(column, list | tuple):
            found = self._edges.searchsorted(np.asarray(column, np.float64))
            return np.bincount(self._place[found], minlength=self.bins)
        if len(column) < SHORT:
            return np.bincount(self.ids(column), minlength=self.bins)
        out = np.zeros(self.bins, np.int64)
        seen = self._seen.get
        for text, n in Counter(column).items():
            place = seen(text)
            out[self.place(text) if place is None else place] += n
        return out

    def ids(self, column: Column) -> Ints:
        """The position of each value, int64 (n,)."""
        if not isinstance(column, list | tuple):
            found: Ints = self._place[self._edges.searchsorted(np.asarray(column, np.float64))]
            return found
        try:
            return np.fromiter(map(self._seen.__getitem__, column), np.int64, len(column))
        except KeyError:  # a text that is not known yet
            known = {text: self.place(text) for text in set(column)}
            return np.fromiter(map(known.__getitem__, column), np.int64, len(column))

    def place(self, text: str | None) -> int:
        """Where one text (or None) counts: a level's position, else other's or missing's."""
        found = self._seen.get(text)
        if found is None:
            if text is None or text in MISSING_WORDS:
                found = self.bins - 1
            else:
                found = self._index.get(reread(text), self.bins - 2)
            if len(self._seen) < len(self._index) + REMEMBERED:
                self._seen[text] = found
        return found


def reread(text: str) -> str:
    """A text in canonical form where it stands for a number (``3.0`` is ``3``) or boolean (``True``), else as it is.

    Digits with a leading zero (post codes) and more digits than float64 holds are codes, not numbers.
    """
    first = text[:1]
    if first.isdigit() or first in ("+", "-", "."):
        digits = text.lstrip("+-")
        if _CODE.match(digits) or len(digits) > MAX_DIGITS:
            return text
        try:
            return canonical(float(text)) or text
        except ValueError:
            return text
    lower = text.lower()
    return lower if lower in ("true", "false") else text


def _value(level: str) -> float | None:
    """The number of which ``level`` is the canonical text, else None (``007`` is none, ``7`` is)."""
    try:
        value = float(level)
    except ValueError:
        return None
    return value if canonical(value) == level else None


def _bounds(value: float) -> tuple[float, float]:
    """The half-open interval of doubles that are this value; integers of more digits than we round to are exact."""
    if abs(value) >= 10.0**DIGITS or value == 0:
        return math.nextafter(value, -math.inf), value
    return lower_edge(value), upper_edge(value)
