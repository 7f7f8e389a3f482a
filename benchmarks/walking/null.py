"""Null rows of the detector: no shift, so alarms must stay within the budget; blinded or careless mutants must not.

Every row runs at a budget at which 20 alarms are expected at the budget (where it says so: at a tenth of one), prints
the alarm ticks of the reference implementation on the same counts, which must be the same, and runs mutants that must
make it short. Seeds are fixed. 100 rows a tick. Daily and weekly patterns come with seasonality.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from benchmarks.bars import Result, bar, versions
from benchmarks.reference import nulls, tables
from benchmarks.reference.nulls import Outcome, run, without_gate, without_penalty
from benchmarks.reference.streams import (
    DEPENDENT,
    KINDS,
    ROWS,
    dependent_stream,
    drawn,
    scenarios,
    uneven,
    wobbling,
)
from pilotfish_agent.drift.tables import StreamTables, build

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EXPECTED = 20
SHORT, LONG, MONTH = 1_000, 21_600, 43_200
LOWERED = math.log(100)
SEEDS = {
    "masses": 9401,
    "tenth": 9402,
    "special": 9403,
    "dependence": 9404,
    "wobble": 9405,
    "learn": 9406,
    "model": 9407,
}


def judged(outcome: Outcome, mutants: dict[str, int], most: int, *, level: int = 0, what: str = "") -> Result:
    """The row: alarms within the limit, at the reference's ticks, and every mutant over the limit."""
    words = ", ".join(f"{name}: {n}" for name, n in mutants.items())
    holds = outcome.count(level) <= most and outcome.same and all(n > most for n in mutants.values())
    text = f"{outcome.count(level)} alarms{what}, {outcome.words()}, scores within {outcome.difference:.0e}"
    return Result(f"{text}; mutants {words}", holds, versions("numpy", "scipy"))


# -- known masses and finite references


def references(m: int, ticks: int, mutants: Sequence[str]) -> Result:
    """100 streams, each with a reference of m rows of its own (0: the masses are known)."""
    table = nulls.continuous(m or 100_000, ticks / EXPECTED, 100)
    seed = [SEEDS["masses"], m, ticks]
    masses = nulls.true_masses(np.random.default_rng(seed), table, 100)
    if not m:
        masses = np.tile(table.counts / table.counts.sum(), (100, 1))
        table = nulls.with_known_masses(table)

    def alarms(mutant: StreamTables, lowered: float = 0.0) -> int:
        return run([mutant] * 100, drawn(seed, masses, ticks), lowered=lowered, oracle=False).count(0)

    found = {"lam = 0": lambda: alarms(without_penalty(table)), "T - log 100": lambda: alarms(table, LOWERED)}
    outcome = run([table] * 100, drawn(seed, masses, ticks), known=not m)
    whole = f" of 100 streams x {ticks:,} ticks, budget {EXPECTED}, seed {seed[0]}"
    return judged(outcome, {name: found[name]() for name in mutants}, nulls.limit(EXPECTED), what=whole)


@bar("null, short: known masses", "<= 31 alarms (99 % Poisson limit of the budget), the reference's ticks")
def known() -> Result:
    return references(0, SHORT, ["T - log 100"])


@bar("null, short: references of 1,000 rows", "<= 31 alarms, the reference's ticks")
def thousand() -> Result:
    return references(1_000, SHORT, ["lam = 0", "T - log 100"])


@bar("null, short: references of 10,000 rows", "<= 31 alarms, the reference's ticks")
def ten_thousand() -> Result:
    return references(10_000, SHORT, ["T - log 100"])


@bar("null, short: references of 100,000 rows", "<= 31 alarms, the reference's ticks")
def hundred_thousand() -> Result:
    return references(100_000, SHORT, ["T - log 100"])


@bar("null: known masses", "<= 31 alarms, the reference's ticks", slow=True)
def known_long() -> Result:
    return references(0, LONG, ["T - log 100"])


@bar("null: references of 1,000 rows", "<= 31 alarms, the reference's ticks", slow=True)
def thousand_long() -> Result:
    # a line lowered by log 100 has no power over months here: the penalty of a small reference keeps 17 under 31
    return references(1_000, LONG, ["lam = 0"])


@bar("null: references of 10,000 rows", "<= 31 alarms, the reference's ticks", slow=True)
def ten_thousand_long() -> Result:
    return references(10_000, LONG, ["lam = 0", "T - log 100"])


@bar("null: references of 100,000 rows", "<= 31 alarms, the reference's ticks", slow=True)
def hundred_thousand_long() -> Result:
    return references(100_000, LONG, ["T - log 100"])


