"""The sequential detector: a Shiryaev-Roberts mixture of the dictionary and plug-ins (docs/statistics.md, section 4).

Per tick with counts c of n rows, for every alternative j: ``M_j <- (M_j + 1) * L_j(c) * exp(-n lam_j)``, capped;
the score is ``log sum_j w_j M_j`` (Shin, Ramdas, Rinaldo, "E-detectors", arXiv 2203.03532).
State is M rather than its logarithm, which saves a logarithm and an addition a cell. It saturates: in float32 at 1e30
(69 nats), far above any line, in float64 at 1e250.
Streams of a kind with up to twice as many alternatives are stacked, so that a tick is a few array operations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.alternatives import Alternatives
from pilotfish_agent.drift.layout import Floats, Ints, Real, Reals
from pilotfish_agent.drift.plugins import Plugins
from pilotfish_agent.drift.since import FEWEST, Since
from pilotfish_agent.drift.stratified import Stratified
from pilotfish_agent.drift.tables import StreamTables

LARGEST: Final[Mapping[type[Real], float]] = {np.float32: 1e30, np.float64: 1e250}
Arrays = dict[str, NDArray[Any]]
Strata = Sequence[StreamTables]
Counts = Sequence[Floats | Ints] | Floats | Ints


class _Group:
    """Evidence of streams that are stacked.

    Args:
        members: their positions among all streams.
        strata: their tables, one for each stratum where there is more than one.
        starts: where each one's bins start in the vector of all counts; its last entry is a count that is always 0.
        dtype: of the state.
    """

    def __init__(self, members: Sequence[int], strata: Sequence[Strata], starts: Ints, dtype: type[Real]) -> None:
        self.members = np.array(members)
        tables = [own[0] for own in strata]
        self.fixed = Alternatives(tables, dtype) if len(strata[0]) == 1 else Stratified(strata, dtype)
        self.coarse, self.fine = Plugins(tables, "coarse", dtype), Plugins(tables, "fine", dtype)
        width = self.fixed.width
        self._phi = np.array([t.phi for t in tables], dtype)
        self._take = np.full((len(tables), width), starts[-1])
        groups = np.arange(self.coarse.counts.shape[2])
        self._folds = [int(t.coarse_map.max()) + 1 for t in tables]
        self._ends = np.zeros((len(tables), len(groups) + 1), np.int64)  # of the groups of bins, special bins are last
        for i, table in enumerate(tables):
            size = len(table.pi)
            if (np.diff(table.coarse_map) < 0).any():
                raise ValueError(f"special bins {table.special} of {size}: they must be the last ones")
            self._take[i, :size] = starts[members[i]] + np.arange(size)
            self._ends[i, 1:] = np.searchsorted(table.coarse_map, groups, side="right") + i * (width + 1)
            self._ends[i, 0] = i * (width + 1)
        shape = self.fixed.weights.shape
        self._largest = LARGEST[dtype]
        self._most = math.log(self._largest)
        self.since = Since(self.fixed.weights, width, self._largest)
        self.evidence: Reals = np.zeros((2, *shape), dtype)
        self._sudden = np.full((2, len(tables)), -1, np.int16)  # winner of the tick that took evidence to its limit
        self._gained = np.empty((2, *shape), dtype)
        self._cumulated = np.zeros((len(tables), width + 1), dtype)

    def step(self, counts: Reals, levelled: Reals, tick: int, stratum: int) -> Reals:
        """Counts of all streams in one vector, and a 0 -> mixtures (2, F) of this group."""
        if isinstance(self.fixed, Stratified):
            self.fixed.stratum = stratum
        now = np.take(counts, self._take, mode="clip")  # the mode that checks nothing: all places are inside
        raw_rows = now.sum(1)
        live = (raw_rows > 0).astype(raw_rows.dtype)[:, None]
        with np.errstate(over="ignore"):  # beyond the largest evidence saturates, infinite or not
            gained = self._likelihoods(now, raw_rows)
            self.evidence += live
            self.evidence *= gained
            mixture = self._mixture()
            if mixture.max() > self._largest / FEWEST:
                np.minimum(self.evidence, self._largest, out=self.evidence)
                mixture = self._mixture()
            seen = now if levelled is counts else np.take(levelled, self._take, mode="clip")
            self.since.step(seen, gained[0], live, tick)
        return mixture

    def _mixture(self) -> Reals:
        mixed: Reals = np.vecdot(self.evidence, self.fixed.weights)
        return mixed

    def _likelihoods(self, now: Reals, raw_rows: Reals) -> Reals:
        """Factor by which each alternative moves, (2, F, J + 4); 1 where there are no rows."""
        gained, rows = self._gained, raw_rows / self._phi
        np.cumsum(now, axis=1, out=self._cumulated[:, 1:])
        self.fixed.gains(now, self._cumulated, rows, gained)
        if isinstance(self.fixed, Alternatives):
            folded = np.diff(np.take(self._cumulated, self._ends), axis=1)
            for plugins, part in ((self.coarse, folded), (self.fine, now)):
                plugins.gains(part, self._phi, rows, gained[..., self.fixed.size :])
                plugins.remember(part, raw_rows)
        if gained.max() > self._most / 2:
            self._remember_winners()
        np.maximum(gained, -self._most, out=gained)  # beyond it M + 1 is 1; smaller numbers are slow
        return np.exp(gained, out=gained)

    def _remember_winners(self) -> None:
        """Streams that this tick may take from nothing to the limit, where alternatives are no longer told apart."""
        level, f = np.nonzero(self._gained.max(2) > self._most / 2)
        evidence = self.evidence[level, f]
        with np.errstate(divide="ignore"):
            logs = np.log(evidence + 1) + self._gained[level, f] + np.log(self.fixed.weights[f])
        fresh = evidence.max(1) < self._largest
        self._sudden[level[fresh], f[fresh]] = logs[fresh].argmax(1)

    def winner(self, level: int, i: int) -> int:
        """Position of the alternative with the most evidence."""
        evidence, weights = self.evidence[level, i], self.fixed.weights[i]
        best = int(np.argmax(evidence * weights))
        sudden = int(self._sudden[level, i])
        return sudden if sudden >= 0 and evidence[best] >= self._largest else best

    def reset(self, which: int | slice, tick: int) -> None:
        """Members start anew."""
        self.evidence[:, which] = 0
        self._sudden[:, which] = -1
        self.since.reset(which, tick)
        self.coarse.counts[:, which] = 0
        self.fine.counts[:, which] = 0

    def _columns(self, i: int) -> Ints:
        """Where the alternatives of a member stand, in the order of its table."""
        order = self.fixed.order[i]
        return np.argsort(order, kind="stable")[np.count_nonzero(order < 0) :]

    def dump(self, i: int, size: int) -> Arrays:
        """The state of one member of ``size`` bins, without padding."""
        columns = self._columns(i)
        sudden = self._sudden[:, i]
        return {
            "evidence": self.evidence[:, i, columns],
            "sudden": np.where(sudden < 0, -1, self.fixed.order[i, sudden]),
            "coarse": self.coarse.counts[:, i, : self._folds[i]].copy(),
            "fine": self.fine.counts[:, i, :size].copy(),
        } | self.since.dump(i, columns, size)

    def load(self, i: int, size: int, arrays: Arrays) -> None:
        """Back from `dump`.

        Raises:
            ValueError: it is another stream's.
        """
        mine, columns = self.dump(i, size), self._columns(i)
        if any(name not in arrays or np.size(arrays[name]) != value.size for name, value in mine.items()):
            raise ValueError("state of another stream")
        given = {name: np.asarray(arrays[name]).reshape(value.shape) for name, value in mine.items()}
        place = {int(self.fixed.order[i, c]): int(c) for c in columns}
        self.evidence[:, i, columns] = given["evidence"]
        self._sudden[:, i] = [place.get(int(j), -1) for j in given["sudden"]]
        self.coarse.counts[:, i, : self._folds[i]] = given["coarse"]
        self.fine.counts[:, i, :size] = given["fine"]
        self.since.load(i, columns, given)


class Engine:
    """Evidence of all streams of a model, two levels (0 notice, 1 alarm).

    Counts add: ticks of several senders are summed before `step`.

    Args:
        tables: one a stream; where a stream has a table for each stratum, all of them.
        dtype: float32, which is exact to 1e-4 of the evidence, or float64.

    Raises:
        ValueError: special bins are not the last ones of their stream.
    """

    def __init__(
        self, tables: Sequence[StreamTables | tuple[StreamTables, ...]], dtype: type[Real] = np.float32
    ) -> None:
        strata = [one if isinstance(one, tuple) else (one,) for one in tables]
        self._names = [own[0].names for own in strata]
        self._sizes = [len(own[0].pi) for own in strata]
        starts = np.concatenate(([0], np.cumsum(self._sizes, dtype=np.int64)))
        alike: dict[tuple[str, int, int], list[int]] = {}
        for f, own in enumerate(strata):
            alike.setdefault((own[0].kind, len(own), len(own[0].names).bit_length()), []).append(f)
        self._groups = [_Group(fs, [strata[f] for f in fs], starts, dtype) for fs in alike.values()]
        self._place = {int(f): (g, i) for g in self._groups for i, f in enumerate(g.members)}
        self._counts: Reals = np.zeros(int(starts[-1]) + 1, dtype)
        self._levelled = np.zeros_like(self._counts)
        self._tick = 0

    def step(self, counts: Counts, stratum: int = 0, levelled: Counts | None = None) -> Floats:
        """One tick -> log scores (2, F) in nats. Empty streams keep theirs.

        Args:
            counts: (K_f,) of every stream; as an array (F, K), or all of them in one vector.
            stratum: in which the tick lies.
            levelled: the same without the season, for `since`; None: there is none.
        """
        _put(counts, self._counts)
        if levelled is not None:
            _put(levelled, self._levelled)
        since = self._counts if levelled is None else self._levelled
        mixtures = np.empty((2, len(self._sizes)))
        for group in self._groups:
            mixtures[:, group.members] = group.step(self._counts, since, self._tick, stratum)
        self._tick += 1
        with np.errstate(divide="ignore"):
            logs: Floats = np.log(mixtures)
        return logs

    def _winner(self, f: int, level: int) -> tuple[_Group, int, int]:
        group, i = self._place[f]
        return group, i, group.winner(level, i)

    def best(self, f: int, level: int) -> str:
        """Name of the alternative with the most evidence."""
        group, i, j = self._winner(f, level)
        return self._names[f][int(group.fixed.order[i, j])]

    def began(self, f: int, level: int = 0) -> int:
        """Index of the first shifted tick, by the winner of that level."""
        group, i, j = self._winner(f, level)
        return group.since.began(i, j)

    def since(self, f: int) -> Floats:
        """Counts (K_f,) since something has been going on."""
        group, i = self._place[f]
        return group.since.counts[i, : self._sizes[f]].astype(np.float64)

    def stirring(self) -> list[int]:
        """Streams in which something may be going on: `since` holds rows."""
        return sorted(int(f) for group in self._groups for f in group.members[group.since.tick < self._tick])

    def reset(self, f: int | None = None) -> None:
        """Evidence of stream ``f`` (all when None) starts anew."""
        if f is None:
            for group in self._groups:
                group.reset(slice(None), self._tick)
        else:
            group, i = self._place[f]
            group.reset(i, self._tick)

    @property
    def tick(self) -> int:
        """Ticks stepped."""
        return self._tick

    def dump(self, f: int) -> Arrays:
        """The state of stream ``f`` alone, whatever the others are."""
        group, i = self._place[f]
        return group.dump(i, self._sizes[f])

    def take(self, tick: int, streams: Mapping[int, Arrays]) -> None:
        """Goes on at ``tick`` with what `dump` gave for some streams; the others start anew.

        Raises:
            ValueError: a state is of another stream.
        """
        self._tick = tick
        self.reset()
        for f, arrays in streams.items():
            group, i = self._place[f]
            group.load(i, self._sizes[f], arrays)


def _put(counts: Counts, into: Reals) -> None:
    if isinstance(counts, np.ndarray):
        into[:-1] = counts.ravel()
    else:
        np.concatenate(counts, out=into[:-1], casting="unsafe")
