"""From a crossing to an alarm that stays until the data are back (docs/statistics.md, section 10). Pure.

A crossing latches a stream at a level: one entry, one count. While latched, no new entry appears; the severity may
rise and never falls; when the resolving rule holds the latch opens.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import numpy as np

from pilotfish_agent.drift.effect import Effect
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.layout import Floats, Ints
from pilotfish_agent.drift.resolve import Resolve
from pilotfish_agent.drift.tables import StreamTables
from pilotfish_core.nouns import Severity

NOTICE: Final = 0
ALARM: Final = 1

# A latched stream costs more than a calm one, so its rules are looked at in steps that move little: the decayed
# counts of the resolving rule by 5 % of their e-fold, the effect by 2 % of its rows.
RULE_STEP: Final = 1 / 20
EFFECT_STEP: Final = 1 / 50
LOOKS: Final = 16
"""Ticks from the crossing on within which a stream's hints are tested: by then there are enough raw values, or none."""
_ORDER: Final[tuple[Severity, ...]] = ("none", "info", "warning", "critical")


def worse(a: Severity, b: Severity) -> Severity:
    """The more severe of two."""
    return max(a, b, key=_ORDER.index)


@dataclass(slots=True)
class Latch:
    """One latched stream at one level.

    Attributes:
        feature: the stream, or `@model`.
        level: NOTICE or ALARM.
        entry: as it crossed.
        severity: now.
        crossed: `History.rows` at the crossing: unlike the entry's row it outlives a restart.
        rules: the resolving rule of the stream, or of each contributor of `@model`, by position of the stream.
        looks: ticks since the crossing, as long as hints are tested; after a restart that is over.
    """

    feature: str
    level: int
    entry: Entry
    severity: Severity
    crossed: int
    rules: dict[int, Rule]
    checked_rows: int = 0
    critical: bool = False
    looks: int = LOOKS

    def effect_is_due(self, rows: int) -> bool:
        """Whether so many rows since the change began are worth another look at the effect."""
        if rows < self.checked_rows * (1 + EFFECT_STEP):
            return False
        self.checked_rows = rows
        return True


@dataclass(slots=True)
class Rule:
    """The resolving rule of one stream, fed in steps of at least a twentieth of its e-fold.

    Attributes:
        after: all counts since the crossing: surely of what the stream has become, which the tick it changed in is not.
    """

    resolve: Resolve
    run: int
    held: Floats
    after: Floats
    holds: bool = False
    rows: float = 0.0

    def add(self, counts: Ints, rows: float) -> bool:
        """One tick of counts of so many rows; whether the stream is back."""
        self.held += counts
        self.after += counts
        self.rows += rows
        if self.rows >= self.resolve.rows * RULE_STEP:
            self.holds = bool(self.resolve.add(self.held))
            self.held[:] = 0
            self.rows = 0.0
        return self.holds


def rule(table: StreamTables, run: int, level: int) -> Rule:
    """A fresh rule of a stream that crossed ``level`` after ``run`` rows of change."""
    return Rule(Resolve(table, run, level), run, np.zeros(len(table.pi)), np.zeros(len(table.pi)))


class History:
    """When ticks opened and how many rows came before them: bounded, older ticks more coarsely.

    Args:
        most: ticks remembered; beyond it every second one of the older half is forgotten.
    """

    def __init__(self, most: int = 8192) -> None:
        self._most = most
        self._ticks: list[int] = []
        self._opened: list[float] = []
        self._before: list[int] = []
        self.ticks = 0
        self.rows = 0

    def add(self, opened: float, rows: int) -> None:
        """The next tick: when it opened, how many rows it holds."""
        self._ticks.append(self.ticks)
        self._opened.append(opened)
        self._before.append(self.rows)
        self.ticks += 1
        self.rows += rows
        if len(self._ticks) > self._most:
            half = self._most // 2
            self._ticks[:half] = self._ticks[:half:2]
            self._opened[:half] = self._opened[:half:2]
            self._before[:half] = self._before[:half:2]

    def at(self, tick: int) -> tuple[float, int]:
        """(epoch seconds when tick number ``tick`` opened, rows since then, itself included)."""
        place = max(bisect_right(self._ticks, tick) - 1, 0)
        return self._opened[place], self.rows - self._before[place]

    def around(self, tick: int, ticks: int) -> tuple[float, float]:
        """When the tick ``ticks`` before number ``tick`` opened, and when the last of as many behind it was over.

        Epoch seconds; inf where that is still to come.
        """
        first = max(bisect_right(self._ticks, tick - ticks) - 1, 0)
        last = bisect_right(self._ticks, tick + ticks)
        return self._opened[first], self._opened[last] if last < len(self._opened) else math.inf

    def dump(self) -> list[list[float]]:
        """For a checkpoint: the newest 512 ticks, which is where changes begin."""
        newest = slice(-512, None)
        return [list(self._ticks[newest]), list(self._opened[newest]), list(self._before[newest])]

    def load(self, dumped: list[list[float]], ticks: int, rows: int) -> None:
        """Back from a checkpoint."""
        self._ticks = [int(x) for x in dumped[0]]
        self._opened = [float(x) for x in dumped[1]]
        self._before = [int(x) for x in dumped[2]]
        self.ticks, self.rows = ticks, rows


def result_effect(found: Effect | None) -> tuple[float | None, float | None, float | None]:
    """An effect's three numbers, or three times None."""
    return (None, None, None) if found is None else (found.value, found.lower, found.upper)
