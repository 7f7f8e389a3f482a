"""The sequential detector: a Shiryaev-Roberts mixture over the dictionary and four plug-ins (docs/statistics.md).

Per tick with counts c of n rows, for every alternative j: ``M_j <- (M_j + 1) * L_j(c) * exp(-n lam_j)``, capped;
the score is ``log sum_j w_j M_j`` (Shin, Ramdas, Rinaldo, "E-detectors", arXiv 2203.03532). All streams of a model are
one group: arrays are padded to the widest stream and the largest dictionary with weight 0, so a tick is a few array
operations.
State is exp(M) rather than M, which saves a logarithm and an addition a cell; it saturates at 1e250 (575 nats).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from pilotfish_agent.drift.dictionary import PLUGINS
from pilotfish_agent.drift.layout import EPS, Floats, Ints
from pilotfish_agent.drift.tables import StreamTables

LEAK: Final = 5e-4
"""Nats a row that a plug-in pays, so that one that abstains does not grow with time."""
LARGEST: Final = 1e250
CALM: Final = math.exp(1.5)
"""Mixture of the CUSUM below which nothing is going on (section 10)."""
STEP_CAP: Final = 300.0
"""Nats that one tick can move an alternative without overflow of exp."""


class _Plugins:
    """Plug-ins of one resolution over all streams: what past counts say, shrunk by what they could owe to chance."""

    def __init__(self, tables: Sequence[StreamTables], resolution: str, levels: Floats) -> None:
        coarse = resolution == "coarse"
        self.groups = int(max(t.coarse_map.max() for t in tables)) + 1
        masses = [_folded(t.coarse_map, t.pi) if coarse else t.pi for t in tables]
        width = self.groups if coarse else max(len(m) for m in masses)
        self.index = np.array([i for i, (r, _) in enumerate(PLUGINS) if r == resolution])
        self._decay = -1 / np.array([[PLUGINS[i][1]] for i in self.index])
        self._degrees = np.array([len(m) - 1.0 for m in masses])
        self._kappa = np.array([t.kappa_coarse if coarse else t.kappa_fine for t in tables])
        self._levels = levels * 1.05
        floored = _pad([np.maximum(m, EPS) for m in masses], width)
        self._inverse = _pad([1 / m for m in masses], width)
        self._w2 = floored * self._inverse**2
        self._w1 = floored * self._inverse
        self._w0 = floored.sum(1)
        self.counts: Floats = np.zeros((len(self.index), len(tables), width))

    def likelihoods(self, now: Floats, phi: Floats, rows: Floats, out: Floats) -> None:
        """Adds the log likelihood of this tick's counts ``now`` (F, width) to ``out`` (V, F, 4)."""
        past = self.counts
        total = past.sum(2) + 1e-100
        distance = np.einsum("hfk,hfk,fk->hf", past, past, self._inverse) / (total * total) - 1
        if not (distance > self._kappa**2).any():  # necessary for any shrinkage above 0
            return
        with np.errstate(all="ignore"):
            effective = total / phi
            second = np.einsum("hfk,hfk,fk->hf", past, past, self._w2) / (total * total)
            gate = np.sqrt(np.maximum(second - 2 * np.einsum("hfk,fk->hf", past, self._w1) / total + self._w0, 0))
            owed = self._kappa * np.sqrt(distance) + self._levels * gate
            shrink = np.minimum(1 - self._degrees / effective / distance - owed / distance, 0.95)
            v, h, f = np.nonzero((shrink > 0) & (effective >= 50))
        if not len(v):
            return
        s = shrink[v, h, f][:, None]
        ratio = past[h, f] * self._inverse[f] / total[h, f][:, None]
        gain = np.einsum("ik,ik->i", np.log(s * ratio + (1 - s)), now[f])
        out[v, f, self.index[h]] += gain / phi[f] - rows[f] * np.log1p(s[:, 0] * owed[v, h, f])

    def remember(self, now: Floats, raw_rows: Floats) -> None:
        """Takes this tick's counts into the decayed past."""
        self.counts *= np.exp(self._decay * raw_rows)[..., None]
        self.counts += now


