"""What the engine keeps of a stream: golden vectors in both precisions, bytes of state and of tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.bars import Result, bar, versions
from benchmarks.walking.detector import deviation, streams_of_their_own, tables_deviations, tick_deviations
from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.feature_reference import FeatureReference
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.tables import StreamTables, TableSpec, build
from pilotfish_agent.drift.tested import tested
from pilotfish_agent.drift.window import Window
from tests.drift_math import golden

SEED = 9603
LEVELS, LEVEL_STREAMS = 63, 20
"""63 levels, other and missing."""
KIB = 1024.0


@bar("golden vectors, float64", "largest deviation <= 1e-9")
def exact() -> Result:
    found = dict([*tables_deviations(), *tick_deviations()])
    worst = max(found, key=lambda key: found[key])
    return Result(
        f"{found[worst]:.1e} ({worst}) over {len(found)} keys", found[worst] <= 1e-9, versions("numpy", "scipy")
    )


@bar("golden vectors, float32 as it runs live", "largest deviation <= 1e-4, relative above 1")
def live() -> Result:
    wanted, ticks = golden.vectors(), golden.ticks()
    counts = np.array(wanted["engine_cat"]["counts"])
    found = {
        "engine": deviation(both(golden.numeric(), ticks), wanted["engine"]["scores"]),
        "engine_phi": deviation(
            both(golden.numeric(wanted["engine_phi"]["phi"]), ticks)[:, 0], wanted["engine_phi"]["scores"]
        ),
        "engine_cat": deviation(both(golden.categorical(), counts)[:, 0], wanted["engine_cat"]["scores"]),
    }
    words = ", ".join(f"{key} {value:.1e}" for key, value in found.items())
    return Result(words, max(found.values()) <= 1e-4, versions("numpy"))


def both(table: StreamTables, ticks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores of both levels, (ticks, 2)."""
    engine = Engine([table])
    return np.array([engine.step([tick])[:, 0] for tick in ticks])


# -- bytes


def arrays(holder: object, seen: set[int]) -> Iterator[NDArray[np.generic]]:
    """Every array that an object of ours holds, each once; a view counts as what it is a view of."""
    if isinstance(holder, np.ndarray):
        while isinstance(holder.base, np.ndarray):
            holder = holder.base
    if id(holder) in seen:
        return
    seen.add(id(holder))
    if isinstance(holder, np.ndarray):
        yield holder
    elif isinstance(holder, Mapping):
        for value in holder.values():
            yield from arrays(value, seen)
    elif isinstance(holder, Sequence) and not isinstance(holder, str | bytes):
        for value in holder:
            yield from arrays(value, seen)
    elif type(holder).__module__.startswith("pilotfish_agent."):
        names = [*getattr(holder, "__dict__", ()), *(getattr(type(holder), "__slots__", ()))]
        for name in names:
            yield from arrays(getattr(holder, name), seen)


def sizes(tables: Sequence[StreamTables]) -> tuple[float, float]:
    """(state, tables) of a stream, bytes: what changes with the rows, and everything else that the engine holds."""
    engine, seen = Engine(tables), set[int]()
    state = [
        array
        for group in engine._groups
        for part in (group.evidence, group._sudden, group.coarse.counts, group.fine.counts, vars(group.since))
        for array in arrays({k: v for k, v in part.items() if k[0] != "_"} if isinstance(part, dict) else part, seen)
    ]
    window = Window(tested(reference_of(tables), len(tables)))
    state += [window.counts, window.squares, window.seen]
    scores = 2 * 8  # of the last tick
    held = list(arrays([engine, tables], seen))
    return sum(a.nbytes for a in state) / len(tables) + scores, sum(a.nbytes for a in held) / len(tables)


def reference_of(tables: Sequence[StreamTables]) -> Reference:
    """A reference with as many bins, for the window."""
    features = []
    for f, table in enumerate(tables):
        counts = np.asarray(table.counts, np.int64)
        levels = tuple(map(str, range(len(counts) - 2)))
        features.append(FeatureReference(f"f{f}", "categorical", int(counts.sum()), counts, levels=levels))
    return Reference(0.0, None, None, 0, tuple(features))


def of_levels() -> list[StreamTables]:
    """Streams of 65 bins with counts of their own."""
    rng = np.random.default_rng(SEED)
    masses = rng.dirichlet(np.full(LEVELS, 20.0), LEVEL_STREAMS)
    counts = [np.append(rng.multinomial(50_000, p), [30.0, 10.0]) for p in masses]
    return build([TableSpec(f"c{i}", "categorical", c) for i, c in enumerate(counts)], 43_200.0)


@bar("bytes a stream", "state <= 2.5 KiB numeric, <= 10 KiB at 65 levels; tables of its own <= 40 KiB")
def size() -> Result:
    numeric, levels = streams_of_their_own(), of_levels()
    (small, own), (large, wide) = sizes(numeric), sizes(levels)
    text = (
        f"numeric ({len(numeric[0].pi)} bins, {len(numeric[0].names)} alternatives): state {small / KIB:.2f} KiB, "
        f"tables {own / KIB:.1f} KiB; {len(levels[0].pi)} levels ({len(levels[0].names)} alternatives): state "
        f"{large / KIB:.2f} KiB, tables {wide / KIB:.1f} KiB"
    )
    return Result(text, small <= 2.5 * KIB and large <= 10 * KIB and max(own, wide) <= 40 * KIB, versions("numpy"))
