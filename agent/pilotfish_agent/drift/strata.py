"""Seasonality: rows are compared with reference rows of their own stratum, such as the same hour of day."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Kind = Literal["none", "hour", "weekend_hour", "hour_of_week"]
COUNTS: Final[Mapping[Kind, int]] = {"none": 1, "hour": 24, "weekend_hour": 48, "hour_of_week": 168}
"""Strata of each kind, from poor to rich."""


@dataclass(frozen=True, slots=True)
class Strata:
    """Which stratum a moment belongs to.

    Attributes:
        kind: hour of day, the same apart for weekends, hour of week, or one stratum for all.
        timezone: in which days and hours are told, a name such as ``Europe/Berlin``.
        zone: the same.
    """

    kind: Kind
    timezone: str
    zone: tzinfo

    @property
    def count(self) -> int:
        """How many there are."""
        return COUNTS[self.kind]

    def at(self, moment: float) -> int:
        """The stratum of a moment in epoch seconds; Monday 0 o'clock is the first one."""
        if self.kind == "none" or not math.isfinite(moment):
            return 0
        local = datetime.fromtimestamp(moment, self.zone)
        if self.kind == "hour":
            return local.hour
        day = local.weekday()
        return local.hour + 24 * (day if self.kind == "hour_of_week" else day >= 5)

    @staticmethod
    def of(data: Mapping[str, Any]) -> Strata:
        """From `Reference.strata`.

        Raises:
            ValueError: no kind of strata, or no timezone that is known here.
        """
        return make(data.get("kind"), data.get("timezone", "UTC"))


def make(kind: object, timezone: object = "UTC") -> Strata:
    """Strata of a kind.

    Raises:
        ValueError: no kind of strata, or no timezone that is known here.
    """
    if kind not in COUNTS:
        raise ValueError(f"strata of kind {kind!r}, expected one of {', '.join(COUNTS)}")
    return Strata(cast(Kind, kind), str(timezone), zone_of(timezone))


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
