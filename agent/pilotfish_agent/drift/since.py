"""When a change began, and the counts since then (docs/statistics.md, section 10).

Beside the evidence runs the CUSUM of the notice level: per alternative ``W <- max(W, 0) + l`` in nats, kept as exp(W).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from pilotfish_agent.drift.layout import Floats

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
        reset_at: tick at which W was last <= 0, (F, J).
        counts: since something is going on, (F, K).
        tick: from which they count, (F,).
    """

    def __init__(self, weights: Floats, width: int, largest: float) -> None:
        self._weights = weights
        self._largest = largest
        self.cusum: Floats = np.ones(weights.shape)
        self.reset_at = np.zeros(weights.shape, np.int64)
        self.counts: Floats = np.zeros((len(weights), width))
        self.tick = np.zeros(len(weights), np.int64)
        self._calm = np.empty(weights.shape, np.bool_)

    def step(self, now: Floats, gained: Floats, live: np.ndarray[tuple[int], np.dtype[np.bool_]], tick: int) -> None:
        """One tick: counts (F, K), likelihoods of the notice level (F, J), which streams have rows, its number."""
        np.less_equal(self.cusum, 1, out=self._calm)
        self._calm &= live[:, None]
        np.putmask(self.reset_at, self._calm, tick)
        if live.all():
            np.maximum(self.cusum, 1, out=self.cusum)
            self.cusum *= gained
        else:
            self.cusum[live] = np.maximum(self.cusum[live], 1) * gained[live]
        mixture = np.vecdot(self.cusum, self._weights)
        if mixture.max() > self._largest / 1e50:
            np.minimum(self.cusum, self._largest, out=self.cusum)
        self.counts += now
        quiet = mixture <= CALM
        self.counts[quiet] = 0
        self.tick[quiet] = tick + 1

    def reset(self, which: int | slice, tick: int) -> None:
        """Streams start anew at ``tick``."""
        self.cusum[which] = 1
        self.reset_at[which] = tick
        self.counts[which] = 0
        self.tick[which] = tick
