"""The fixed alternatives of a group of streams, stacked: what each gains by a tick (docs/statistics.md, section 4).

A stream's log ratios (J, K) are a large matrix of simple structure, and reading it is what a tick costs. So:

- smooth tilts are combinations of the four Hermite scores: four sums of the tick's counts serve all of them;
- tails, octiles, single bins and levels take one value inside a set of bins and one outside: a sum for each set, which
  is a bin, or the difference of two cumulative counts (twice where a set has two runs of bins);
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
from pilotfish_agent.drift.layout import Floats, Ints, Real, Reals, regular_bins
from pilotfish_agent.drift.tables import StreamTables

LEAK: Final = 5e-4
"""Nats a row that a plug-in pays, so that one that abstains does not grow with time."""
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
        places: where the sum over the set is found: its only bin, or K + its position in ``runs``, (N,).
        lifts: what the set gains beside ``base``, (N,).
        full: alternatives that stay rows, (A,).
        rows: they, (A, K).
        runs: sets of more than one bin: start, end, start, end of their runs, (R, 4).
    """

    base: Floats
    rest: Floats
    smooth: Ints
    factors: Floats
    sets: Ints
    places: Ints
    lifts: Floats
    full: Ints
    rows: Floats
    runs: Ints


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
    places, runs = _places(members[sets])
    lifts = rows[sets, members[sets].argmax(1)] - base[sets]
    smooth_at = np.flatnonzero(smooth)
    return _Structure(
        base, rest, smooth_at, factors[smooth_at, 1:], sets, places, lifts, np.flatnonzero(full), rows[full], runs
    )


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
    few_runs = np.isin(_starts_and_ends(members)[0].sum(1), (1, 2))
    return base, members, two_values & one_value & special_alike & few_runs


