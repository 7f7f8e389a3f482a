"""Evidence over time, for `replay`'s summary and picture: every tick counts, memory does not grow with the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from pilotfish_agent.drift.judge import WHOLE, Judge
from pilotfish_agent.drift.latch import ALARM, NOTICE
from pilotfish_agent.drift.layout import Floats, Ints
from pilotfish_agent.drift.reference import FeatureReference
from pilotfish_agent.drift.streams import MODEL

MOST: Final = 320
"""Points kept at least, once there are so many ticks; at most twice as many: a picture is hardly wider in pixels."""
LEVELS: Final = (NOTICE, ALARM)


class Trace:
    """The evidence of each stream over its line, the largest of each run of ticks.

    Runs double in length when there are too many of them, so the largest is never lost.

    Args:
        streams: the tested ones; parts of a composite stream are told under its name.

    Attributes:
        names: of the streams as they are told, then `@model` where there are several.
        times: ends of the runs, epoch seconds.
        rows: rows of the model up to there.
    """

    def __init__(self, streams: Sequence[FeatureReference]) -> None:
        told = [stream.told_as for stream in streams]
        self.names = (*dict.fromkeys(told), *((MODEL,) if len(streams) > 1 else ()))
        index = {name: i for i, name in enumerate(self.names)}
        self._place: Ints = np.array([index[name] for name in told], np.int64)
        self._ratios: Floats = np.zeros((len(LEVELS), 2 * MOST, len(self.names)))
        self._ends: Floats = np.zeros((2 * MOST, 2))
        self._used = 0
        self._ticks = 1  # of a run
        self._room = 0  # ticks that the last run still takes

    def add(self, at: float, row: int, judge: Judge) -> None:
        """The tick that closed at ``at`` with ``row`` rows so far."""
        if not self._room:
            if self._used == 2 * MOST:
                self._halve()
            self._used += 1
            self._room = self._ticks
            self._ratios[:, self._used - 1] = 0
        self._room -= 1
        last = self._used - 1
        self._ends[last] = at, row
        for level in LEVELS:
            np.maximum.at(self._ratios[level, last], self._place, judge.scores[level] / judge.threshold)
            if self.names[-1] == MODEL:
                self._ratios[level, last, -1] = max(
                    self._ratios[level, last, -1], judge.evidence(WHOLE, level) / judge.model_threshold
                )

    def _halve(self) -> None:
        self._ratios[:, :MOST] = np.maximum(self._ratios[:, 0::2], self._ratios[:, 1::2])
        self._ends[:MOST] = self._ends[1::2]
        self._used, self._ticks = MOST, self._ticks * 2

    @property
    def times(self) -> Floats:
        """Ends of the runs (n,), epoch seconds."""
        return self._ends[: self._used, 0]

    @property
    def rows(self) -> Floats:
        """Rows of the model up to the end of each run (n,)."""
        return self._ends[: self._used, 1]

    def course(self, name: str, level: int = ALARM) -> Floats:
        """Evidence over the line of a stream (n,): 1 and above is over it, none is 0."""
        return self._ratios[level, : self._used, self.names.index(name)]

    def largest(self, name: str, level: int = ALARM) -> float:
        """The largest evidence of a stream over its line."""
        return float(self.course(name, level).max(initial=0.0))
