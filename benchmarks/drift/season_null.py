"""Null rows of streams that tell hours apart, each with a reference of its own; careless mutants must alarm.

Budgets expect 20 alarms. A stream that is ranked has in each hour the masses that its edges leave there: gaps between
order statistics, which are Dirichlet whatever the distribution. A stream with tables has levels whose shares follow the
hour, and a table of what was counted in each. An alarm restarts the stream. 100 rows a tick, 18 ticks an hour, 28 days.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.bars import Result, bar, versions
from benchmarks.reference.nulls import limit
from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.layout import edges_from_reference
from pilotfish_agent.drift.tables import StreamTables, TableSpec, build

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SEED = 9612
STREAMS, HOURS, PER_HOUR, DAYS, ROWS = 20, 24, 18, 28, 100
TICKS = DAYS * HOURS * PER_HOUR
EXPECTED = 20
STRATUM_ROWS = 1_200
LEVELS = 6
SPECIAL = 3


@dataclass(frozen=True, slots=True)
class Nulls:
    """Streams and what they do when nothing changes.

    Attributes:
        tables: one a stream.
        counts: (TICKS, STREAMS, K).
    """

    tables: Sequence[StreamTables]
    counts: Ints


def ranked(rng: np.random.Generator) -> Nulls:
    """Streams that rank each row inside its own hour."""
    even = np.arange(float(STRATUM_ROWS))
    edges = edges_from_reference(even)
    gaps = np.bincount(np.searchsorted(edges, even), minlength=len(edges) + 1)
    size = len(gaps) + SPECIAL
    counts = np.concatenate((gaps, np.zeros(SPECIAL))).astype(np.float64)
    spec = TableSpec("x", "numeric", counts, tuple(range(len(gaps), size)))
    tables = build([spec] * STREAMS, TICKS * STREAMS / EXPECTED, 1)
    masses = np.zeros((STREAMS, HOURS, size))
    masses[..., : len(gaps)] = rng.dirichlet(gaps, (STREAMS, HOURS))
    return Nulls(tables, drawn(rng, masses))


def tabled(rng: np.random.Generator) -> Nulls:
    """Streams with a table for each hour."""
    wave = np.sin(2 * np.pi * (np.arange(HOURS)[:, None] / HOURS + rng.random((STREAMS, 1, LEVELS))))
    masses = np.exp(rng.normal(0, 1, (STREAMS, 1, LEVELS)) + 0.8 * wave)
    masses = np.concatenate((masses / masses.sum(2, keepdims=True), np.zeros((STREAMS, HOURS, 2))), axis=2)
    seen = rng.multinomial(STRATUM_ROWS, masses)
    specs = [
        TableSpec(f"c{f}", "categorical", own.sum(0).astype(np.float64), strata=own.astype(np.float64))
        for f, own in enumerate(seen)
    ]
    return Nulls(build(specs, TICKS * STREAMS / EXPECTED, 1), drawn(rng, masses))


def drawn(rng: np.random.Generator, masses: Floats) -> Ints:
    """Counts of all ticks from the masses (STREAMS, HOURS, K)."""
    each = rng.multinomial(ROWS, masses, (DAYS, PER_HOUR, *masses.shape[:2]))
    return each.transpose(0, 3, 1, 2, 4).reshape(TICKS, STREAMS, -1)


def alarms(tables: Sequence[StreamTables], counts: Ints, lowered: float = 0.0, most: int = 1_000) -> int:
    """Crossings of level notice, each of which restarts its stream; no more than ``most`` are counted."""
    engine = Engine([t.by_stratum(HOURS) or t for t in tables])
    line = tables[0].log_threshold - lowered
    found = 0
    for t, now in enumerate(counts):
        over = np.flatnonzero(engine.step(now, t // PER_HOUR % HOURS)[0] >= line).tolist()
        found += len(over)
        for f in over:
            engine.reset(f)
        if found > most:
            break
    return found


def without_penalty(table: StreamTables) -> StreamTables:
    """A mutant that takes the reference for the truth."""
    free = np.zeros_like(table.stratum_penalties)
    return dataclasses.replace(table, penalties=np.zeros_like(table.penalties), stratum_penalties=free)


def all_alike(table: StreamTables) -> StreamTables:
    """A mutant that takes all hours for one."""
    return dataclasses.replace(table, stratum_counts=np.zeros((0, 0)), stratum_penalties=np.zeros((0, 0, 0)))


def row(nulls: Nulls, mutants: Mapping[str, Callable[[StreamTables], StreamTables]], lowered: float) -> Result:
    """Alarms within the limit, and every mutant over it."""
    most = limit(EXPECTED)
    count = alarms(nulls.tables, nulls.counts)
    found = {name: alarms([m(t) for t in nulls.tables], nulls.counts, most=most) for name, m in mutants.items()}
    found[f"T - log {lowered:g}"] = alarms(nulls.tables, nulls.counts, np.log(lowered), most)
    words = ", ".join(f"{name}: {'over ' if n > most else ''}{min(n, most)}" for name, n in found.items())
    holds = count <= most and all(n > most for n in found.values())
    text = f"{count} alarms of {STREAMS} streams x {TICKS:,} ticks, budget {EXPECTED}, seed {SEED}; mutants {words}"
    return Result(text, holds, versions("numpy", "scipy"))


@bar("season null: ranked inside 24 hours of 1,200 rows", "<= 31 alarms (99 % Poisson limit of the budget)")
def null_ranked() -> Result:
    """Edges of each hour, one table."""
    return row(ranked(np.random.default_rng([SEED, 0])), {"lam = 0": without_penalty}, 1_000)


@bar("season null: tables of 24 hours of 1,200 rows", "<= 31 alarms (99 % Poisson limit of the budget)")
def null_tabled() -> Result:
    """Levels whose shares follow the hour."""
    mutants = {"lam = 0": without_penalty, "all hours alike": all_alike}
    return row(tabled(np.random.default_rng([SEED, 1])), mutants, 100)
