"""Real frames through the whole of ours: reference builder, tables, watch."""

from __future__ import annotations

from benchmarks.peers.datasets import Frame
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.tables import StreamTables, build
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_agent.windows.ticks import RowSplitter
from pilotfish_core.config import Budget
from pilotfish_core.nouns import ObservationBatch

ROWS = 100
"""Of a tick."""
TICK = 10.0


def observed(frame: Frame) -> ObservationBatch:
    """The rows as the agent gets them."""
    features = {**frame.numeric, **{k: v.tolist() for k, v in frame.categorical.items()}}
    return ObservationBatch("model", None, "tail", frame.rows, features)


def built(frame: Frame) -> Reference:
    """As `reference build` does, with times; kinds of numbers are inferred."""
    builder = ReferenceBuilder(
        types=dict.fromkeys(frame.categorical, "categorical"),
        season="auto" if frame.timed else "none",
        tick_seconds=TICK,
    )
    builder.add(observed(frame), frame.times)
    return builder.reference(created=0.0)


def within(ticks: int) -> Config:
    """A budget of one false alarm in so many ticks."""
    return Config(false_alarms=Budget(1, ticks * TICK, f"1 per {ticks} ticks"), tick=TICK)


def tables_of(reference: Reference, config: Config) -> list[StreamTables]:
    """The tables that a watch of the reference asks for."""
    request = DriftWatch("model", reference, config).table_request()
    assert request is not None
    return build(request.specs, request.budget_ticks, request.streams)


def entries(reference: Reference, tables: list[StreamTables], live: Frame, config: Config) -> list[Entry]:
    """What a watch says of the rows: alarms and notices."""
    watch = DriftWatch("model", reference, config)
    watch.set_tables(tables)
    closes = [(i, float(live.times[i - 1])) for i, _ in RowSplitter(ROWS).split(live.rows, None)]
    return [e for e in watch.run(observed(live), closes, live.times) if e.kind in ("alarm", "notice")]


def split(frame: Frame, rows: int, most: int | None = None) -> tuple[Frame, Frame]:
    """The reference, and what follows (at most so many rows)."""
    return frame.part(slice(0, rows)), frame.part(slice(rows, None if most is None else rows + most))
