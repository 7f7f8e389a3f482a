"""Seasonality: rows are compared with reference rows of their own stratum, such as the same hour of day.

Which strata a stream needs is told by held-out likelihood: its share of rows in each of eight bins is learnt stratum by
stratum on one half of the time and tried on the other (docs/statistics.md, section 8).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.layout import Floats, Ints

Kind = Literal["none", "hour", "weekend_hour", "hour_of_week"]
COUNTS: Final[Mapping[Kind, int]] = {"none": 1, "hour": 24, "weekend_hour": 48, "hour_of_week": 168}
"""Strata of each kind, from poor to rich; the strata of each are unions of those of the next."""
WORDS: Final[Mapping[Kind, str]] = {
    "none": "all hours alike",
    "hour": "by hour of day",
    "weekend_hour": "by hour of day, weekends apart",
    "hour_of_week": "by hour of week",
}
ALL: Final = COUNTS["hour_of_week"]
LATEST: Final = 2.5e11  # the year 9892; what a log calls later is told as then
QUARTER: Final = 900  # zones differ from UTC by multiples of it since 1972
HOUR: Final = 3600
DAY: Final = 86_400
WEEK: Final = 7 * DAY
CYCLES: Final = 4  # the fewest days or weeks that a pattern may be learnt from
NEEDED_NATS: Final = 10.0
FIT_ROWS: Final = 200  # of each stratum, in the half that is learnt from
WEEKLY: Final[tuple[Kind, ...]] = ("hour", "weekend_hour", "hour_of_week")
_Z: Final = 3.09  # the .999 quantile of a normal
_PRIORS: Final = (4.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)  # rows that the poorer strata count as


@dataclass(frozen=True, slots=True)
class Strata:
    """Which stratum a moment belongs to.

    Attributes:
        kind: hour of day, the same apart for weekends, hour of week, or one stratum for all.
        timezone: in which days and hours are told, a name such as ``Europe/Berlin``.
        zone: the same.
    """

    kind: Kind = "none"
    timezone: str = "UTC"
    zone: tzinfo = field(default=UTC, compare=False)

    @property
    def count(self) -> int:
        """How many there are."""
        return COUNTS[self.kind]

    def at(self, moment: float) -> int:
        """The stratum of a moment in epoch seconds; Monday 0 o'clock is the first one."""
        if self.kind == "none":
            return 0
        local = self._local(moment)
        return int(narrowed(local.hour + 24 * local.weekday(), ALL, self.count))

    def until(self, moment: float) -> float:
        """When the stratum of a moment ends: at the next full hour of the local clock; inf where there is only one."""
        if self.kind == "none":
            return math.inf
        local = self._local(moment)
        return math.floor(moment) + HOUR - 60.0 * local.minute - local.second

    def of(self, times: Floats) -> Ints:
        """The stratum of each time (n,); times that are not finite are told as 1970."""
        quarters, back = _quarters(times)
        found: Ints = np.array([self.at(q) for q in quarters], np.int64)[back]
        return found

    def ends(self, times: Floats) -> Floats:
        """When the stratum of each time (n,) ends."""
        quarters, back = _quarters(times)
        found: Floats = np.array([self.until(q) for q in quarters], np.float64)[back]
        return found

    def _local(self, moment: float) -> datetime:
        return datetime.fromtimestamp(math.floor(min(max(moment, 0.0), LATEST)), self.zone)


def _quarters(times: Floats) -> tuple[list[float], Ints]:
    """The quarters of an hour in which the times lie, and which one each lies in."""
    sane = np.clip(np.nan_to_num(times, posinf=0.0, neginf=0.0), 0.0, LATEST)
    quarters, back = np.unique(np.floor(sane / QUARTER), return_inverse=True)
    return (quarters * QUARTER).tolist(), back


def make(kind: object, timezone: object = "UTC") -> Strata:
    """Strata of a kind.

    Raises:
        ValueError: no kind of strata, or no timezone that is known here.
    """
    if kind not in COUNTS:
        raise ValueError(f"strata of kind {kind!r}, expected one of {', '.join(COUNTS)}")
    return Strata(cast(Kind, kind), str(timezone), zone_of(timezone))


def of_reference(data: Mapping[str, Any]) -> Strata:
    """From `Reference.strata`; errors as `make`."""
    return make(data.get("kind"), data.get("timezone", "UTC"))


def zone_of(name: object) -> tzinfo:
    """A timezone by its name.

    Raises:
        ValueError: it is not known here.
    """
    if name == "UTC":  # works where no timezone data are installed
        return UTC
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"a timezone such as UTC or Europe/Berlin, not {name!r}") from None


