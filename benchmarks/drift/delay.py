"""How many rows until a shift is found (docs/statistics.md): every line of the table, both levels, the live engine.

References of 10,000 rows, 100 streams on one budget of an alarm in 43,200 ticks, 100 rows a tick, 100 ticks before the
shift. Medians over streams that have references of their own (of 40 streams they would vary by a fifth from seed to
seed); a stream that is not found counts as never.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr

from benchmarks.bars import Result, bar, versions
from benchmarks.reference import nulls
from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.tables import StreamTables, TableSpec, build

Floats = NDArray[np.float64]
SEED: Final = 9602
REFERENCE_ROWS, BUDGET, STREAMS = 10_000, 43_200.0, 100
ROWS, BEFORE = 100, 100
SILENT: Final = math.inf
ANY: Final = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        what: the shift, in words.
        notice, alarm: at most so many rows in the median; `SILENT`: not found; `ANY`: printed only.
    """

    what: str
    notice: float | None
    alarm: float | None


@dataclass(frozen=True, slots=True)
class Case:
    """Streams before and after a shift: masses (R, K) each, and their tables."""

    line: Line
    tables: Sequence[StreamTables]
    before: Floats
    after: Floats


NUMERIC: Final[dict[Line, Callable[[Floats], Floats]]] = {
    Line("mean .1", 6_800, SILENT): lambda x: ndtr(x - 0.1),
    Line("mean .25", 800, 2_500): lambda x: ndtr(x - 0.25),
    Line("mean .5", 200, 400): lambda x: ndtr(x - 0.5),
    Line("sd 1.1", 3_300, ANY): lambda x: ndtr(x / 1.1),
    Line("sd 1.25", 500, 1_200): lambda x: ndtr(x / 1.25),
    Line("sd .8", 600, 1_400): lambda x: ndtr(x / 0.8),
    Line("2 % outliers at 6 sd", 2_100, ANY): lambda x: 0.98 * ndtr(x) + 0.02 * ndtr(x / 6),
    Line("t3, unit variance", 800, 2_000): lambda x: stdtr(3, x * 3**0.5),
    Line("bimodal", 1_200, 6_000): lambda x: 0.5 * ndtr((x - 0.8) / 0.6) + 0.5 * ndtr((x + 0.8) / 0.6),
}
MISSING: Final = {Line("missing 1 -> 2 %", 12_500, ANY): 0.02, Line("missing 1 -> 5 %", 700, ANY): 0.05}
SWAPS: Final = {
    Line("Zipf swap 1<->2", 450, ANY): (0, 1),
    Line("Zipf swap 4<->9", 1_700, ANY): (3, 8),
    Line("Zipf swap 10<->20", 5_500, ANY): (9, 19),
}
UNSEEN: Final = {
    Line("unseen category 2 %", 500, ANY): 0.02,
    Line("unseen category 1 %", ANY, ANY): 0.01,
    Line("unseen category .2 %", ANY, SILENT): 0.002,
}


def cases(count: int) -> Iterator[Case]:
    """All lines, of ``count`` streams each."""
    rng = np.random.default_rng([SEED, count])
    table = nulls.continuous(REFERENCE_ROWS, BUDGET, STREAMS)
    masses = nulls.true_masses(rng, table, count)
    edges = ndtri(np.cumsum(masses, axis=1)[:, :-1])
    for line, cdf in NUMERIC.items():
        after = np.diff(cdf(edges), axis=1, prepend=0.0, append=1.0)
        yield Case(line, [table] * count, masses, after)
    made = with_missing(rng, table, count)
    for line, share in MISSING.items():
        yield Case(line, made, missing(masses, 0.01), missing(masses, share))
    zipf = np.append(1 / np.arange(1, 21) / (1 / np.arange(1, 21)).sum(), [0.0, 0.0])
    counts = rng.multinomial(REFERENCE_ROWS, zipf, count).astype(np.float64)
    levels = build([TableSpec("zipf", "categorical", one) for one in counts], BUDGET, STREAMS)
    for line, pair in SWAPS.items():
        swapped = zipf.copy()
        swapped[list(pair)] = zipf[list(reversed(pair))]
        yield Case(line, levels, np.tile(zipf, (count, 1)), np.tile(swapped, (count, 1)))
    for line, share in UNSEEN.items():
        new = np.append(zipf[:20] * (1 - share), [share, 0.0])
        yield Case(line, levels, np.tile(zipf, (count, 1)), np.tile(new, (count, 1)))


def with_missing(rng: np.random.Generator, table: StreamTables, count: int) -> list[StreamTables]:
    """Tables of references in which about 1 % is missing."""
    size = len(table.pi)
    special = (size, size + 1, size + 2)
    absent = rng.binomial(REFERENCE_ROWS, 0.01, count)
    specs = [TableSpec("x", "numeric", np.append(table.counts, [n, 0.0, 0.0]), special) for n in absent.tolist()]
    return build(specs, BUDGET, STREAMS)


def missing(masses: Floats, share: float) -> Floats:
    """The masses when a share of the rows is missing."""
    special = np.tile([share, 0.0, 0.0], (len(masses), 1))
    return np.hstack((masses * (1 - share), special))


def delays(case: Case, ticks: int) -> Floats:
    """Rows to both levels (2, R), infinite where a level was not reached within ``ticks``."""
    engine, line = Engine(case.tables), case.tables[0].log_threshold
    rng = np.random.default_rng([SEED, *case.line.what.encode()])
    found = np.full((2, len(case.tables)), np.inf)
    before, after = (masses / masses.sum(1, keepdims=True) for masses in (case.before, case.after))
    for _ in range(BEFORE):
        engine.step(rng.multinomial(ROWS, before))
    for tick in range(1, ticks + 1):
        over = engine.step(rng.multinomial(ROWS, after)) >= line
        found[over & np.isinf(found)] = tick * ROWS
        if np.isfinite(found).all():
            break
    return found


def keeps(limit: float | None, median: float) -> bool:
    """Whether a median keeps to the line's limit."""
    if limit is ANY:
        return True
    return math.isinf(median) if math.isinf(limit) else median <= limit


def table(count: int, ticks: int) -> Result:
    """All lines; the row is short where one is."""
    words, short = [], []
    for case in cases(count):
        medians = np.median(delays(case, ticks), axis=1).tolist()
        limits = (case.line.notice, case.line.alarm)
        both = ("-" if math.isinf(m) else f"{m:,.0f}" for m in medians)
        words.append(f"{case.line.what}: {' · '.join(both)}")
        if not all(keeps(limit, median) for limit, median in zip(limits, medians, strict=True)):
            short.append(case.line.what)
    text = f"rows to notice · alarm, {count} streams of up to {ticks * ROWS:,} rows, seed {SEED}: {'; '.join(words)}"
    return Result(text + (f"; SHORT: {', '.join(short)}" if short else ""), not short, versions("numpy", "scipy"))


LIMITS: Final = "; ".join(
    f"{line.what} <= {line.notice:,.0f}"
    + ("" if line.alarm is ANY else " · silent" if math.isinf(line.alarm) else f" · {line.alarm:,.0f}")
    for line in [*NUMERIC, *MISSING, *SWAPS, *UNSEEN]
    if line.notice is not ANY
)


@bar("delay of every shift of the table", f"{LIMITS}; unseen category .2 % silent at level alarm")
def short_table() -> Result:
    return table(200, 600)


@bar("delay of every shift of the table, long", f"{LIMITS}; unseen category .2 % silent at level alarm", slow=True)
def long_table() -> Result:
    return table(400, 3_000)
