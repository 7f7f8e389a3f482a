"""Alternatives of streams that are compared with a table of their own in each stratum (docs/statistics.md, section 8).

A stratum has its own masses and penalties, the evidence is one: ``l_j = sum_s c_s . log L_j^s - n_s lam_j^s``. A tick
lies in one stratum, so its table alone is asked. Plug-ins, which learn one set of masses, are left out; their weight
goes to the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.alternatives import Alternatives
from pilotfish_agent.drift.dictionary import PLUGINS
from pilotfish_agent.drift.layout import Real, Reals
from pilotfish_agent.drift.tables import StreamTables


class Stratified:
    """As `Alternatives`, over F streams of which each has a table a stratum; equal strata are one.

    Args:
        tables: of each stream, one a stratum: the same bins and alternatives in all.
        dtype: of everything that is computed tick by tick.

    Attributes:
        size, width, weights, order: as of `Alternatives`; the order is the tables' own.
        stratum: which one the next tick lies in.
    """

    def __init__(self, tables: Sequence[Sequence[StreamTables]], dtype: type[Real]) -> None:
        known: dict[tuple[int, ...], int] = {}
        self._parts: list[Alternatives] = []
        self._columns: list[NDArray[np.int16]] = []
        self._which: list[int] = []
        self.size = max(len(own[0].names) for own in tables) - len(PLUGINS)
        for stratum in zip(*tables, strict=True):
            key = tuple(map(id, stratum))
            if key not in known:
                known[key] = len(self._parts)
                self._parts.append(Alternatives(stratum, dtype))
                self._columns.append(_columns(self._parts[-1], self.size))
            self._which.append(known[key])
        self.width = self._parts[0].width
        self.order = np.full((len(tables), self.size + len(PLUGINS)), -1, np.int16)
        self.weights: Reals = np.zeros(self.order.shape, dtype)
        for f, (first, *_) in enumerate(tables):
            fixed = np.exp(first.log_weights[: -len(PLUGINS)])
            self.order[f, : len(fixed)] = np.arange(len(fixed))
            self.weights[f, : len(fixed)] = fixed / fixed.sum()
        columns = max(part.weights.shape[1] for part in self._parts)
        self._gains: Reals = np.zeros((2, len(tables), columns), dtype)
        self.stratum = 0

    def gains(self, now: Reals, cumulated: Reals, rows: Reals, out: Reals) -> None:
        """As `Alternatives.gains`, by the tables of the tick's stratum."""
        which = self._which[self.stratum]
        found = self._gains[..., : self._parts[which].weights.shape[1]]
        self._parts[which].gains(now, cumulated, rows, found)
        out[..., : self.size] = np.take_along_axis(found, self._columns[which][None], axis=2)
        out[..., self.size :] = 0


def _columns(part: Alternatives, size: int) -> NDArray[np.int16]:
    """Where each alternative of the tables stands in a part, (F, size); its first column where there is none."""
    found = np.zeros((len(part.order), size), np.int16)
    for f, order in enumerate(part.order[:, : part.size]):
        places = np.flatnonzero(order >= 0)
        found[f, order[places]] = places
    return found
