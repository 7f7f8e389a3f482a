"""Thirty simulated days of streams that make other tests cry wolf, and a shift of .5 sd in each.

One reference of 28 days holds them all; the product chooses strata and measures dependence. A tick a minute of 40 rows.
Each stream has a budget of one false alarm in 30 days of its own, and starts anew after an alarm.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from benchmarks.bars import Result, bar, versions
from benchmarks.drift.season import ROWS, TICKS, Built, counts, times
from benchmarks.reference import nulls
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.comparison import table_request
from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.strata import WORDS, kind_of
from pilotfish_agent.drift.tables import StreamTables, TableSpec, build
from pilotfish_agent.drift.tested import tested
from pilotfish_core.nouns import ObservationBatch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Draw = Callable[[np.random.Generator, int, Floats, float], Floats]
"""(rng, rows, minute of each row, shift in sd) -> rows."""
SEED: Final = 9505
DAYS, MINUTES = 30, 1440
BUDGET: Final = DAYS * MINUTES
FIRST: Final = TICKS // MINUTES
SHIFT, PATIENCE = 0.5, 3_000
DEPENDENT: Final = ("autocorrelated", "rows x5")
SEASONAL: Final = ("daily sine", "weekday")
CARELESS: Final = 10 * MINUTES
"""Ticks of the mutants."""
SHARES: Final = np.array([0.5, 0.2, 0.15, 0.1, 0.05])
MOVED: Final = np.array([-1.0, 0.0, 0.0, 0.0, 1.0]) / math.sqrt(1 / 0.5 + 1 / 0.05)
"""Shares of the levels move like this at a chi distance of 1."""


def autocorrelated(rng: np.random.Generator, rows: int, _minute: Floats, shift: float) -> Floats:
    found: Floats = lfilter([1], [1, -0.9], rng.standard_normal(rows + 500) * math.sqrt(1 - 0.81))[500:] + shift
    return found


def repeated(rng: np.random.Generator, rows: int, _minute: Floats, shift: float) -> Floats:
    return np.repeat(rng.standard_normal(rows // 5 + 1), 5)[:rows] + shift


def daily(rng: np.random.Generator, rows: int, minute: Floats, shift: float) -> Floats:
    found: Floats = rng.standard_normal(rows) + 0.5 * np.sin(2 * np.pi * (minute % MINUTES) / MINUTES) + shift
    return found


def weekday(rng: np.random.Generator, rows: int, minute: Floats, shift: float) -> Floats:
    found: Floats = rng.standard_normal(rows) + np.where(minute // MINUTES % 7 >= 5, -0.4, 0.2) + shift
    return found


def heavy(rng: np.random.Generator, rows: int, _minute: Floats, shift: float) -> Floats:
    found: Floats = rng.standard_t(3, rows) + shift * math.sqrt(3)
    return found


def whole(rng: np.random.Generator, rows: int, _minute: Floats, shift: float) -> Floats:
    return rng.poisson(30 + shift * math.sqrt(30), rows).astype(np.float64)


def levels(rng: np.random.Generator, rows: int, _minute: Floats, shift: float) -> Floats:
    return rng.choice(len(SHARES), rows, p=SHARES + shift * MOVED).astype(np.float64)


STREAMS: Final[dict[str, Draw]] = {
    "autocorrelated": autocorrelated,
    "rows x5": repeated,
    "daily sine": daily,
    "weekday": weekday,
    "heavy-tailed": heavy,
    "whole numbers": whole,
    "levels": levels,
}


def drawn(name: str, part: int, first_day: int, ticks: int, shift: float = 0.0) -> Floats:
    """Rows (ticks, ROWS) of a stream; part 0 is the reference, 1 what is stable, 2 what has shifted."""
    rng = np.random.default_rng([SEED, list(STREAMS).index(name), part])
    minute = np.repeat(first_day * MINUTES + np.arange(ticks, dtype=np.float64), ROWS)
    return STREAMS[name](rng, ticks * ROWS, minute, shift).reshape(ticks, ROWS)


@functools.cache
def references(season: str, only: tuple[str, ...] = tuple(STREAMS)) -> tuple[Built, tuple[TableSpec, ...]]:
    """What the product makes of 28 days, in the order of its streams."""
    builder = ReferenceBuilder(season=season, tick_seconds=60.0)
    columns = {name: drawn(name, 0, 0, TICKS).ravel() for name in only}
    builder.add(ObservationBatch("bars", None, "log", TICKS * ROWS, columns), times(0))
    streams = tested(builder.reference(created=0.0), len(STREAMS))
    specs = tuple(table_request(streams, Config(), {}).specs)
    return Built(streams, build(specs, BUDGET, 1)), specs


def run(made: Built, tables: Sequence[StreamTables], ticks: Sequence[Ints], first_day: int) -> list[nulls.Alarm]:
    """Crossings, each stream a model of its own that starts anew."""
    strata = made.streams.strata
    engine = Engine([t.by_stratum(strata.count) or t for t in tables])
    found: list[nulls.Alarm] = []
    hours = strata.of(times(first_day, len(ticks[0]))[::ROWS]).tolist()
    for t, hour in enumerate(hours):
        over = engine.step([one[t] for one in ticks], hour) >= tables[0].log_threshold
        for f in np.flatnonzero(over.any(0)).tolist():
            found += [(t, f, v) for v in (0, 1) if over[v, f]]
            engine.reset(f)
    return found


def live(made: Built, part: int, ticks: int, shift: float = 0.0) -> list[Ints]:
    """Counts of the ticks of all streams after the reference."""
    names = [s.name for s in made.streams.streams]
    return [counts(made, f, drawn(n, part, FIRST, ticks, shift), FIRST) for f, n in enumerate(names)]


def delays(made: Built) -> dict[str, float]:
    """Rows until the shift is found at level notice."""
    moved, result = live(made, 2, PATIENCE, SHIFT), {}
    alarms = run(made, made.tables, moved, FIRST)
    for f, stream in enumerate(made.streams.streams):
        first = [t for t, g, v in alarms if g == f and v == 0]
        result[stream.name] = (first[0] + 1.0) * ROWS if first else math.inf
    return result


def counted(wanted: Sequence[str], made: Built, alarms: Sequence[nulls.Alarm]) -> dict[str, int]:
    """Alarms of some streams."""
    names = [s.name for s in made.streams.streams]
    return {n: sum(names[f] == n for _, f, _ in alarms) for n in wanted}


@bar(
    "30 simulated days of dependent, seasonal, heavy-tailed and discrete streams",
    "within the limit; .5 sd found in each",
)
def month() -> Result:
    made, specs = references("auto")
    stable = live(made, 1, BUDGET)
    alarms = run(made, made.tables, stable, FIRST)
    naive = build([dataclasses.replace(s, phi=1.0) for s in specs], BUDGET, 1)
    careless = counted(DEPENDENT, made, run(made, naive, [c[:CARELESS] for c in stable], FIRST))
    flat, _ = references("none", SEASONAL)
    careless |= counted(SEASONAL, flat, run(flat, flat.tables, live(flat, 1, CARELESS), FIRST))
    names = [s.name for s in made.streams.streams]
    most, late = nulls.limit(len(names)), delays(made)
    strata = {s.name: WORDS[kind_of(s.strata)] for s in made.streams.streams if s.strata > 1}
    which = [names[f] for _, f, v in alarms if v == 0]
    text = f"{len(which)} notices ({', '.join(which)}), {len(alarms) - len(which)} alarms of {len(names)} streams "
    text += f"(limit {most}); .5 sd found after " + ", ".join(f"{n} {rows:,.0f}" for n, rows in late.items()) + " rows"
    text += f"; strata {strata}; mutants phi = 1, no strata, 10 days: " + ", ".join(
        f"{n} {k}" for n, k in careless.items()
    )
    holds = len(alarms) <= most and all(rows < math.inf for rows in late.values()) and min(careless.values()) > most
    return Result(f"{text}; seed {SEED}", holds, versions("numpy", "scipy"))
