"""Rows without a shift: what the null rows of the detector are fed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtr
from scipy.stats import poisson

from benchmarks.reference import nulls, tables
from benchmarks.reference.tables import Floats
from pilotfish_agent.drift.dependence import Phi
from pilotfish_agent.drift.tables import TableSpec

Ints = NDArray[np.int64]
ROWS = 100  # a tick


def drawn(seed: Sequence[int], masses: Floats, ticks: int) -> Iterator[Ints]:
    """Ticks of counts (F, K): the same ones for the same seed, so that mutants see what the detector saw."""
    rng = np.random.default_rng(seed)
    for _ in range(ticks):
        yield rng.multinomial(ROWS, masses)


def uneven(seed: Sequence[int], masses: list[Floats], ticks: int) -> Iterator[list[Ints]]:
    """Ticks of streams that differ in their number of bins."""
    rng = np.random.default_rng(seed)
    for _ in range(ticks):
        yield [rng.multinomial(ROWS, p) for p in masses]


def scenarios(m: int, each: int, rng: np.random.Generator) -> Iterator[tuple[TableSpec, Floats]]:
    """(reference, true masses) of streams with rare bins, levels and ties."""
    zipf = 1 / np.arange(1, 21)
    zipf /= zipf.sum()
    table = nulls.continuous(m, 1000.0, 1)
    k = len(table.pi)
    for _ in range(each):
        for rate in (0.0, 1e-4, 1e-2):
            masses = np.concatenate((nulls.true_masses(rng, table, 1)[0] * (1 - rate), [rate, 0, 0]))
            counts = np.concatenate((table.counts, [rng.binomial(m, rate), 0, 0])).astype(np.float64)
            yield TableSpec("missing", "numeric", counts, (k, k + 1, k + 2)), masses
        for other in (0.0, 3e-4):
            masses = np.concatenate((zipf * (1 - other), [other, 0]))
            yield TableSpec("zipf", "categorical", rng.multinomial(m, masses).astype(np.float64)), masses
        values = rng.poisson(30, m).astype(np.float64)
        edges = tables.edges(values)
        below = np.concatenate(([0.0], poisson.cdf(edges, 30), [1.0]))
        yield TableSpec("integers", "numeric", tables.counts_in(edges, values)), np.diff(below)


def wobbling(seed: Sequence[int], edges: Floats, size: float, ticks: int) -> Iterator[Ints]:
    """Normal rows whose mean is drawn anew each 10 ticks; edges (F, K - 1) in standard deviations."""
    rng = np.random.default_rng(seed)
    for t in range(ticks):
        if t % 10 == 0:
            inner = ndtr(edges - rng.normal(0, size, (len(edges), 1)))
            masses = np.diff(np.pad(inner, ((0, 0), (1, 0))), axis=1, append=1.0)
        yield rng.multinomial(ROWS, masses)


def follow(rho: float) -> Callable[[np.random.Generator, int], Floats]:
    """Autoregressive rows."""

    def rows(rng: np.random.Generator, n: int) -> Floats:
        noise = rng.standard_normal(n + 2_000) * math.sqrt(1 - rho * rho)
        found: Floats = lfilter([1], [1, -rho], noise)[2_000:]
        return found

    return rows


KINDS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "AR(.5)": follow(0.5),
    "AR(.9)": follow(0.9),
    "AR(.99)": follow(0.99),
    "rows x5": lambda rng, n: np.repeat(rng.standard_normal(n // 5 + 1), 5)[:n],
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "lognormal(2)": lambda rng, n: np.exp(2 * rng.standard_normal(n)),
    "5 levels": lambda rng, n: rng.choice(5, n, p=[0.5, 0.2, 0.15, 0.1, 0.05]).astype(np.float64),
}
DEPENDENT = ("AR(.5)", "AR(.9)", "AR(.99)", "rows x5")
REFERENCE_ROWS, LEARNING_TICKS = 60_000, 1_600


def dependent_stream(
    kind: str, rng: np.random.Generator, ticks: int, *, online: bool
) -> tuple[TableSpec, NDArray[np.int64]]:
    """(reference with its learnt phi, live counts (ticks, K)); online: phi from the first 1,600 live ticks."""
    rows = KINDS[kind](rng, REFERENCE_ROWS)
    live = KINDS[kind](rng, (ticks + LEARNING_TICKS * online) * ROWS)
    levels = kind == "5 levels"
    edges = np.arange(4.0) if levels else tables.edges(rows)

    def counted(x: Floats) -> NDArray[np.int64]:
        bins = np.searchsorted(edges, x, side="left").reshape(-1, ROWS)
        grid = np.zeros((len(bins), len(edges) + (3 if levels else 1)), np.int64)  # levels: other and missing
        np.add.at(grid, (np.arange(len(bins))[:, None], bins), 1)
        return grid

    old, new = counted(rows), counted(live)
    counts = old.sum(0)
    padding = np.zeros(0 if levels else 3)  # Phi of a numeric stream takes its last three bins for special ones
    phi = Phi(kind, np.concatenate((counts, padding)), numeric=not levels, levels=[] if not levels else list("abcde"))
    for tick in new[:LEARNING_TICKS] if online else old:
        phi.add(np.concatenate((tick, padding)))
    spec = TableSpec(kind, "categorical" if levels else "numeric", counts.astype(np.float64), (), phi.value())
    return spec, new[LEARNING_TICKS * online :]
