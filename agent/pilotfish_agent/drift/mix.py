"""Whose rows they are: the share of each slice over time, to tell a change of traffic from one of the data. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Final

import numpy as np

from pilotfish_agent.drift.explain import shown, step
from pilotfish_agent.drift.layout import Ints
from pilotfish_agent.drift.redact import redacted
from pilotfish_core.nouns import Column

MOST: Final = 64
"""Values of all slices together that are counted; the rest are not told apart."""
TICKS: Final = 512
"""Ticks remembered; beyond it every second one of the older half is forgotten."""
FEWEST: Final = 200
"""Rows on either side below which a share says nothing."""
SHIFT, SIGMAS = 0.05, 5.0
"""A share moved when it did by so much and by so many standard errors."""
Value = tuple[str, str]


class Mix:
    """Rows by slice value, cumulated tick by tick."""

    def __init__(self) -> None:
        self._now: Counter[Value] = Counter()
        self._places: dict[Value, int] = {}
        self._sum: Ints = np.zeros(MOST, np.int64)
        self._opened: list[float] = []
        self._before: list[Ints] = []

    def add(self, slices: Mapping[str, Column]) -> None:
        """Rows of the open tick."""
        for name, column in slices.items():
            counted: Counter[object] = Counter(column)
            for value, n in counted.items():
                if isinstance(value, str) and self._admitted((name, value)):
                    self._now[name, value] += n

    def _admitted(self, key: Value) -> bool:
        if key in self._places:
            return True
        if len(self._places) >= MOST or any(map(redacted, key)):
            return False
        self._places[key] = len(self._places)
        return True

    def close(self, opened: float) -> None:
        """The open tick is over; it opened at ``opened``."""
        if not self._places:
            return
        self._opened.append(opened)
        self._before.append(self._sum.copy())
        for key, n in self._now.items():
            self._sum[self._places[key]] += n
        self._now.clear()
        if len(self._opened) > TICKS:
            half = TICKS // 2
            self._opened[:half], self._before[:half] = self._opened[:half:2], self._before[:half:2]

    def moved(self, began: float) -> str:
        """The slice value whose share moved most since ``began``, in words; empty where none did."""
        k = bisect_left(self._opened, began)
        if k >= len(self._opened):
            return ""
        before, since = self._before[k], self._sum - self._before[k]
        found: list[tuple[float, bool, str]] = []
        for (name, value), place in self._places.items():
            mine = [p for (other, _), p in self._places.items() if other == name]
            m, n = float(before[mine].sum()), float(since[mine].sum())
            if min(m, n) < FEWEST:
                continue
            p, q = before[place] / m, since[place] / n
            pooled = (before[place] + since[place]) / (m + n)
            error = (pooled * (1 - pooled) * (1 / m + 1 / n)) ** 0.5
            if abs(q - p) >= max(SHIFT, SIGMAS * error):
                found.append((round(abs(q - p), 9), q > p, f"{shown(name)} '{shown(value)}' {step(p, q)}"))
        return max(found)[2] if found else ""
