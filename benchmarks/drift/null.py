"""Null rows beside those of the walking group: repeats, dependence learnt live, references with tables of their own.

As there: at budgets that expect 20 alarms, or a tenth of one, with the alarm ticks of the reference implementation on
the same counts, and mutants that must be short. The engine is the live one, in float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from benchmarks.bars import Result, bar, versions
from benchmarks.reference import nulls, tables
from benchmarks.reference.nulls import Outcome, run, without_penalty
from benchmarks.reference.streams import REFERENCE_ROWS, ROWS, uneven
from benchmarks.walking.null import EXPECTED, LOWERED, SHORT, dependence, first_alarms, judged
from pilotfish_agent.drift.dependence import Phi
from pilotfish_agent.drift.ingest import Repeats
from pilotfish_agent.drift.tables import TableSpec, build
from pilotfish_core.nouns import ObservationBatch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SEEDS: Final = {"bursts": 9611, "own": 9612}
BURST_RUNS, BURST_TICKS, MONTH = 12, 3_000, 43_200.0


@bar("null, short: dependence learnt on the first 1,600 ticks of live traffic", "<= 31 alarms, the reference's ticks")
def online() -> Result:
    return dependence(1, SHORT, [True])


# -- repeats of one request


def kept(numbers: Ints) -> NDArray[np.bool_]:
    """The rows that count when the sender gives ids: what the intake keeps of each tick of 100 rows."""
    ids = list(map(str, numbers.tolist()))
    batch = ObservationBatch(
        model="m", version=None, source="sdk", rows=len(ids), features={"x": np.zeros(len(ids))}, ids=ids
    )
    mask = Repeats().fresh_in_ticks(batch, range(0, len(ids) + 1, ROWS), [True] * (len(ids) // ROWS))[0]
    assert mask is not None
    return mask


def bursts(rng: np.random.Generator, rows: int) -> tuple[Floats, Ints]:
    """(values, the request of each): a request comes up to 50 times in a row, how often is Zipf's."""
    times = np.minimum(rng.zipf(2.2, rows), 50)
    request = np.repeat(np.arange(rows), times)[:rows]
    return rng.standard_normal(rows)[request], request


