"""Daily and weekly patterns: no alarm with the strata that the reference shows, always one without; shifts are found.

28 days of reference and 28 days live, a tick a minute of 40 rows, three runs of each pattern, budget one false alarm
per 30 days and stream. The reference is built by the product from the rows; live rows are binned by its edges and go
through its engine. Without strata the same rows must alarm in every run, or the row is short.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.comparison import table_request
from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.strata import WORDS, kind_of
from pilotfish_agent.drift.tables import StreamTables, build
from pilotfish_agent.drift.tested import Tested, tested
from pilotfish_core.nouns import ObservationBatch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SEED = 9611
DAYS, ROWS, RUNS = 28, 40, 3
TICKS = DAYS * 1440
MONDAY = 345_600.0  # 5 January 1970
BUDGET = 43_200.0  # ticks of a minute in 30 days
SHIFTED = 3_000  # ticks within which a shift must be found
WANTED = {"none": "none", "sine": "hour", "weekday": "weekend_hour", "levels": "hour"}
"""Patterns, and the strata that tell them apart."""


def rows(pattern: str, first_day: int, rng: np.random.Generator, shift: float = 0.0, ticks: int = TICKS) -> Floats:
    """Rows (ticks, ROWS) from that day on; levels are the numbers 0 to 3."""
    minute = np.arange(ticks) + first_day * 1440
    wave = np.sin(2 * np.pi * (minute % 1440) / 1440)
    weekend = minute // 1440 % 7 >= 5
    if pattern == "levels":
        shares = np.array([0.4, 0.3, 0.2, 0.1]) + 0.1 * wave[:, None] * np.array([1.0, -1.0, 0.5, -0.5])
        shares += shift * np.array([0.0, 0.0, -1.0, 1.0])
        uniform = rng.random((ticks, ROWS))
        levels: Floats = (uniform[..., None] > np.cumsum(shares, axis=1)[:, None, :3]).sum(2).astype(np.float64)
        return levels
    mean = {"none": 0 * wave, "sine": 0.5 * wave, "weekday": np.where(weekend, -0.4, 0.5 * wave)}[pattern]
    values: Floats = rng.standard_normal((ticks, ROWS)) + mean[:, None] + shift
    return values


def times(first_day: int, ticks: int = TICKS) -> Floats:
    """Epoch seconds of all rows, (ticks * ROWS,)."""
    return np.repeat(MONDAY + 60.0 * (np.arange(ticks) + first_day * 1440), ROWS)


@dataclass(frozen=True, slots=True)
class Built:
    """The references of the runs of one pattern with their tables."""

    streams: Tested
    tables: Sequence[StreamTables]


def built(pattern: str, season: str) -> Built:
    """What the product makes of the rows of the reference."""
    builder = ReferenceBuilder(season=season)
    columns = {f"{pattern}{r}": rows(pattern, 0, drawn(pattern, r)).ravel() for r in range(RUNS)}
    builder.add(ObservationBatch("bars", None, "log", TICKS * ROWS, columns), times(0))
    streams = tested(builder.reference(created=0.0, independent=True), RUNS)
    specs = table_request(streams, Config(), {}).specs
    return Built(streams, build(specs, BUDGET, 1))


def drawn(pattern: str, run: int, part: int = 0) -> np.random.Generator:
    """The generator of one run: reference 0, live 1, shifted 2."""
    return np.random.default_rng([SEED, list(WANTED).index(pattern), run, part])


def counts(made: Built, run: int, values: Floats, first_day: int) -> Ints:
    """Bin counts of each tick (ticks, K) of one run."""
    hours = made.streams.strata.of(times(first_day, len(values))[::ROWS])
    size = len(made.streams.streams[run].counts)
    found = np.zeros((len(values), size), np.int64)
    for stratum in np.unique(hours).tolist():
        mine = np.flatnonzero(hours == stratum)
        ids = made.streams.binners(stratum)[run].ids(values[mine].ravel())
        flat = np.repeat(np.arange(len(mine)), ROWS) * size + ids
        found[mine] = np.bincount(flat, minlength=len(mine) * size).reshape(-1, size)
    return found


def crossings(made: Built, live: Sequence[Ints], first_day: int) -> Ints:
    """The tick at which each run crossed its line at level notice and alarm (2, RUNS), -1 where it never did."""
    strata = made.streams.strata
    engine = Engine([t.by_stratum(strata.count) or t for t in made.tables])
    hours = strata.of(times(first_day, len(live[0]))[::ROWS]).tolist()
    line = made.tables[0].log_threshold
    found = np.full((2, RUNS), -1)
    for t, hour in enumerate(hours):
        over = engine.step([one[t] for one in live], hour) >= line
        found[over & (found < 0)] = t
        if (found[1] >= 0).all():
            break
    return found


def measured(pattern: str, season: str) -> Ints:
    """Crossings of 28 days that are as the reference."""
    made = _built(pattern, season)
    live = [counts(made, r, rows(pattern, DAYS, drawn(pattern, r, 1)), DAYS) for r in range(RUNS)]
    return crossings(made, live, DAYS)


_built = functools.lru_cache(maxsize=2)(built)


def delay(pattern: str, shift: float) -> float:
    """Median rows until the shift is found at level notice."""
    made = _built(pattern, "auto")
    moved = [rows(pattern, DAYS, drawn(pattern, r, 2), shift, SHIFTED) for r in range(RUNS)]
    found = crossings(made, [counts(made, r, x, DAYS) for r, x in enumerate(moved)], DAYS)[0]
    return float(np.median(np.where(found < 0, np.inf, (found + 1) * ROWS)))


def row(pattern: str, shift: float, words: str) -> Result:
    """The row of one pattern."""
    kinds = [kind_of(s.strata) for s in _built(pattern, "auto").streams.streams]
    late = delay(pattern, shift)
    with_strata = (measured(pattern, "auto") >= 0).sum(1).tolist()
    text = f"strata {_counted([WORDS[k] for k in kinds])}; {with_strata[1]} of {RUNS} alarm, {with_strata[0]} notice"
    holds = with_strata[1] == 0 and late <= SHIFTED * ROWS and all(k == WANTED[pattern] for k in kinds)
    if WANTED[pattern] != "none":
        without = (measured(pattern, "none") >= 0).sum(1).tolist()
        text += f"; without strata {without[1]} alarm, {without[0]} notice"
        holds = holds and without[1] == RUNS
    return Result(f"{text}; {words} found in {late:,.0f} rows; seed {SEED}", holds, versions("numpy", "scipy"))


def _counted(words: Sequence[str]) -> str:
    found: Mapping[str, int] = {w: list(words).count(w) for w in dict.fromkeys(words)}
    return ", ".join(f"{w} ({n} of {len(words)})" for w, n in found.items())


@bar("season: no pattern, 28 d", "no strata; 0 of 3 alarm; +.25 sd found")
def plain() -> Result:
    """A stream without a pattern stays as it is."""
    return row("none", 0.25, "+.25 sd")


@bar("season: daily sine of .5 sd, 28 d", "by hour; 0 of 3 alarm, without strata 3 of 3; +.25 sd found")
def sine() -> Result:
    """The mean follows the hour of day."""
    return row("sine", 0.25, "+.25 sd")


@bar("season: weekday pattern, 28 d", "weekends apart; 0 of 3 alarm, without strata 3 of 3; +.25 sd found")
def weekday() -> Result:
    """Weekends are another world."""
    return row("weekday", 0.25, "+.25 sd")


@bar("season: levels by hour of day, 28 d", "by hour; 0 of 3 alarm, without strata 3 of 3; a level 10 -> 15 % found")
def levels() -> Result:
    """Shares of a categorical stream follow the hour of day."""
    return row("levels", 0.05, "a level 10 -> 15 %")
