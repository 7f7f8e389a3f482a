"""What a test is: one file of this folder, its name is the name in reports, metrics and settings.

Attributes of a module:
    NAME: the file's name.
    KINDS: streams that it is for: numeric, categorical, embedding.
    NEEDS: ``counts`` (works with a built reference too) or ``values`` (raw ones of both sides; scipy or heavy).
    compare(reference, current): of two `Side`s.
    distances(bins): of many streams at once, where it is a distance that may be a gauge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.layout import Floats, Ints

PACKAGE: Final = "pilotfish_agent.drift.tests"
Kind = Literal["numeric", "categorical", "embedding"]
Needs = Literal["counts", "values"]


@dataclass(frozen=True, slots=True)
class TestResult:
    """What a test found.

    Attributes:
        test: its name.
        statistic: None where it says nothing, with the reason.
        pvalue: None for a distance.
        reason: why there is no number; empty where there is one.
    """

    __test__: ClassVar[bool] = False  # pytest: this is no test case

    test: str
    statistic: float | None
    pvalue: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One side of a comparison.

    Attributes:
        counts: on the reference's bins (K,), divided by phi where rows depend.
        ordered: how many of the first bins are in order; the others are special ones or levels.
        values: the finite numbers (n,), ascending, or the vectors (n, d); None where only counts are there.
    """

    counts: Floats
    ordered: int = 0
    values: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Counts of F streams side by side, W bins in all.

    Attributes:
        reference, current: counts (W,); the current ones may be decayed.
        starts: (F,) where each stream's bins begin.
        rows: (F,) rows of equal weight that the current counts are as certain as.
        ordered: (W,) which bins are in order.
    """

    reference: Floats
    current: Floats
    starts: Ints
    rows: Floats
    ordered: NDArray[np.bool_]

    @property
    def sizes(self) -> Ints:
        """Bins of each stream (F,)."""
        return np.diff(self.starts, append=len(self.reference))

    @property
    def reference_rows(self) -> Floats:
        """Rows of each stream's reference (F,)."""
        return self.each(self.reference)

    def each(self, values: Floats) -> Floats:
        """Sums over each stream's bins (F,)."""
        found: Floats = np.add.reduceat(values, self.starts)
        return found

    def masses(self) -> tuple[Floats, Floats]:
        """Shares (W,) of both sides: nominal ones, so that an empty bin has a little mass."""
        reference, current = self.reference + 0.5, self.current + 0.5 * self._weight()
        return tuple(x / np.repeat(self.each(x), self.sizes) for x in (reference, current))  # type: ignore[return-value]

    def shares(self, *, ordered: bool = False) -> tuple[Floats, Floats]:
        """Plain shares (W,) of both sides, of the ordered bins only where that is asked for; NaN of no rows."""
        sides = (np.where(self.ordered, x, 0.0) if ordered else x for x in (self.reference, self.current))
        with np.errstate(divide="ignore", invalid="ignore"):
            return tuple(x / np.repeat(self.each(x), self.sizes) for x in sides)  # type: ignore[return-value]

    def bias(self) -> Floats:
        """``(K - 1) (1/n + 1/m)``, (F,)."""
        with np.errstate(divide="ignore"):
            found: Floats = (self.sizes - 1) * (1 / self.rows + 1 / self.reference_rows)
        return found

    def _weight(self) -> Floats:
        """Of a row of the current counts (W,): decayed counts sum to more than the rows that they are worth."""
        total = self.each(self.current)
        return np.repeat(np.divide(total, self.rows, out=np.ones_like(total), where=self.rows > 0), self.sizes)


def bins_of(reference: Side, current: Side) -> Bins:
    """One stream's."""
    ordered = np.arange(len(reference.counts)) < reference.ordered
    rows = np.array([current.counts.sum()])
    return Bins(reference.counts, current.counts, np.zeros(1, np.int64), rows, ordered)


def distance(name: str, distances: Callable[[Bins], Floats], reference: Side, current: Side, why: str) -> TestResult:
    """The result of a distance on counts; ``why`` it may have no number, beside empty sides."""
    if not reference.counts.sum() or not current.counts.sum():
        return TestResult(name, None, None, EMPTY)
    found = float(distances(bins_of(reference, current))[0])
    return TestResult(name, found) if math.isfinite(found) else TestResult(name, None, None, why)


EMPTY: Final = "no rows on one side"
ALIKE: Final = "one value only"


def of_values(
    name: str,
    reference: Side,
    current: Side,
    compare: Callable[[Floats, Floats], tuple[float, float | None]],
    least: int = 1,
) -> TestResult:
    """The result of a test on raw values; each side needs ``least`` of them."""
    a, b = reference.values, current.values
    if a is None or b is None:
        return TestResult(name, None, None, "no raw values")
    if min(len(a), len(b)) < least:
        return TestResult(
            name, None, None, EMPTY if not min(len(a), len(b)) else f"fewer than {least} values on one side"
        )
    statistic, pvalue = compare(a, b)
    if not math.isfinite(statistic) or (pvalue is not None and math.isnan(pvalue)):
        return TestResult(name, None, None, ALIKE)
    return TestResult(name, float(statistic), None if pvalue is None else min(1.0, max(0.0, float(pvalue))))


def without_pvalue(result: TestResult, reason: str) -> TestResult:
    """The same where rows depend on one another, which the test does not know."""
    return result if result.pvalue is None else replace(result, pvalue=None, reason=reason)


def drawn(values: Floats, most: int, rng: np.random.Generator) -> Floats:
    """At most so many rows, in random order."""
    found: Floats = values[rng.permutation(len(values))[:most]]
    return found


def gaps(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """(differences of the distribution functions, widths) between neighbours of both sides' values, ascending each.

    Merging two ascending sides takes a tenth of the time that scipy's distances take, which sort and search.
    """
    both = np.concatenate((a, b))
    order = np.argsort(both, kind="stable")  # merges what is in order already
    step = np.where(order < len(a), 1 / len(a), -1 / len(b))
    return np.cumsum(step)[:-1], np.diff(both[order])
