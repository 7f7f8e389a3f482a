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
from pilotfish_agent.drift.layout import EPS, Floats, Real, Reals, fold
from pilotfish_agent.drift.tables import StreamTables

FEWEST_ROWS: Final = 50
LARGEST_SHARE: Final = 0.95
GATE_MARGIN: Final = 1.05
NOTHING: Final = 1e-30  # rows of a past that has none


class Plugins:
    """Plug-ins of one resolution over a group of F streams.

    Args:
        tables: of the streams.
        resolution: coarse (groups of bins) or fine (bins).
        dtype: of the state and of what is computed from it.

    Attributes:
        index: which of the four plug-ins these are.
        counts: decayed past counts (H, F, bins), one for each e-fold.
    """

    def __init__(self, tables: Sequence[StreamTables], resolution: str, dtype: type[Real]) -> None:
        coarse = resolution == "coarse"
        masses = [fold(t.coarse_map, t.pi) if coarse else t.pi for t in tables]
        width = int(max(t.coarse_map.max() for t in tables)) + 1 if coarse else max(len(m) for m in masses)
        self.index = np.array([i for i, (r, _) in enumerate(PLUGINS) if r == resolution])
        self._decay = np.array([[-1 / PLUGINS[i][1]] for i in self.index], dtype)
        self._degrees = np.array([len(m) - 1 for m in masses], dtype)
        self._kappa = np.array([t.kappa_coarse if coarse else t.kappa_fine for t in tables], dtype)
        self._levels = (GATE_MARGIN * np.array([t.deltas for t in tables]).T[:, None]).astype(dtype)
        self._masses = _padded(masses, width, dtype)
        self._floored = _padded([np.maximum(m, EPS) for m in masses], width, dtype)
        self._inverse = _padded([1 / m for m in masses], width, dtype)
        self.counts: Reals = np.zeros((len(self.index), len(tables), width), dtype)
        self._moves = np.empty_like(self.counts)

    def gains(self, now: Reals, phi: Reals, rows: Reals, out: Reals) -> None:
        """Adds the log likelihood of a tick to ``out`` (2, F, 4): counts ``now`` (F, bins), effective rows (F,).

        How the masses have moved is worked out as such: as a difference of squares it would be lost in float32.
        """
        total = self.counts.sum(2) + NOTHING
        moves = np.multiply(self.counts, self._inverse, out=self._moves)
        moves *= (1 / total)[..., None]
        moves -= 1
        squares = moves * moves
        distance = np.vecdot(squares, self._masses)
        with np.errstate(all="ignore"):
            effective = total / phi
            chance = self._degrees / effective + self._kappa * np.sqrt(distance)
            if not (distance > chance).any():  # nothing is left to bet on, whatever the minimum effect
                return
            gate = self._levels * np.sqrt(np.vecdot(squares, self._floored))
            share = np.minimum(1 - (chance + gate) / distance, LARGEST_SHARE)
            share = np.where((share > 0) & (effective >= FEWEST_ROWS), share, 0)
            owed = self._kappa * np.sqrt(distance) + gate
        betting = np.flatnonzero(share.any(axis=(0, 1)))
        if len(betting) == len(rows):
            self._bet(slice(None), share, owed, now, phi, rows, out)
        elif len(betting):
            self._bet(betting, share, owed, now, phi, rows, out)

    def _bet(
        self,
        which: slice | NDArray[np.int64],
        share: Reals,
        owed: Reals,
        now: Reals,
        phi: Reals,
        rows: Reals,
        out: Reals,
    ) -> None:
        """The log likelihoods of some streams, all of their e-folds and levels at once."""
        moves = self._moves[:, which]
        for v in range(len(share)):
            bet = share[v][:, which]
            logs = moves * bet[..., None]
            logs += 1
            np.log(logs, out=logs)  # numpy has no vector code for log1p, which takes twice as long
            gained = np.vecdot(logs, now[which]) / phi[which]
            gained -= rows[which] * np.log1p(bet * owed[v][:, which])
            out[v, which, self.index[0] : self.index[-1] + 1] += gained.T

    def remember(self, now: Reals, raw_rows: Reals) -> None:
        """Takes a tick's counts into the decayed past."""
        self.counts *= np.exp(self._decay * raw_rows)[..., None]
        self.counts += now


def _padded(rows: Sequence[Floats], width: int, dtype: type[Real]) -> Reals:
    out = np.zeros((len(rows), width), dtype)
    for f, row in enumerate(rows):
        out[f, : len(row)] = row
    return out