def narrowed(stratum: Any, count: int, to: int) -> Any:
    """A stratum among ``count`` as the one among ``to`` poorer (or as many) that it lies in; arrays too."""
    if to >= count:
        return stratum
    if to == COUNTS["weekend_hour"]:
        return stratum % 24 + 24 * (stratum >= 24 * 5)
    return stratum % to


def differ(counts: Floats | Ints) -> bool:
    """Whether shares (S, B) differ by stratum more than by chance: chi-square, p < .001, after Wilson and Hilferty."""
    table = counts[:, counts.sum(0) > 0]
    table = table[table.sum(1) > 0]
    freedom = (len(table) - 1) * (table.shape[1] - 1)
    if freedom < 1:
        return False
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    spread = 2 / (9 * freedom)
    limit: float = freedom * (1 - spread + _Z * math.sqrt(spread)) ** 3  # scipy is not resident
    return float(((table - expected) ** 2 / expected).sum()) > limit


def owed(own: Ints, every: Ints) -> Floats:
    """By how much the masses of strata (..., K) differ from those of all of them together (K,)."""
    found: Floats = own / np.maximum(own.sum(-1, keepdims=True), 1) - every / every.sum()
    return found


def kind_of(count: int) -> Kind:
    """The kind that has so many strata.

    Raises:
        ValueError: none has.
    """
    for kind, size in COUNTS.items():
        if size == count:
            return kind
    raise ValueError(f"{count} strata, expected one of {', '.join(map(str, COUNTS.values()))}")


def richest(kinds: Iterable[Kind]) -> Kind:
    """The richest of some kinds."""
    return max(kinds, key=COUNTS.__getitem__, default="none")


# -- the choice


@dataclass(frozen=True, slots=True)
class Trial:
    """How a record of some length is cut into a half to learn from and one to try on.

    Attributes:
        fit: rows to learn from, bool (n,).
        hours: hour of the week of each row (n,).
        candidates: kinds that so long a record can tell, from poor to rich.
        least: rows of each stratum that the learning half must have.
    """

    fit: NDArray[np.bool_]
    hours: Ints
    candidates: tuple[Kind, ...]
    least: int

    def kind(self, bins: Ints) -> Kind:
        """The strata that a stream needs; ``bins``: a coarse bin of each row (n,), such as its octile, -1 for none."""
        known = bins >= 0
        size = int(bins.max(initial=0)) + 1
        flat = ((self.fit.astype(np.int64) * ALL + self.hours) * size + bins)[known]
        held, fit = np.bincount(flat, minlength=2 * ALL * size).reshape(2, ALL, size)
        return chosen(fit, held, self.candidates, self.least)


def chosen(fit: Ints, held: Ints, candidates: Sequence[Kind] = WEEKLY, least: int = 0) -> Kind:
    """The strata that counts call for: the richest that wins by 10 nats over the best poorer one.

    Args:
        fit: counts to learn shares from, by hour of week and coarse bin (168, B).
        held: counts to try them on, likewise.
        candidates: kinds that the record is long enough for, from poor to rich.
        least: rows that each stratum must have in ``fit``.
    """
    best: Kind = "none"
    shares = np.tile((fit.sum(0) + 0.5) / (fit.sum() + fit.shape[1] / 2), (ALL, 1))
    score = float((held * np.log(shares)).sum())
    for kind in candidates:
        merged = narrowed(np.arange(ALL), ALL, COUNTS[kind])
        own = np.zeros((COUNTS[kind], fit.shape[1]), np.int64)
        np.add.at(own, merged, fit)
        if own.sum(1).min() < least:
            continue
        # Shares of an hour lean on those of the poorer strata, the more the fewer rows it has.
        drafts = [(own[merged] + p * shares) / (own.sum(1)[merged, None] + p) for p in _PRIORS]
        scores = [float((held * np.log(d)).sum()) for d in drafts]
        if max(scores) > score + NEEDED_NATS:
            best, score, shares = kind, max(scores), drafts[int(np.argmax(scores))]
    return best


def trial(times: Floats, zone: Strata) -> Trial | None:
    """For a reference: alternate weeks, or alternate days in less than four of them; None below four days."""
    span = float(np.ptp(times)) + HOUR if len(times) else 0.0
    hours = replace(zone, kind="hour_of_week").of(times)
    if span >= CYCLES * WEEK:
        monday = (times - 4 * DAY) // WEEK  # 1970 began on a Thursday
        return Trial(monday % 2 == 1, hours, WEEKLY, FIT_ROWS)
    if span >= CYCLES * DAY:
        return Trial(times // DAY % 2 == 1, hours, ("hour",), FIT_ROWS)
    return None


def untried(times: Floats, zone: Strata) -> Trial:
    """Where a kind is asked for: the hours alone, there is nothing to choose."""
    return Trial(np.ones(len(times), np.bool_), replace(zone, kind="hour_of_week").of(times), (), 0)
