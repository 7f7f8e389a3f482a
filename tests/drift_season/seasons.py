"""Rows whose distribution follows the hour."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.reference import Reference
from pilotfish_core.nouns import Column, ObservationBatch

Floats = NDArray[np.float64]
MONDAY = 1_709_510_400.0  # 4 March 2024
DAY = 86_400.0


def times(days: float, rows: int, first_day: float = 0.0, seed: int = 0) -> Floats:
    """Sorted moments of so many days."""
    return np.sort(np.random.default_rng([seed, 1]).uniform(0, days * DAY, rows)) + MONDAY + first_day * DAY


def columns(at: Floats, seed: int = 0, shift: float = 0.0, rare: float = 0.0) -> dict[str, Column]:
    """A number and a level that follow the hour, a number of few values that does, a number that does not.

    Args:
        at: when each row is.
        seed: of the values.
        shift: of the first number, in sd.
        rare: share of rows whose level nobody has seen.
    """
    rng = np.random.default_rng([seed, 2])
    wave = np.sin(2 * np.pi * (at % DAY) / DAY)
    level = np.where(rng.random(len(at)) < 0.5 + 0.3 * wave, "day", "night")
    level[rng.random(len(at)) < rare] = "never seen"
    return {
        "wave": rng.standard_normal(len(at)) + 0.8 * wave + shift,
        "level": level.tolist(),
        "few": np.round(rng.gamma(6 + 3 * wave, 3.0)),
        "flat": rng.standard_normal(len(at)),
    }


def batch(of: Mapping[str, Column]) -> ObservationBatch:
    """All of them."""
    return ObservationBatch("m", None, "sdk", len(next(iter(of.values()))), dict(of))


def reference(
    of: Mapping[str, Column], at: Floats, season: str = "auto", timezone: str = "UTC", max_rows: int = 1 << 20
) -> Reference:
    """What the builder makes of these rows."""
    builder = ReferenceBuilder(season=season, timezone=timezone, max_rows=max_rows)
    builder.add(batch(of), at)
    return builder.reference(created=0.0, independent=True)


@cache
def daily(rows: int = 24_000) -> Reference:
    """The reference of ten days of `columns`."""
    at = times(10, rows)
    return reference(columns(at), at)