@bar("null: the line of the whole model", "0 of 5 runs", slow=True)
def model_line() -> Result:
    """Five months of 100 streams at one alarm a month over all: the stricter rule, without the reference beside it."""
    table, found = nulls.continuous(10_000, MONTH, 100), []
    for number in range(5):
        seed = [SEEDS["model"], number]
        masses = nulls.true_masses(np.random.default_rng(seed), table, 100)
        found += run([table] * 100, drawn(seed, masses, MONTH), oracle=False).alarms
    whole = sum(f < 0 for _, f, _ in found)
    text = f"{whole} of 5 runs of {MONTH:,} ticks x 100 streams at a budget of 1 a run; {len(found) - whole} streams"
    return Result(f"{text} alarmed by themselves (seed {SEEDS['model']})", whole == 0, versions("numpy"))


# -- many references at a tenth of a budget


def tenth(each: int) -> Result:
    """Alarms within 50 ticks at a budget of one alarm in 500, averaged over references."""
    sizes, most = (300, 500, 1_000, 5_000, 10_000), 0.02
    outcome, careless, low = Outcome(wanted=[]), 0, 0
    for m in sizes:
        table = nulls.continuous(m, 500.0, 1)
        for first in range(0, each, 250):
            seed = [SEEDS["tenth"], m, first]
            count = min(250, each - first)
            masses = nulls.true_masses(np.random.default_rng(seed), table, count)
            one = run([table] * count, drawn(seed, masses, 50), model=False)
            first_alarms(outcome, one)
            blind = run([without_penalty(table)] * count, drawn(seed, masses, 50), oracle=False, model=False)
            careless += len({f for _, f, v in blind.alarms if not v})
            lowered = run([table] * count, drawn(seed, masses, 50), oracle=False, model=False, lowered=LOWERED)
            low += len({f for _, f, v in lowered.alarms if not v})
    total = each * len(sizes)
    share = outcome.count(0) / total
    shares = {"lam = 0": careless / total, "T - log 100": low / total}
    holds = 0 < share <= most and outcome.same and all(s > most for s in shares.values())
    text = f"{share:.4f} of {total:,} references alarmed (promise .1), {outcome.words()}"
    mutants = ", ".join(f"{name}: {s:.3f}" for name, s in shares.items())
    return Result(f"{text}, scores within {outcome.difference:.0e}; mutants {mutants}", holds, versions("numpy"))


def first_alarms(total: Outcome, one: Outcome) -> None:
    """Adds the first alarm of each reference at level notice."""
    for source, into in ((one.alarms, total.alarms), (one.wanted or [], total.wanted)):
        firsts: dict[int, nulls.Alarm] = {}
        for alarm in source:
            if not alarm[2]:
                firsts.setdefault(alarm[1], alarm)
        if into is not None:
            into.extend(firsts.values())
    total.difference = max(total.difference, one.difference)


@bar("null, short: 1,000 references at a tenth of a 500-tick budget", "> 0 and <= .02, the reference's ticks")
def tenth_short() -> Result:
    return tenth(200)


@bar("null: 10,000 references at a tenth of a 500-tick budget", "> 0 and <= .02, the reference's ticks", slow=True)
def tenth_long() -> Result:
    return tenth(2_000)


# -- special bins, levels, integers


def special(each: int, ticks: int) -> Result:
    """Missing values never, rarely, often; Zipf levels with and without others; integers: m = 1,000 and 10,000."""
    seed = [SEEDS["special"], each]
    rng = np.random.default_rng(seed)
    pairs = [pair for m in (1_000, 10_000) for pair in scenarios(m, each, rng)]
    made, masses = build([spec for spec, _ in pairs], ticks / EXPECTED), [p for _, p in pairs]
    outcome = run(made, uneven(seed, masses, ticks))
    blind = run([without_penalty(t) for t in made], uneven(seed, masses, ticks), oracle=False)
    low = run(made, uneven(seed, masses, ticks), oracle=False, lowered=LOWERED)
    whole = f" of {len(made)} streams x {ticks:,} ticks, budget {EXPECTED}, seed {seed[0]}"
    mutants = {"lam = 0": blind.count(0), "T - log 100": low.count(0)}
    return judged(outcome, mutants, nulls.limit(EXPECTED), what=whole)


@bar("null, short: special bins, Zipf levels, integers", "<= 31 alarms, the reference's ticks")
def special_short() -> Result:
    return special(3, SHORT)


@bar(
    "null: special bins, Zipf levels, integers (a tenth of 600 streams)",
    "<= 31 alarms, the reference's ticks",
    slow=True,
)
def special_long() -> Result:
    return special(5, LONG)


# -- dependent, heavy-tailed and discrete rows


