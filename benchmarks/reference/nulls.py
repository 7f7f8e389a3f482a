"""Runs without a shift, ours and the reference implementation side by side: what the null rows are made of.

A crossing counts as an alarm and the stream's evidence starts anew, so that a run at a budget of A ticks an alarm
expects at most ``ticks / A`` alarms over all streams.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from benchmarks.reference.detector import Evidence, Plan, plan
from benchmarks.reference.tables import Floats
from pilotfish_agent.drift import dictionary
from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.penalty import gated
from pilotfish_agent.drift.tables import StreamTables, TableSpec, build

Tick = Sequence[NDArray[np.int64]] | NDArray[np.int64]
Alarm = tuple[int, int, int]
"""Tick, stream (-1: only the model as a whole), level."""
COMPARED = 60.0  # nats; in float32 ours saturates at 69, the reference at 700
CONFIDENCE = 0.99


@dataclass(slots=True)
class Outcome:
    """What a run gave.

    Attributes:
        alarms: of the product's engine.
        wanted: of the reference implementation on the same counts; None where it did not run.
        difference: largest difference of their scores below 60 nats.
    """

    alarms: list[Alarm] = field(default_factory=list)
    wanted: list[Alarm] | None = None
    difference: float = 0.0

    def count(self, level: int) -> int:
        """Alarms of one level."""
        return sum(alarm[2] == level for alarm in self.alarms)

    @property
    def same(self) -> bool:
        """Whether both alarmed at the same ticks."""
        return self.wanted == self.alarms

    def words(self, shown: int = 4) -> str:
        """The ticks of both, for the row."""
        ticks = ", ".join(f"{t}" for t, _, _ in (self.wanted or [])[:shown])
        more = len(self.wanted or []) - shown
        return f"reference alarms at the {'same' if self.same else 'OTHER'} ticks" + (
            f" ({ticks}{f' and {more} more' if more > 0 else ''})" if ticks else " (none)"
        )


class Oracle:
    """The reference implementation over streams of any shapes, grouped where they are alike."""

    def __init__(self, tables: Sequence[StreamTables], known: bool) -> None:
        alike: dict[object, list[int]] = {}
        for f, table in enumerate(tables):
            alike.setdefault((table.kind, table.special, len(table.pi), table.names), []).append(f)
        self._groups = [(np.array(fs), Evidence(_planned([tables[f] for f in fs], known))) for fs in alike.values()]
        self._place = {int(f): (evidence, i) for fs, evidence in self._groups for i, f in enumerate(fs)}

    def step(self, counts: Tick) -> Floats:
        """Scores (2, F)."""
        scores = np.empty((2, len(self._place)))
        for members, evidence in self._groups:
            scores[:, members] = evidence.step(np.array([counts[f] for f in members]))
        return scores

    def reset(self, f: int) -> None:
        evidence, i = self._place[f]
        evidence.reset(i)


def _planned(tables: list[StreamTables], known: bool) -> Plan:
    """One plan of all, worked out once for those that share tables; penalties are taken over."""
    distinct = list({id(t): t for t in tables}.values())
    place = {id(t): i for i, t in enumerate(distinct)}
    which = np.array([place[id(t)] for t in tables])
    one = distinct[0]
    made = plan(
        np.array([t.counts for t in distinct]),
        one.special,
        categorical=one.kind == "categorical",
        phi=[t.phi for t in distinct],
        streams=one.streams,
        budget_ticks=np.exp(one.log_threshold) / 2 / one.streams,
        deltas=one.deltas,
        penalties=np.stack([t.penalties for t in distinct], axis=1),
        known=np.array([t.pi for t in distinct]) if known else None,
    )
    return dataclasses.replace(
        made,
        counts=made.counts[which],
        phi=made.phi[which],
        pi=made.pi[which],
        log_ratios=made.log_ratios[which],
        penalties=made.penalties[:, which],
        radius={k: r[which] for k, r in made.radius.items()},
    )


class _Alarms:
    """The rules of section 4: a stream over T, or the model over T - log F; evidence starts anew afterwards."""

    def __init__(self, line: float, streams: int, evidence: Engine | Oracle, *, model: bool) -> None:
        self._line, self._streams, self._evidence, self._model = line, streams, evidence, model
        self.found: list[Alarm] = []

    def take(self, tick: int, scores: Floats) -> None:
        over = scores >= self._line
        for f in np.flatnonzero(over.any(0)).tolist():
            self.found += [(tick, f, v) for v in (0, 1) if over[v, f]]
            self._evidence.reset(f)
        if self._model and not over.any():
            top = scores.max(1)
            whole = top + np.log(np.exp(scores - top[:, None]).sum(1))
            if np.isfinite(top).all() and (whole >= self._line).any():
                self.found += [(tick, -1, v) for v in (0, 1) if whole[v] >= self._line]
                for f in range(self._streams):
                    self._evidence.reset(f)


def run(
    tables: Sequence[StreamTables],
    ticks: Iterable[Tick],
    *,
    lowered: float = 0.0,
    oracle: bool = True,
    model: bool = True,
    known: bool = False,
) -> Outcome:
    """Alarms over the ticks.

    Args:
        tables: of all streams of one model.
        ticks: counts of all streams.
        lowered: nats by which a mutant lowers the line.
        oracle: whether the reference implementation runs beside.
        model: whether the rule of the whole model holds too; not where streams stand for models of their own.
        known: whether the masses of the tables are the true ones.
    """
    engine, line = Engine(tables), tables[0].log_threshold - lowered
    reference = Oracle(tables, known) if oracle else None
    ours = _Alarms(line, len(tables), engine, model=model)
    theirs = None if reference is None else _Alarms(line, len(tables), reference, model=model)
    outcome = Outcome()
    for number, counts in enumerate(ticks):
        scores = engine.step(counts)
        if reference is not None and theirs is not None:
            wanted = reference.step(counts)
            kept = np.isfinite(wanted) & (wanted < COMPARED)
            outcome.difference = max(outcome.difference, float(np.abs(scores - wanted)[kept].max(initial=0.0)))
            theirs.take(number, wanted)
        ours.take(number, scores)
    outcome.alarms, outcome.wanted = ours.found, None if theirs is None else theirs.found
    return outcome


def limit(expected: float) -> int:
    """The most alarms that a detector at its budget gives in 99 % of runs."""
    return int(poisson.ppf(CONFIDENCE, expected))


# -- tables, mutants


def continuous(m: int, budget_ticks: float, streams: int, phi: float = 1.0) -> StreamTables:
    """Tables of a continuous stream without special bins: all references of m distinct rows have the same counts."""
    from benchmarks.reference.tables import counts_in, edges

    rows = np.arange(1.0, m + 1)
    return build([TableSpec("x", "numeric", counts_in(edges(rows), rows), (), phi)], budget_ticks, streams)[0]


def true_masses(rng: np.random.Generator, table: StreamTables, streams: int) -> Floats:
    """What the masses of the bins of so many references are: Dirichlet, whatever the population (Wilks)."""
    alpha = np.array(table.counts)
    alpha[-1] += 1
    drawn: Floats = rng.dirichlet(alpha, size=streams)
    return drawn


def with_known_masses(table: StreamTables) -> StreamTables:
    """The tables when the reference masses are the truth: the minimum effect is all that is paid for."""
    pi = table.counts / table.counts.sum()
    ratios = dictionary.numeric(pi, table.special).log_ratios
    floored = np.maximum(pi, 1e-3)
    majorant = gated(np.exp(ratios)[:, None], pi, floored, table.min_effect)[:, 0]
    penalties = np.array([np.zeros(len(ratios)), np.log(majorant @ pi)])
    return dataclasses.replace(table, pi=pi, other_ratios=ratios, penalties=penalties, kappa_fine=0.0, kappa_coarse=0.0)


def without_penalty(table: StreamTables) -> StreamTables:
    """Mutant: the reference is taken for the truth, lam = 0."""
    return dataclasses.replace(table, penalties=np.zeros(table.penalties.shape), kappa_fine=0.0, kappa_coarse=0.0)


def without_gate(table: StreamTables) -> StreamTables:
    """Mutant: level alarm without the minimum effect."""
    return dataclasses.replace(table, penalties=table.penalties[[0, 0]], min_effect=0.0)
