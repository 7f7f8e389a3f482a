"""The sequential detector in plain numpy: docs/statistics.md, sections 3 (plug-ins), 4, 7 and 10. An oracle to read.

Evidence is kept as logarithms and every formula is evaluated as it stands in the text. The product's own engine is
`pilotfish_agent.drift.detectors.shiryaev_roberts`; both match tests/golden/detector.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from benchmarks.reference import tables
from benchmarks.reference.tables import PLUGINS, RARE, Floats

LARGEST = 700.0  # nats, evidence saturates
LEAK = 5e-4  # nats a row that a plug-in pays
CALM = 1.5  # nats of the CUSUM mixture under which nothing is going on


@dataclass(frozen=True, slots=True)
class Plan:
    """F streams of equal K and J.

    Attributes:
        counts: of the references (F, K).
        special: the special bins.
        phi: variance inflation (F,).
        pi: reference masses (F, K).
        names: of the J alternatives and the four plug-ins.
        log_ratios: (F, J, K).
        log_weights: (J + 4,).
        penalties: (V, F, J).
        deltas: minimum effect of each of the V levels.
        radius: of the reference's own error, over bins and over groups of bins, (F,) each.
        log_threshold: T.
    """

    counts: Floats
    special: tuple[int, ...]
    phi: Floats
    pi: Floats
    names: tuple[str, ...]
    log_ratios: Floats
    log_weights: Floats
    penalties: Floats
    deltas: tuple[float, ...]
    radius: dict[str, Floats]
    log_threshold: float


def plan(
    counts: Floats,
    special: Sequence[int] = (),
    *,
    categorical: bool = False,
    phi: Sequence[float] | None = None,
    streams: int | None = None,
    budget_ticks: float = 43_200.0,
    deltas: Sequence[float] = (0.0, 0.1),
    penalties: Floats | None = None,
    known: Floats | None = None,
) -> Plan:
    """What is known before the first row.

    Args:
        counts: of the references (F, K).
        special: special bins of numeric streams.
        categorical: whether bins are levels.
        phi: of each stream, 1 where not given.
        streams: F of the model where the plan holds fewer.
        budget_ticks: A.
        deltas: minimum effect of each level.
        penalties: (V, F, J) where they are known: computing them takes seconds a stream.
        known: the true masses (F, K), when there is no reference that could err.
    """
    inflation = np.ones(len(counts)) if phi is None else np.asarray(phi, dtype=np.float64)
    alpha = counts / inflation[:, None]
    pi = np.array([tables.masses(a) for a in alpha]) if known is None else known
    ratios = [
        tables.categorical_alternatives(p) if categorical else tables.numeric_alternatives(p, special) for p in pi
    ]
    names = tuple(ratios[0])
    weights = tables.log_weights(names)
    total = streams or len(counts)
    line = float(np.log(2 * budget_ticks) + np.log(total))
    if penalties is None:
        penalties = np.array(
            [
                [
                    [tables.penalty(r[n], a, p, line, w, d) for n, w in zip(names, weights, strict=True)]
                    for r, a, p in zip(ratios, alpha, pi, strict=True)
                ]
                for d in deltas
            ]
        )
    group = tables.groups_of_bins(counts.shape[1], special)
    error = 0.01 / total / 2
    return Plan(
        counts=counts,
        special=tuple(special),
        phi=inflation,
        pi=pi,
        names=(*names, *(f"plug_{kind}{rows:g}" for kind, rows in PLUGINS)),
        log_ratios=np.log(np.array([[r[n] for n in names] for r in ratios])),
        log_weights=np.concatenate((weights, np.full(len(PLUGINS), np.log(0.2 / len(PLUGINS))))),
        penalties=penalties,
        deltas=tuple(deltas),
        radius={
            "fine": np.array([tables.chi_radius(a, error) for a in alpha]) * (known is None),
            "coarse": np.array([tables.chi_radius(np.bincount(group, a).astype(np.float64), error) for a in alpha])
            * (known is None),
        },
        log_threshold=line,
    )


class Evidence:
    """Shiryaev-Roberts evidence of all streams of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._group = tables.groups_of_bins(plan.counts.shape[1], plan.special)
        self._pi = {"fine": plan.pi, "coarse": self._folded(plan.pi)}
        shape = (len(plan.deltas), len(plan.pi), len(plan.names))
        self.logs: Floats = np.full(shape, -np.inf)  # log M
        self._past = {rows: np.zeros(plan.counts.shape) for _, rows in PLUGINS}

    def _folded(self, counts: Floats) -> Floats:
        return np.stack([np.bincount(self._group, c) for c in counts])

    def _plugin(self, kind: str, rows: float, delta: float) -> Floats:
        """Log likelihood ratio a row (F, K) of a plug-in, from past counts only."""
        past, pi = self._past[rows], self._pi[kind]
        if kind == "coarse":
            past = self._folded(past)
        total = past.sum(1)
        effective = total / self.plan.phi
        moved = past / np.maximum(total, 1e-300)[:, None] / pi - 1
        distance = (pi * moved**2).sum(1)
        gate = np.sqrt((np.maximum(pi, RARE) * moved**2).sum(1))
        owed = self.plan.radius[kind] * np.sqrt(distance) + 1.05 * delta * gate
        with np.errstate(all="ignore"):
            shrink = np.clip(1 - (pi.shape[1] - 1) / effective / distance - owed / distance, 0, 0.95)
        shrink = np.where((effective >= 50) & (distance > 0), shrink, 0.0)
        log_ratio: Floats = np.log1p(shrink[:, None] * moved) - np.log1p(shrink * owed)[:, None] - LEAK
        return log_ratio[:, self._group] if kind == "coarse" else log_ratio

    def step(self, counts: Floats | NDArray[np.int64]) -> Floats:
        """One tick of counts (F, K) -> scores (V, F) in nats. Empty streams keep theirs."""
        effective = counts / self.plan.phi[:, None]
        rows = effective.sum(1)
        fixed = np.einsum("fjk,fk->fj", self.plan.log_ratios, effective)
        for level, delta in enumerate(self.plan.deltas):
            gained = [fixed - rows[:, None] * self.plan.penalties[level]]
            gained += [(self._plugin(*one, delta) * effective).sum(1)[:, None] for one in PLUGINS]
            logs = np.logaddexp(self.logs[level], 0) + np.concatenate(gained, axis=1)
            self.logs[level] = np.where(rows[:, None] > 0, np.minimum(logs, LARGEST), self.logs[level])
        for memory, past in self._past.items():
            self._past[memory] = past * np.exp(-counts.sum(1, keepdims=True) / memory) + counts
        scores: Floats = logsumexp(self.logs + self.plan.log_weights, axis=2)
        return scores

    def reset(self, f: int) -> None:
        """Evidence of stream ``f`` starts anew."""
        self.logs[:, f] = -np.inf
        for past in self._past.values():
            past[f] = 0


