"""Plug-ins: alternatives of any shape, learnt from the rows so far (docs/statistics.md, section 3).

The past, decayed, says how the masses have moved; the move is shrunk by what it could owe to chance, to the finite
reference and to the minimum effect, and what remains is bet on for the next tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.dictionary import PLUGINS
from pilotfish_agent.drift.layout import EPS, Floats
from pilotfish_agent.drift.tables import StreamTables

FEWEST_ROWS: Final = 50
LARGEST_SHARE: Final = 0.95
GATE_MARGIN: Final = 1.05


class Plugins:
    """Plug-ins of one resolution over a group of F streams.

    Args:
        tables: of the streams.
        resolution: coarse (groups of bins) or fine (bins).

    Attributes:
        index: which of the four plug-ins these are.
        counts: decayed past counts (H, F, bins), one for each e-fold.
    """

    def __init__(self, tables: Sequence[StreamTables], resolution: str) -> None:
        coarse = resolution == "coarse"
        masses = [np.bincount(t.coarse_map, t.pi) if coarse else t.pi for t in tables]
        width = int(max(t.coarse_map.max() for t in tables)) + 1 if coarse else max(len(m) for m in masses)
        self.index = np.array([i for i, (r, _) in enumerate(PLUGINS) if r == resolution])
        self._decay = -1 / np.array([[PLUGINS[i][1]] for i in self.index])
        self._degrees = np.array([len(m) - 1.0 for m in masses])
        self._kappa = np.array([t.kappa_coarse if coarse else t.kappa_fine for t in tables])
        self._levels = GATE_MARGIN * np.array([t.deltas for t in tables]).T[:, None]
        floored = _padded([np.maximum(m, EPS) for m in masses], width)
        self._inverse = _padded([1 / m for m in masses], width)
        self._second = floored * self._inverse**2
        self._first = floored * self._inverse
        self._zeroth = floored.sum(1)
        self.counts: Floats = np.zeros((len(self.index), len(tables), width))
        self._squares = np.empty(self.counts.shape)

    def gains(self, now: Floats, phi: Floats, rows: Floats, out: Floats) -> None:
        """Adds the log likelihood of a tick to ``out`` (2, F, 4): counts ``now`` (F, bins), effective rows (F,).

        The distance of the past from the reference is ``sum(C^2 / pi) / N^2 - 1``, the gate's likewise, so the moves
        themselves are worked out only for streams that have something to bet on.
        """
        past = self.counts
        total = past.sum(2) + 1e-100
        np.multiply(past, past, out=self._squares)
        distance = np.vecdot(self._squares, self._inverse) / (total * total) - 1
        with np.errstate(all="ignore"):
            effective = total / phi
            chance = self._degrees / effective + self._kappa * np.sqrt(distance)
            if not (distance > chance).any():  # nothing is left to bet on, whatever the minimum effect
                return
            gate = np.vecdot(self._squares, self._second) / (total * total) + self._zeroth
            gate -= 2 * np.vecdot(past, self._first) / total
            gate = self._levels * np.sqrt(np.maximum(gate, 0))
            share = np.minimum(1 - (chance + gate) / distance, LARGEST_SHARE)
            share = np.where((share > 0) & (effective >= FEWEST_ROWS), share, 0.0)
            owed = self._kappa * np.sqrt(distance) + gate
        betting = np.flatnonzero(share.any(axis=(0, 1)))
        if len(betting) == len(rows):
            self._bet(slice(None), share, owed, now, total, phi, rows, out)
        elif len(betting):
            self._bet(betting, share, owed, now, total, phi, rows, out)

    def _bet(
        self,
        which: slice | NDArray[np.int64],
        share: Floats,
        owed: Floats,
        now: Floats,
        total: Floats,
        phi: Floats,
        rows: Floats,
        out: Floats,
    ) -> None:
        """The log likelihoods of some streams, all of their e-folds and levels at once."""
        ratios = self.counts[:, which] * self._inverse[which]
        ratios /= total[:, which, None]
        for v in range(len(share)):
            bet = share[v][:, which]
            logs = ratios * bet[..., None]
            logs += (1 - bet)[..., None]
            np.log(logs, out=logs)  # numpy has no vector code for log1p, which takes twice as long
            gained = np.vecdot(logs, now[which]) / phi[which]
            gained -= rows[which] * np.log1p(bet * owed[v][:, which])
            out[v, which, self.index[0] : self.index[-1] + 1] += gained.T

    def remember(self, now: Floats, raw_rows: Floats) -> None:
        """Takes a tick's counts into the decayed past."""
        self.counts *= np.exp(self._decay * raw_rows)[..., None]
        self.counts += now


def _padded(rows: Sequence[Floats], width: int) -> Floats:
    out = np.zeros((len(rows), width))
    for f, row in enumerate(rows):
        out[f, : len(row)] = row
    return out
