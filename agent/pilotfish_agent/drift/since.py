"""When a change began, and the counts since then (docs/statistics.md, section 10).

Beside the evidence runs the CUSUM of the notice level: per alternative ``W <- max(W, 0) + l`` in nats, kept as exp(W).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.layout import Ints, Reals

HALF: Final = 1 << 15
FEWEST: Final = 1e6
"""No alternative weighs less than one part in so many: while a mixture is below ``largest / FEWEST`` none saturates."""
CALM: Final = math.exp(1.5)
"""Mixture of the CUSUM up to which nothing is going on."""


class Since:
    """Tracking of a group of F streams of J alternatives and K bins.

    Args:
        weights: prior weights (F, J).
        width: K.
        largest: value at which the CUSUM saturates.

    Attributes:
        cusum: exp(W), (F, J).
        reset_at: tick at which W was last <= 0, counted from ``base``, (F, J); older ones count as 0.
        base: moves on before 16 bits are full.
        counts: since something is going on, (F, K).
        tick: from which they count, (F,).
    """

    def __init__(self, weights: Reals, width: int, largest: float) -> None:
        self._weights = weights
        self._largest = largest
        self.cusum: Reals = np.ones_like(weights)
        self.reset_at = np.zeros(weights.shape, np.uint16)
        self.base = 0
        self.counts: Reals = np.zeros((len(weights), width), weights.dtype)
        self.tick = np.zeros(len(weights), np.int32)

    def step(self, now: Reals, gained: Reals, live: Reals, tick: int) -> None:
        """One tick.

        Args:
            now: counts (F, K).
            gained: likelihoods of the notice level (F, J).
            live: 1 for streams with rows, else 0, (F, 1).
            tick: its number.
        """
        np.putmask(self.reset_at, self.cusum <= live, self._at(tick))  # evidence is never 0
        np.maximum(self.cusum, live, out=self.cusum)
        self.cusum *= gained
        mixture = np.vecdot(self.cusum, self._weights)
        if mixture.max() > self._largest / FEWEST:
            np.minimum(self.cusum, self._largest, out=self.cusum)
        self.counts += now
        quiet = mixture <= CALM
        self.counts[quiet] = 0
        self.tick[quiet] = tick + 1

    def began(self, f: int, j: int) -> int:
        """Tick at which W of an alternative was last <= 0."""
        return self.base + int(self.reset_at[f, j])

    def reset(self, which: int | slice, tick: int) -> None:
        """Streams start anew at ``tick``."""
        self.cusum[which] = 1
        self.reset_at[which] = self._at(tick)
        self.counts[which] = 0
        self.tick[which] = tick

    def dump(self, f: int, columns: Ints, size: int) -> dict[str, NDArray[Any]]:
        """The state of one stream: of these alternatives, of its first ``size`` bins."""
        return {
            "cusum": self.cusum[f, columns],
            "reset_at": self.base + self.reset_at[f, columns].astype(np.int64),
            "since": self.counts[f, :size].copy(),
            "since_tick": self.tick[f : f + 1].copy(),
        }

    def load(self, f: int, columns: Ints, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Back from `dump`, once `reset` has been told the tick."""
        self.cusum[f, columns] = arrays["cusum"]
        self.reset_at[f, columns] = np.maximum(arrays["reset_at"] - self.base, 0)
        self.counts[f, : len(arrays["since"])] = arrays["since"]
        self.tick[f] = arrays["since_tick"][0]

    def _at(self, tick: int) -> int:
        """A tick counted from ``base``, which moves on where it has to."""
        if tick - self.base > 2 * HALF - 1:
            moved = tick - HALF - self.base
            self.base += moved
            self.reset_at -= np.minimum(self.reset_at, min(moved, 2 * HALF - 1)).astype(np.uint16)
        return tick - self.base
