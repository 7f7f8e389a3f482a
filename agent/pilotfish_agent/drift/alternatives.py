"""The fixed alternatives of a group of streams, stacked: what each gains by a tick (docs/statistics.md, section 4).

A stream's log ratios (J, K) are a large matrix of simple structure, and reading it is what a tick costs. So:

- smooth tilts are combinations of the four Hermite scores: four sums of the tick's counts serve all of them;
- tails, octiles, single bins and levels take one value inside a set of bins and one outside: a sum for each set;
- what is neither (tilts that were clipped) stays a row of a matrix.

Streams of a group are padded to the widest one and to the most alternatives, with weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.dictionary import PLUGINS
from pilotfish_agent.drift.layout import Floats, Ints, regular_bins
from pilotfish_agent.drift.tables import StreamTables

EXACT: Final = 1e-13
"""A tilt is smooth when the Hermite scores give it within this, nats."""


@dataclass(frozen=True, slots=True)
class _Structure:
    """One stream's log ratios (J, K), sorted by how they are worked out.

    Attributes:
        base: log ratio of the regular bins outside a set, or the constant of a smooth tilt, (J,).
        rest: what special bins that are not in the set gain beside ``base``, (J,).
        smooth: alternatives that the scores give, (S,).
        factors: of the four scores, (S, 4).
        sets: alternatives that are a set, (N,).
        places: where the sum over the set is found: its only bin, or K + its position in ``masks``, (N,).
        lifts: what the set gains beside ``base``, (N,).
        full: alternatives that stay rows.
        masks: sets of more than one bin, (K,) each.
    """

    base: Floats
    rest: Floats
    smooth: Ints
    factors: Floats
    sets: Ints
    places: Ints
    lifts: Floats
    full: Ints
    masks: list[NDArray[np.bool_]]


def _structure(table: StreamTables) -> _Structure:
    rows, regular = table.log_ratios, regular_bins(len(table.pi), table.special)
    inner, outer = rows[:, regular], rows[:, ~regular]
    base, members, alike = _sets(rows, regular)
    rest = np.where(members[:, regular].any(1) & (outer.shape[1] > 0), outer[:, :1].sum(1) - base, 0.0)
    columns = np.concatenate((np.ones((1, inner.shape[1])), table.scores[:, regular])).T
    factors: Floats = np.linalg.lstsq(columns, inner.T, rcond=None)[0].T.astype(np.float64)
    smooth = ~alike & (np.abs(factors @ columns.T - inner).max(1) < EXACT) & ~outer.any(1)
    base[smooth], rest[smooth] = factors[smooth, 0], -factors[smooth, 0]
    full = ~alike & ~smooth
    base[full] = rest[full] = 0.0
    sets = np.flatnonzero(alike)
    places, masks = _places(members[sets])
    lifts = rows[sets, members[sets].argmax(1)] - base[sets]
    smooth_at = np.flatnonzero(smooth)
    return _Structure(base, rest, smooth_at, factors[smooth_at, 1:], sets, places, lifts, np.flatnonzero(full), masks)


def _sets(rows: Floats, regular: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """(value outside the set (J,), its members (J, K), whether the alternative is a set (J,)).

    Some regular bins against the others, where special bins must be alike; or some special bins against all.
    """
    inner, outer = rows[:, regular], rows[:, ~regular]
    low, high = inner.min(1), inner.max(1)
    two_values = ((inner == low[:, None]) | (inner == high[:, None])).all(1)
    base = np.where((inner == high[:, None]).mean(1) > 0.5, high, low)
    members = rows != base[:, None]
    of_regular = members[:, regular].any(1)
    members[:, ~regular] &= ~of_regular[:, None]
    value = rows[np.arange(len(rows)), members.argmax(1)]
    one_value = ((rows == value[:, None]) | ~members).all(1)
    special_alike = ~of_regular | (outer == outer[:, :1]).all(1)
    return base, members, two_values & one_value & special_alike & members.any(1)


def _places(members: NDArray[np.bool_]) -> tuple[Ints, list[NDArray[np.bool_]]]:
    """(place of each set (N,), the distinct sets of more than one bin)."""
    places = members.argmax(1)
    known: dict[bytes, int] = {}
    masks: list[NDArray[np.bool_]] = []
    for i in np.flatnonzero(members.sum(1) > 1).tolist():
        key = members[i].tobytes()
        if key not in known:
            known[key] = members.shape[1] + len(masks)
            masks.append(members[i])
        places[i] = known[key]
    return places, masks


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
        order[self._full : self._full + len(part.smooth)] = part.smooth
        self._factors[f, :, : len(part.smooth)] = part.factors.T
        order[self._smooth : self._smooth + len(part.sets)] = part.sets
        self._lift[f, : len(part.sets)] = part.lifts
        places = np.where(part.places < bins, part.places, part.places + self.width - bins)
        self._set[f, : len(part.sets)] = places
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