def burst_stream(number: int, *, ids: bool) -> tuple[TableSpec, Ints]:
    """(reference with its phi, live counts (ticks, K))."""
    rng = np.random.default_rng([SEEDS["bursts"], number])
    pieces = []
    for rows in (REFERENCE_ROWS, BURST_TICKS * ROWS):
        values, request = bursts(rng, rows)
        pieces.append((values, kept(request) if ids else np.ones(rows, np.bool_)))
    (old, old_kept), (new, new_kept) = pieces
    edges = tables.edges(old[old_kept])

    def counted(x: Floats, mask: NDArray[np.bool_]) -> Ints:
        tick = np.arange(len(x)) // ROWS
        flat = tick * (len(edges) + 1) + np.searchsorted(edges, x, side="left")
        return np.bincount(flat[mask], minlength=len(x) // ROWS * (len(edges) + 1)).reshape(-1, len(edges) + 1)

    reference = counted(old, old_kept)
    counts = reference.sum(0)
    phi = Phi("x", np.append(counts, [0, 0, 0]), numeric=True)
    for tick in reference:
        phi.add(np.append(tick, [0, 0, 0]))
    return TableSpec("x", "numeric", counts.astype(np.float64), (), phi.value()), counted(new, new_kept)


@bar("null: bursts of repeats", "with ids <= 31 alarms, the reference's ticks, and 0 at a budget of 43,200 ticks a run")
def repeated() -> Result:
    budget = BURST_RUNS * BURST_TICKS / EXPECTED
    named, plain = ([burst_stream(i, ids=ids) for i in range(BURST_RUNS)] for ids in (True, False))

    def alarms(pairs: list[tuple[TableSpec, Ints]], ticks: float, *, oracle: bool = False) -> Outcome:
        live = [counts for _, counts in pairs]
        made = build([spec for spec, _ in pairs], ticks, 1)
        return run(made, ([c[t] for c in live] for t in range(BURST_TICKS)), model=False, oracle=oracle)

    outcome = alarms(named, budget, oracle=True)
    month, without = (len({f for _, f, v in alarms(p, MONTH).alarms if not v}) for p in (named, plain))
    naive = alarms([(dataclasses.replace(s, phi=1.0), c) for s, c in plain], budget).count(0)
    phis = [np.median([s.phi for s, _ in pairs]) for pairs in (named, plain)]
    what = f" with ids of {BURST_RUNS} streams x {BURST_TICKS:,} ticks, budget {EXPECTED}, seed {SEEDS['bursts']}, phi "
    what += (
        f"{phis[0]:.3g}; at 1 in {MONTH:,.0f} ticks {month} streams alarm, {without} without ids (phi {phis[1]:.3g})"
    )
    result = judged(outcome, {"no ids, phi = 1": naive}, nulls.limit(EXPECTED), what=what)
    return dataclasses.replace(result, holds=result.holds and month == 0)


# -- references that have tables of their own


def zipf(rng: np.random.Generator, m: int, rate: float = 0.0) -> tuple[TableSpec, Floats]:
    """Twelve levels, and where there is a rate a thirteenth so rare that most references lack it."""
    masses = 1 / np.arange(1, 13)
    masses = np.append(masses / masses.sum() * (1 - rate), [rate, 0.0])
    return TableSpec("levels", "categorical", rng.multinomial(m, masses).astype(np.float64)), masses


def unseen(rng: np.random.Generator, m: int) -> tuple[TableSpec, Floats]:
    """One row in m is of a level that the reference may never have seen."""
    return zipf(rng, m, 1 / m)


def integers(rng: np.random.Generator, m: int) -> tuple[TableSpec, Floats]:
    """Poisson(30), of which 1 % is missing."""
    values = rng.poisson(30, m).astype(np.float64)
    edges = tables.edges(values)
    inner = np.diff(np.concatenate(([0.0], poisson.cdf(edges, 30), [1.0])))
    counts = np.append(tables.counts_in(edges, values), [float(rng.binomial(m, 0.01)), 0.0, 0.0])
    k = len(inner)
    return TableSpec("integers", "numeric", counts, (k, k + 1, k + 2)), np.append(inner * 0.99, [0.01, 0.0, 0.0])


OWN: Final[dict[str, Callable[[np.random.Generator, int], tuple[TableSpec, Floats]]]] = {
    "Zipf-12": zipf,
    "unseen category": unseen,
    "Poisson(30), 1 % missing": integers,
}


def shares(kind: str, each: int) -> Iterator[tuple[str, float, Outcome]]:
    """(which engine, share of references that alarmed, what happened) over m = 500, 1,000 and 10,000."""
    totals = {name: Outcome(wanted=[]) for name in ("", "lam = 0", "T - log 100")}
    for m in (500, 1_000, 10_000):
        seed = [SEEDS["own"], m, *kind.encode()]
        rng = np.random.default_rng(seed)
        pairs = [OWN[kind](rng, m) for _ in range(each)]
        made, masses = build([spec for spec, _ in pairs], 500.0, 1), [p for _, p in pairs]
        for name, total in totals.items():
            used = [without_penalty(t) for t in made] if name == "lam = 0" else made
            lowered = LOWERED if name == "T - log 100" else 0.0
            one = run(used, uneven(seed, masses, 50), oracle=not name, model=False, lowered=lowered)
            first_alarms(total, one)
    yield from ((name, total.count(0) / (3 * each), total) for name, total in totals.items())


def own_tables(each: int) -> Result:
    """All kinds: averaged over references, each of which has a table of its own."""
    words, holds = [], True
    for kind in OWN:
        found = {name: (share, outcome) for name, share, outcome in shares(kind, each)}
        share, outcome = found.pop("")
        holds &= share <= 0.02 and outcome.same and all(other > 0.02 for other, _ in found.values())
        mutants = ", ".join(f"{name} {other:.3f}" for name, (other, _) in found.items())
        words.append(f"{kind}: {share:.4f}, {outcome.words(2)}; mutants {mutants}")
    text = (
        f"share of {3 * each} references each that alarmed in 50 ticks at 1 in 500 (promise .1, seed {SEEDS['own']}): "
    )
    return Result(text + " | ".join(words), holds, versions("numpy", "scipy"))


@bar("null, short: references of levels and integers at a tenth of the budget", "<= .02, the reference's ticks")
def own_short() -> Result:
    return own_tables(40)


@bar("null: references of levels and integers at a tenth of the budget", "<= .02, the reference's ticks", slow=True)
def own_long() -> Result:
    return own_tables(1_000)