class Since:
    """When it began: the CUSUM of the notice level beside the evidence."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        shape = evidence.logs.shape[1:]
        self._cusum = np.zeros(shape)
        self._reset_at = np.zeros(shape, np.int64)
        self.counts: Floats = np.zeros(evidence.plan.counts.shape)
        self.tick = np.zeros(shape[0], np.int64)
        self._now = 0

    def step(self, counts: Floats | NDArray[np.int64]) -> Floats:
        """Steps the evidence too; its scores."""
        evidence = self._evidence
        before = np.logaddexp(evidence.logs[0], 0)
        scores = evidence.step(counts)
        live = counts.sum(1)[:, None] > 0
        gained = np.where(live, evidence.logs[0] - before, 0.0)
        self._reset_at = np.where((self._cusum <= 0) & live, self._now, self._reset_at)
        self._cusum = np.where(live, np.minimum(np.maximum(self._cusum, 0) + gained, LARGEST), self._cusum)
        self.counts += counts
        calm = logsumexp(self._cusum + evidence.plan.log_weights, axis=1) <= CALM
        self.counts[calm] = 0
        self._now += 1
        self.tick[calm] = self._now
        return scores

    def began(self, f: int, level: int) -> int:
        """The first shifted tick, by the winner of the level."""
        winner = np.argmax(self._evidence.logs[level, f] + self._evidence.plan.log_weights)
        return int(self._reset_at[f, winner])


def model_score(scores: Floats) -> Floats:
    """Evidence of the whole model: log of the mean of exp(S) over the last axis."""
    mixed: Floats = logsumexp(scores, axis=-1) - np.log(scores.shape[-1])
    return mixed
