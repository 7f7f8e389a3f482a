"""When a latched stream is back: decayed effects against the minimum effect (docs/statistics.md, section 10)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pilotfish_agent.drift.layout import Floats, unit_directions
from pilotfish_agent.drift.tables import StreamTables

SHORTEST: Final = 2_000.0
LONGEST: Final = 20_000.0
SIGMAS: Final = 2.6


class Resolve:
    """The rule of one latched stream.

    Args:
        table: the stream's.
        run: rows from when the change began to the crossing.
        level: 0 notice, 1 alarm.
    """

    def __init__(self, table: StreamTables, run: float, level: int) -> None:
        self._reference = np.asarray(table.counts, np.float64)
        self._m = float(self._reference.sum())
        self._phi = table.phi
        self._level = level
        self.rows = float(np.clip(3 * run, SHORTEST, LONGEST))
        self.limit = max(table.min_effect, 4 * (table.phi / self._m) ** 0.5)
        bins = len(self._reference)
        regular = bins - len(table.special)
        eye = np.eye(bins)
        if table.kind == "categorical":
            directions = eye
        else:
            directions = np.concatenate((table.scores[: min(4, regular - 1)], eye[list(table.special)]))
        self._units = unit_directions(directions, table.pi)
        self._counts: Floats = np.zeros(bins)
        self._squares = 0.0
        self.effects: Floats = np.zeros(len(self._units))
        self.effective = 0.0

    def add(self, counts: Floats) -> bool:
        """One tick of counts (K,); True when the alarm ends."""
        n = float(counts.sum())
        keep = np.exp(-n / self.rows)
        self._counts = self._counts * keep + counts
        self._squares = self._squares * keep * keep + n
        weight = float(self._counts.sum())
        if weight <= 0:
            return False
        self.effective = weight * weight / self._squares
        q = self._counts / weight
        self.effects = np.abs((q - self._reference / self._m) @ self._units.T)
        spread = np.maximum(q @ (self._units**2).T - (q @ self._units.T) ** 2, 1e-9) * self._phi
        if self._level:
            return bool((self.effects + SIGMAS * np.sqrt(spread / self.effective)).max() < self.limit)
        sure = self.effects / np.sqrt(spread * (1 / self.effective + 1 / self._m))
        return bool(sure.max() < SIGMAS and self.effective >= self.rows)

    def state(self) -> dict[str, Any]:
        """For a checkpoint: the decayed counts and the sum of their squared weights."""
        return {"counts": self._counts.copy(), "squares": self._squares}

    def restore(self, state: dict[str, Any]) -> None:
        """Back from `state` of a rule over the same table.

        Raises:
            ValueError: these are another stream's counts.
        """
        counts = np.array(state["counts"], np.float64)
        if counts.shape != self._counts.shape:
            raise ValueError(f"counts of {counts.shape} bins, expected {self._counts.shape}")
        self._counts = counts
        self._squares = float(state["squares"])