def dependence(runs: int, ticks: int, modes: Sequence[bool]) -> Result:
    """Each kind of rows, each stream a model of its own."""
    names = [(kind, number, online) for kind in KINDS for number in range(runs) for online in modes]
    pairs = [
        dependent_stream(kind, np.random.default_rng([SEEDS["dependence"], number, online, i]), ticks, online=online)
        for i, (kind, number, online) in enumerate(names)
    ]
    budget = ticks * len(pairs) / EXPECTED
    made, live = build([spec for spec, _ in pairs], budget, 1), [counts for _, counts in pairs]
    outcome = run(made, ([c[t] for c in live] for t in range(ticks)), model=False)
    naive = [(dataclasses.replace(s, phi=1.0), c) for s, c in pairs if s.name in DEPENDENT]
    untempered = build([spec for spec, _ in naive], budget, 1)
    mutant = run(untempered, ([c[t] for _, c in naive] for t in range(ticks)), model=False, oracle=False)
    phis = ", ".join(f"{kind} {np.median([s.phi for s, _ in pairs if s.name == kind]):.3g}" for kind in KINDS)
    whole = f" of {len(pairs)} streams x {ticks:,} ticks, budget {EXPECTED}, seed {SEEDS['dependence']}, phi {phis}"
    return judged(outcome, {"phi = 1": mutant.count(0)}, nulls.limit(EXPECTED), what=whole)


@bar("null, short: dependent, heavy-tailed and discrete rows", "<= 31 alarms, the reference's ticks")
def dependence_short() -> Result:
    return dependence(1, SHORT, [False])


@bar(
    "null: dependent, heavy-tailed and discrete rows, phi from the reference and online",
    "<= 31 alarms, the reference's ticks",
    slow=True,
)
def dependence_long() -> Result:
    return dependence(8, 3_000, [False, True])


# -- a mean that is never still


def wobble(m: int, ticks: int) -> Result:
    """20 streams at level alarm: .05 sd is inside the minimum effect; without the gate .08 sd must alarm."""
    table, seed = nulls.continuous(m, ticks / EXPECTED, 20), [SEEDS["wobble"], m, ticks]
    masses = nulls.true_masses(np.random.default_rng(seed), table, 20)
    edges = ndtri(np.clip(np.cumsum(masses, axis=1)[:, :-1], 1e-12, 1 - 1e-12))
    outcome = run([table] * 20, wobbling(seed, edges, 0.05, ticks))
    gated = run([table] * 20, wobbling(seed, edges, 0.08, ticks), oracle=False).count(1)
    ungated = run([without_gate(table)] * 20, wobbling(seed, edges, 0.08, ticks), oracle=False)
    whole = (
        f" at level alarm ({outcome.count(0)} notices; {gated} alarms at .08 sd) of 20 streams x {ticks:,} ticks, "
        f"m = {m:,}, budget {EXPECTED}, seed {seed[0]}"
    )
    return judged(outcome, {"no gate, .08 sd": ungated.count(1)}, nulls.limit(EXPECTED), level=1, what=whole)


@bar("null, short: mean that wobbles by .05 sd", "<= 31 alarms, the reference's ticks")
def wobble_short() -> Result:
    return wobble(100_000, SHORT)


@bar("null: mean that wobbles by .05 sd, references of 10,000 rows", "<= 31 alarms, the reference's ticks", slow=True)
def wobble_ten_thousand() -> Result:
    return wobble(10_000, LONG)


@bar("null: mean that wobbles by .05 sd, references of 100,000 rows", "<= 31 alarms, the reference's ticks", slow=True)
def wobble_hundred_thousand() -> Result:
    return wobble(100_000, LONG)


# -- learn-in


REBUILT = (500, 1_000, 2_000, 5_000, 5_500)
"""Rows at which a provisional reference is built anew; after the last one the 50 ticks are over."""


def learnt(runs: int, mutant: Callable[[StreamTables], StreamTables] | None = None) -> Outcome:
    """Models that learn their own reference; each alarms once at most. Evidence restarts with each reference."""
    rng, total = np.random.default_rng(SEEDS["learn"]), Outcome(wanted=[])
    rows = rng.standard_normal((runs, REBUILT[-1]))
    for m, following in itertools.pairwise(REBUILT):
        table = nulls.continuous(m, 500.0, 1)
        edges = [tables.edges(x[:m]) for x in rows]
        ticks = (
            np.array([tables.counts_in(e, x[t : t + ROWS]) for e, x in zip(edges, rows, strict=True)]).astype(np.int64)
            for t in range(m, following, ROWS)
        )
        used = table if mutant is None else mutant(table)
        first_alarms(total, run([used] * runs, ticks, oracle=mutant is None, model=False))
    return total


def learn_in(runs: int) -> Result:
    outcome, careless = learnt(runs), learnt(runs, without_penalty)
    share, other = (len({f for _, f, _ in o.alarms}) / runs for o in (outcome, careless))
    text = f"{share:.4f} of {runs:,} models alarmed in 50 ticks (promise .1), {outcome.words()}"
    text += f", scores within {outcome.difference:.0e}; mutant lam = 0: {other:.3f} (seed {SEEDS['learn']})"
    return Result(text, share <= 0.02 < other and outcome.same, versions("numpy"))


@bar("null, short: learn-in from 500 rows at a tenth of the budget", "<= .02, the reference's ticks")
def learn_in_short() -> Result:
    return learn_in(400)


@bar("null: learn-in from 500 rows at a tenth of the budget", "<= .02, the reference's ticks", slow=True)
def learn_in_long() -> Result:
    return learn_in(2_000)
