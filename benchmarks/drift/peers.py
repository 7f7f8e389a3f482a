"""Against other detectors on the same streams: short runs against KS, and the whole table of ``make bench-drift``."""

from __future__ import annotations

import math

from benchmarks.bars import Result, bar, versions
from benchmarks.peers import table, worlds
from benchmarks.peers.drivers import pilotfish, scipy_ks
from benchmarks.peers.protocol import Found, window_delays
from benchmarks.peers.worlds import World
from benchmarks.reference import nulls
from pilotfish_agent.drift.tables import StreamTables

COLUMNS = 50
TICKS, EXPECTED, SEED = 20_000, 20, 9503


def ours_and_ks(world: World, *, ks: bool) -> dict[str, list[int | None]]:
    """Delays of both levels, and of KS with each window."""
    found = dict(zip(pilotfish.NAMES, pilotfish.delays(world), strict=True))
    assert world.shifts is not None
    for rows in scipy_ks.WINDOWS if ks else ():
        judge = scipy_ks.at_budget(world.reference, world.kind, rows)
        found[scipy_ks.fixed(rows)] = window_delays(judge, world.windows(rows), world.shifts)
    return found


def short_run() -> dict[str, Found]:
    """As the table has it, with more columns, without the peers that need an interpreter of their own."""
    found: dict[str, Found] = {}
    for name in worlds.SHIFTS:
        world = worlds.shifted(name, COLUMNS)
        for detector, delays in ours_and_ks(world, ks=name in (*table.MEANS, *table.TIMES)).items():
            found.setdefault(detector, Found()).delays[name] = delays
    found[table.BEST] = table.hindsight(found)
    return found


def row(claims: list[table.Verdict], text: str, with_versions: str) -> Result:
    words = "; ".join(f"{c.claim}: {c.measured}" for c in claims)
    return Result(f"{words}; {text}", all(c.holds for c in claims), with_versions)


@bar(
    "peers: rows to detect, KS with its best window in hindsight",
    "all found; sooner on every mean, >= 5x on variance, >= 3x on bimodal",
)
def against_ks() -> Result:
    what = f"medians of {COLUMNS} columns, m = 10,000, min_effect 0, one alarm in 30 days, seed {worlds.SEED}"
    return row(table.verdicts(short_run()), what, versions("numpy", "scipy"))


@bar("peers: the stable streams of the table, short", "<= 31 alarms at a budget of 20")
def stable() -> Result:
    """The month of the table in short: a budget that expects 20 alarms, and mutants that must not keep it."""
    columns, masses = pilotfish.stable_streams()
    tables = pilotfish.tables_of(columns, TICKS / EXPECTED)

    def alarms(mutant: list[StreamTables], lowered: float = 0.0) -> int:
        ticks = pilotfish.drawn(masses, TICKS, SEED)
        return nulls.run(mutant, ticks, oracle=False, lowered=lowered).count(0)

    found, most = alarms(tables), nulls.limit(EXPECTED)
    mutants = {
        "lam = 0": alarms([nulls.without_penalty(t) for t in tables]),
        "T - log 100": alarms(tables, math.log(100)),
    }
    words = ", ".join(f"{name}: {n}" for name, n in mutants.items())
    text = f"{found} alarms of {len(tables)} columns x {TICKS:,} ticks, seed {SEED}; mutants {words}"
    return Result(text, found <= most < min(mutants.values()), versions("numpy"))


@bar(
    "peers: the table of make bench-drift",
    "within budget; all found; sooner than the best KS on every mean, >= 5x on variance, >= 3x on bimodal",
    slow=True,
)
def whole() -> Result:
    found = table.measure(worlds.ROWS_A_DAY, 1)
    rates = ", ".join(f"{n} {table.alarms_a_day(found[n]):,.0f}" for n in table.order(found))
    claims = [table.within_budget(found), *table.verdicts(found)]
    return row(claims, f"alarms a day on stable data: {rates}", table.versions())
