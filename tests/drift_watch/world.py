"""A small world for the watch: references from known distributions, batches, tables built in place."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from pilotfish_agent.drift import tables
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.tables import StreamTables
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_core.config import budget
from pilotfish_core.nouns import ObservationBatch

TICK = 10.0
START = 1_700_000_000.0
FAST = Config(false_alarms=budget("1 per 30d"), dependence=1.0)

_BUILT: dict[tuple[Any, ...], StreamTables] = {}


def batch(features: Mapping[str, Any], **fields: Any) -> ObservationBatch:
    rows = len(next(iter(features.values()))) if features else fields.pop("rows")
    version, source = fields.pop("version", None), fields.pop("source", "sdk")
    return ObservationBatch(model="m", version=version, source=source, rows=rows, features=features, **fields)


class World:
    """Draws rows of two numbers and a colour; ``shift`` moves ``x``, ``red`` is the share of the colour red."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def rows(
        self, n: int, shift: float = 0.0, scale: float = 1.0, red: float = 0.2, missing: float = 0.0
    ) -> dict[str, Any]:
        x = self.rng.normal(shift, scale, n)
        x[self.rng.random(n) < missing] = np.nan
        colour = np.where(self.rng.random(n) < red, "red", self.rng.choice(["blue", "green"], n)).tolist()
        return {"x": x, "y": self.rng.exponential(1.0, n), "colour": colour}

    def batch(self, n: int, **how: Any) -> ObservationBatch:
        return batch(self.rows(n, **how))


@cache
def reference(seed: int = 1, rows: int = 10_000) -> Reference:
    made = ReferenceBuilder()
    made.add(World(seed).batch(rows))
    return made.reference(created=START, model="m", independent=True)


def give_tables(watch: DriftWatch) -> None:
    """Builds what the watch asks for, here and now; equal tables once a session."""
    request = watch.table_request()
    assert request is not None
    keys = [(spec.same_tables(), request.budget_ticks, request.streams) for spec in request.specs]
    for key, spec in zip(keys, request.specs, strict=True):
        if key not in _BUILT:
            _BUILT[key] = tables.build_one(spec, request.budget_ticks, request.streams)
    watch.set_tables([_BUILT[key] for key in keys])


def watch(config: Config = FAST, ref: Reference | None = None, **how: Any) -> DriftWatch:
    made = DriftWatch("m", reference() if ref is None else ref, config, **how)
    give_tables(made)
    return made


class Runner:
    """Feeds a watch tick by tick."""

    def __init__(self, watched: DriftWatch, world: World, rows: int = 100) -> None:
        self.watch, self.world, self.rows = watched, world, rows
        self.now = START
        self.entries: list[Entry] = []

    def ticks(self, n: int, **how: Any) -> list[Entry]:
        """Runs ``n`` ticks of one kind of rows; their entries."""
        found: list[Entry] = []
        for _ in range(n):
            self.watch.add(self.world.batch(self.rows, **how), self.now + 1)
            self.now += TICK
            found += self.watch.advance(self.now)
        self.entries += found
        return found
