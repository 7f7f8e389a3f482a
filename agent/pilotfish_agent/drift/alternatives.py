"""The fixed alternatives of a group of streams, stacked: what each gains by a tick (docs/statistics.md, section 4).

A stream's log ratios (J, K) are a large matrix of simple structure, and reading it is what a tick costs. So:

- smooth tilts are combinations of the four Hermite scores: four sums of the tick's counts serve all of them;
- tails, octiles, single bins and levels take one value inside a set of bins and one outside: a sum for each set;
- what is neither (tilts that were clipped) stays a row of a matrix.

Streams of a group are padded to the widest one and to the most alternatives, with weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.dictionary import PLUGINS
from pilotfish_agent.drift.layout import Floats, Ints, regular_bins
from pilotfish_agent.drift.tables import StreamTables

EXACT: Final = 1e-13
"""A tilt is smooth when the Hermite scores give it within this, nats."""


@dataclass(slots=True)
class _Structure:
    """One stream's log ratios (J, K), sorted by how they are worked out.

    Attributes:
        base: log ratio of the regular bins outside a set, or the constant of a smooth tilt, (J,).
        rest: what special bins that are not in the set gain beside ``base``, (J,).
        smooth: alternatives, with their factors of the four scores, (4,) each.
        sets: alternatives, with their set (a bin, or K + its position in ``masks``) and what it gains beside ``base``.
        full: alternatives that stay rows.
        masks: sets of more than one bin, (K,) each.
    """

    base: Floats
    rest: Floats
    smooth: list[tuple[int, Floats]] = field(default_factory=list)
    sets: list[tuple[int, int, float]] = field(default_factory=list)
    full: list[int] = field(default_factory=list)
    masks: list[NDArray[np.bool_]] = field(default_factory=list)

    def place(self, members: NDArray[np.bool_]) -> int:
        """Where the sum over this set is found: its only bin, or K + its position among the masks."""
        if members.sum() == 1:
            return int(np.argmax(members))
        for i, known in enumerate(self.masks):
            if (known == members).all():
                return len(members) + i
        self.masks.append(members)
        return len(members) + len(self.masks) - 1


def _structure(table: StreamTables) -> _Structure:
    regular = regular_bins(len(table.pi), table.special)
    found = _Structure(np.zeros(len(table.log_ratios)), np.zeros(len(table.log_ratios)))
    columns = np.concatenate((np.ones((1, regular.sum())), table.scores[:, regular])).T
    factors = np.linalg.lstsq(columns, table.log_ratios[:, regular].T, rcond=None)[0].T
    smooth = np.abs(factors @ columns.T - table.log_ratios[:, regular]).max(1) < EXACT
    for j, row in enumerate(table.log_ratios):
        if not _as_set(found, j, row, regular):
            if smooth[j] and not row[~regular].any():
                found.base[j] = factors[j, 0]
                found.rest[j] = -factors[j, 0]
                found.smooth.append((j, factors[j, 1:]))
            else:
                found.full.append(j)
    return found


def _as_set(found: _Structure, j: int, row: Floats, regular: NDArray[np.bool_]) -> bool:
    """Takes alternative ``j`` as a set of bins against the others, where it is one."""
    values, numbers = np.unique(row[regular], return_counts=True)
    base = values[np.argmax(numbers)] if len(values) else 0.0
    members = row != base
    special, rest = row[~regular], 0.0
    if members[regular].any():  # some regular bins against the others: special bins must be alike
        members &= regular
        rest = special[0] - base if len(special) else 0.0
        if (special != base + rest).any() and (special != special[:1]).any():
            return False
    if not members.any() or (row[members] != row[members][0]).any():
        return False
    found.base[j], found.rest[j] = base, rest
    found.sets.append((j, found.place(members), row[members][0] - base))
    return True


class Alternatives:
    """Stacked fixed alternatives of F streams.

    Args:
        tables: of the streams.

    Attributes:
        size: alternatives a stream, padding included; the four plug-ins come after them.
        width: bins a stream, padding included.
        weights: prior weights (F, size + 4), 0 where padded.
        order: position in the stream's table of each alternative (F, size + 4), -1 where padded.
        most: the largest absolute log likelihood or penalty a row.
    """

    def __init__(self, tables: Sequence[StreamTables]) -> None:
        parts = [_structure(table) for table in tables]
        streams = len(tables)
        self.width = max(len(t.pi) for t in tables)
        self._masks = max(len(p.masks) for p in parts)
        self._full = max(len(p.full) for p in parts)
        self._smooth = self._full + max(len(p.smooth) for p in parts)  # where they end
        self.size = self._smooth + max(len(p.sets) for p in parts)
        self.order: Ints = np.full((streams, self.size + len(PLUGINS)), -1, np.int64)
        self.weights: Floats = np.zeros(self.order.shape)
        self._paid = np.zeros((2, streams, self.size))  # penalty less base
        self._rest = np.zeros((streams, self.size))
        self._rows = np.zeros((streams, self.width, self._full))
        self._sums = np.zeros((streams, self.width, self._masks + 5))  # counts -> masks, special bins, scores
        self._factors = np.zeros((streams, 4, self._smooth - self._full))
        self._lift = np.zeros((streams, self.size - self._smooth))
        self._set = np.zeros(self._lift.shape, np.int64)
        for f, (table, part) in enumerate(zip(tables, parts, strict=True)):
            self._stack(f, table, part)
        self._set += np.arange(streams)[:, None] * (self.width + self._masks)
        self._has_rest = bool(self._rest.any())
        self._counts = np.zeros((streams, self.width + self._masks))
        self._fixed = np.zeros(self._rest.shape)
        self.most = max(float(np.abs(x).max()) for t in tables for x in (t.log_ratios, t.penalties))

    def _stack(self, f: int, table: StreamTables, part: _Structure) -> None:
        bins, order = len(table.pi), self.order[f]
        order[: len(part.full)] = part.full
        self._rows[f, :bins, : len(part.full)] = table.log_ratios[part.full].T
        part.base[part.full] = part.rest[part.full] = 0.0
        for i, (j, factors) in enumerate(part.smooth):
            order[self._full + i] = j
            self._factors[f, :, i] = factors
        for i, (j, place, lift) in enumerate(part.sets):
            order[self._smooth + i] = j
            self._lift[f, i] = lift
            self._set[f, i] = place if place < bins else self.width + place - bins
        for i, members in enumerate(part.masks):
            self._sums[f, :bins, i] = members
        self._sums[f, list(table.special), self._masks] = 1.0
        self._sums[f, :bins, self._masks + 1 :] = table.scores.T
        known = order[: self.size] >= 0
        js = order[: self.size][known]
        self._paid[:, f, known] = table.penalties[:, js] - part.base[js]
        self._rest[f, known] = part.rest[js]
        order[self.size :] = np.arange(len(PLUGINS)) + len(table.log_ratios)
        self.weights[f, order >= 0] = np.exp(table.log_weights[order[order >= 0]])

    def gains(self, effective: Floats, rows: Floats, out: Floats) -> None:
        """Log likelihood less penalty of a tick.

        Args:
            effective: counts over phi (F, width).
            rows: effective rows (F,).
            out: (2, F, size), written.
        """
        fixed, counts = self._fixed, self._counts
        sums = np.matmul(effective[:, None], self._sums)[:, 0]
        counts[:, : self.width] = effective
        counts[:, self.width :] = sums[:, : self._masks]
        np.multiply(np.take(counts, self._set), self._lift, out=fixed[:, self._smooth :])
        scores = sums[:, None, self._masks + 1 :]
        fixed[:, self._full : self._smooth] = np.matmul(scores, self._factors)[:, 0]
        fixed[:, : self._full] = np.matmul(effective[:, None], self._rows)[:, 0]
        special = sums[:, self._masks, None]
        if self._has_rest and special.any():
            fixed += special * self._rest
        np.multiply(self._paid, rows[:, None], out=out)
        np.subtract(fixed, out, out=out)