class Engine:
    """Evidence of all streams of a model, two levels (0 notice, 1 alarm).

    Args:
        tables: one a stream.
    """

    def __init__(self, tables: Sequence[StreamTables]) -> None:
        self.tables = tuple(tables)
        self._sizes = [len(t.pi) for t in tables]
        width, alternatives = max(self._sizes), max(len(t.log_ratios) for t in tables)
        self._fixed = alternatives
        self._phi = np.array([t.phi for t in tables])
        self._ratios = np.zeros((len(tables), width, alternatives))
        self._penalties = np.zeros((2, len(tables), alternatives))
        self._weights = np.zeros((len(tables), alternatives + len(PLUGINS)))
        for f, table in enumerate(tables):
            j, k = table.log_ratios.shape
            self._ratios[f, :k, :j] = table.log_ratios.T
            self._penalties[:, f, :j] = table.penalties
            self._weights[f, :j] = np.exp(table.log_weights[:j])
            self._weights[f, alternatives:] = np.exp(table.log_weights[j:])
        self._most = max(float(np.abs(self._ratios).max()), float(np.abs(self._penalties).max()))
        levels = np.array([t.deltas for t in tables]).T[:, None, :]
        self._plugins = [_Plugins(tables, r, levels) for r in ("coarse", "fine")]
        self._fold = np.zeros((len(tables), width, self._plugins[0].groups))
        for f, table in enumerate(tables):
            self._fold[f, np.arange(len(table.pi)), table.coarse_map] = 1.0
        shape = (len(tables), alternatives + len(PLUGINS))
        self._evidence = np.zeros((2, *shape))
        self._work = np.empty((2, *shape))
        self._cusum = np.ones(shape)
        self._reset_at = np.zeros(shape, np.int64)
        self._since = np.zeros((len(tables), width))
        self._since_tick = np.zeros(len(tables), np.int64)
        self._tick = 0

    def step(self, counts: Sequence[Floats | Ints] | Floats | Ints) -> Floats:
        """One tick: counts (K_f,) of every stream, or (F, K) -> log scores (2, F), nats. Empty streams keep theirs."""
        now = _pad(counts, self._ratios.shape[1])
        raw_rows = now.sum(1)
        rows = raw_rows / self._phi
        live = rows > 0
        gained = self._likelihoods(now, raw_rows, rows)
        with np.errstate(over="ignore"):  # beyond LARGEST evidence saturates, infinite or not
            self._evidence[:, live] = (self._evidence[:, live] + 1) * gained[:, live]
            scores = self._mixture()
            if scores.max() > LARGEST / 1e50:
                np.minimum(self._evidence, LARGEST, out=self._evidence)
                scores = self._mixture()
            self._follow(now, live, gained[0])
        self._tick += 1
        with np.errstate(divide="ignore"):
            logs: Floats = np.log(scores)
        return logs

    def _mixture(self) -> Floats:
        mixed: Floats = np.einsum("vfj,fj->vf", self._evidence, self._weights)
        return mixed

    def _likelihoods(self, now: Floats, raw_rows: Floats, rows: Floats) -> Floats:
        """Exp of what each alternative gains by this tick, (2, F, J + 4)."""
        gained = self._work
        effective = now / self._phi[:, None]
        fixed = np.matmul(effective[:, None], self._ratios)[:, 0]
        np.subtract(fixed, rows[:, None] * self._penalties, out=gained[..., : self._fixed])
        plugged = gained[..., self._fixed :]
        plugged[:] = (-LEAK * rows)[:, None]
        for plugins in self._plugins:
            part = now if plugins is self._plugins[1] else np.einsum("fk,fkg->fg", now, self._fold)
            plugins.likelihoods(part, self._phi, rows, plugged)
            plugins.remember(part, raw_rows)
        if rows.max() * self._most > STEP_CAP:
            np.clip(gained, -700, 500, out=gained)
        return np.exp(gained, out=gained)

    def _follow(self, now: Floats, live: Any, gained: Floats) -> None:
        """CUSUM of the notice level: when each alternative last had nothing to say, and the counts since then."""
        calm = (self._cusum <= 1) & live[:, None]
        self._reset_at[calm] = self._tick
        moved = np.maximum(self._cusum, 1) * gained
        self._cusum[live] = np.minimum(moved[live], LARGEST)
        self._since += now
        quiet = np.einsum("fj,fj->f", self._cusum, self._weights) <= CALM
        self._since[quiet] = 0
        self._since_tick[quiet] = self._tick + 1

    def _winner(self, f: int, level: int) -> int:
        return int(np.argmax(self._evidence[level, f] * self._weights[f]))

    def best(self, f: int, level: int) -> str:
        """Name of the alternative with the most evidence."""
        j = self._winner(f, level)
        names = self.tables[f].names
        return names[j] if j < self._fixed else names[j - self._fixed + len(names) - len(PLUGINS)]

    def began(self, f: int, level: int = 0) -> int:
        """Index of the first shifted tick, by the winner of that level."""
        return int(self._reset_at[f, self._winner(f, level)])

    def since(self, f: int) -> Floats:
        """Counts (K_f,) since something has been going on."""
        return self._since[f, : self._sizes[f]].copy()

    def since_tick(self, f: int) -> int:
        """The tick from which `since` counts."""
        return int(self._since_tick[f])

    def reset(self, f: int | None = None) -> None:
        """Evidence of stream ``f`` (all when None) starts anew."""
        which = slice(None) if f is None else f
        self._evidence[:, which] = 0
        self._cusum[which] = 1
        self._reset_at[which] = self._tick
        self._since[which] = 0
        self._since_tick[which] = self._tick
        for plugins in self._plugins:
            plugins.counts[:, which] = 0

    def state(self) -> dict[str, Any]:
        """Arrays for a checkpoint."""
        return {
            "evidence": self._evidence.copy(),
            "cusum": self._cusum.copy(),
            "reset_at": self._reset_at.copy(),
            "since": self._since.copy(),
            "since_tick": self._since_tick.copy(),
            "coarse": self._plugins[0].counts.copy(),
            "fine": self._plugins[1].counts.copy(),
            "tick": np.array([self._tick]),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back from `state` of an engine over the same tables.

        Raises:
            ValueError: the shapes are another engine's.
        """
        mine = self.state()
        if any(name not in state or np.shape(state[name]) != value.shape for name, value in mine.items()):
            raise ValueError("state of another engine")
        self._evidence[:] = state["evidence"]
        self._cusum[:] = state["cusum"]
        self._reset_at[:] = state["reset_at"]
        self._since[:] = state["since"]
        self._since_tick[:] = state["since_tick"]
        self._plugins[0].counts[:] = state["coarse"]
        self._plugins[1].counts[:] = state["fine"]
        self._tick = int(state["tick"][0])


def _folded(groups: Ints, values: Floats) -> Floats:
    return np.bincount(groups, values).astype(np.float64)


def _pad(rows: Sequence[Any] | Floats | Ints, width: int) -> Floats:
    out = np.zeros((len(rows), width))
    for f, row in enumerate(rows):
        out[f, : len(row)] = row
    return out