def _starts_and_ends(members: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where runs of bins start, and where they have ended, (N, K + 1) each."""
    edge = np.zeros((len(members), 1), np.bool_)
    before, after = np.hstack((edge, members)), np.hstack((members, edge))
    return after & ~before, before & ~after


def _places(members: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """(place of each set (N,), runs of the distinct sets of more than one bin (R, 4))."""
    places = members.argmax(1)
    starts, ends = _starts_and_ends(members)
    known: dict[tuple[int, ...], int] = {}
    for i in np.flatnonzero(members.sum(1) > 1).tolist():
        first = np.flatnonzero(starts[i]).tolist()
        last = np.flatnonzero(ends[i]).tolist()
        second = (first[1], last[1]) if len(first) > 1 else (0, 0)
        key = (first[0], last[0], *second)
        places[i] = known.setdefault(key, members.shape[1] + len(known))
    return places, np.array(list(known), np.int64).reshape(-1, 4)


class Alternatives:
    """Stacked fixed alternatives of F streams.

    Args:
        tables: of the streams.
        dtype: of everything that is computed tick by tick.

    Attributes:
        size: alternatives a stream, padding included; the four plug-ins come after them.
        width: bins a stream, padding included.
        weights: prior weights (F, size + 4), 0 where padded.
        order: position in the stream's table of each alternative (F, size + 4), -1 where padded.
    """

    def __init__(self, tables: Sequence[StreamTables], dtype: type[Real]) -> None:
        parts = [_structure(table) for table in tables]
        streams = len(tables)
        self.width = max(len(t.pi) for t in tables)
        runs = max(len(p.runs) for p in parts)
        self._full = max(len(p.full) for p in parts)
        self._smooth = self._full + max(len(p.smooth) for p in parts)  # where they end
        self.size = self._smooth + max(len(p.sets) for p in parts)
        self.order = np.full((streams, self.size + len(PLUGINS)), -1, np.int16)
        self.weights: Reals = np.zeros(self.order.shape, dtype)
        self._paid = np.full((2, *self.order.shape), LEAK, dtype)  # penalty less base
        self._paid[..., : self.size] = 0.0
        self._rest = np.zeros((streams, self.size), dtype)
        # counts -> special bins, four scores, full rows
        self._sums = np.zeros((streams, self.width, 5 + self._full), dtype)
        self._runs = np.zeros((4, streams, runs), np.int64)
        self._factors = np.zeros((streams, 4, self._smooth - self._full), dtype)
        self._lift = np.zeros((streams, self.size - self._smooth), dtype)
        self._set = np.zeros(self._lift.shape, np.int64)
        for f, (table, part) in enumerate(zip(tables, parts, strict=True)):
            self._stack(f, table, part)
        self._set += np.arange(streams)[:, None] * (self.width + runs)
        self._runs += np.arange(streams)[:, None] * (self.width + 1)
        if (np.abs(self._factors - self._factors[0]) < EXACT).all():
            self._factors = self._factors[0]  # streams with the same tilts, as nearly all
        if not self._rest.any():
            self._rest = self._rest[:0].copy()
        self._per_count = 1 / np.array([[t.phi] for t in tables], dtype)
        self._counts = np.zeros((streams, self.width + runs), dtype)
        self._fixed = np.zeros(self.order.shape, dtype)

    def _stack(self, f: int, table: StreamTables, part: _Structure) -> None:
        bins, order = len(table.pi), self.order[f]
        order[: len(part.full)] = part.full
        self._sums[f, :bins, 5 : 5 + len(part.full)] = part.rows.T
        order[self._full : self._full + len(part.smooth)] = part.smooth
        self._factors[f, :, : len(part.smooth)] = part.factors.T
        order[self._smooth : self._smooth + len(part.sets)] = part.sets
        self._lift[f, : len(part.sets)] = part.lifts
        places = np.where(part.places < bins, part.places, part.places + self.width - bins)
        self._set[f, : len(part.sets)] = places
        self._runs[:, f, : len(part.runs)] = part.runs.T
        self._sums[f, list(table.special), 0] = 1.0
        self._sums[f, :bins, 1:5] = table.scores.T
        known = order[: self.size] >= 0
        js = order[: self.size][known]
        self._paid[:, f, : self.size][:, known] = table.penalties[:, js] - part.base[js]
        self._rest[f, known] = part.rest[js]
        order[self.size :] = np.arange(len(PLUGINS)) + len(table.names) - len(PLUGINS)
        self.weights[f, order >= 0] = np.exp(table.log_weights[order[order >= 0]])

    def gains(self, now: Reals, cumulated: Reals, rows: Reals, out: Reals) -> None:
        """Log likelihood less penalty of a tick; of the plug-ins what they pay at any rate.

        Args:
            now: counts (F, width).
            cumulated: 0 and their cumulative sums (F, width + 1).
            rows: effective rows (F,), counts over phi.
            out: (2, F, size + 4), written.
        """
        fixed, counts, special = self._fixed, self._counts, slice(0, 1)
        effective = counts[:, : self.width]
        np.multiply(now, self._per_count, out=effective)
        if self._runs.size:
            start, end, again, last = np.take(cumulated, self._runs)
            np.multiply(end - start + last - again, self._per_count, out=counts[:, self.width :])
        np.multiply(np.take(counts, self._set), self._lift, out=fixed[:, self._smooth : self.size])
        sums = np.matmul(effective[:, None], self._sums)[:, 0]
        fixed[:, : self._full] = sums[:, 5:]
        fixed[:, self._full : self._smooth] = self._tilts(sums[:, 1:5])
        if len(self._rest) and sums[:, special].any():
            fixed[:, : self.size] += sums[:, special] * self._rest
        np.multiply(self._paid, rows[:, None], out=out)
        np.subtract(fixed, out, out=out)

    def _tilts(self, scores: Reals) -> Reals:
        """Smooth tilts from the four scores (F, 4)."""
        if self._factors.ndim == 2:
            tilted: Reals = scores @ self._factors
            return tilted
        each: Reals = np.matmul(scores[:, None], self._factors)[:, 0]
        return each
