"""Raw values are kept of streams that are not calm, within bounds."""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np

from pilotfish_agent.drift import raw
from pilotfish_agent.drift.raw import Raw
from pilotfish_core.nouns import Column
from tests.drift_watch.world import Runner, World, batch, watch


def test_values_are_bounded_and_the_newest_stay() -> None:
    """A stream keeps 2,048; of a thousand streams that change together each keeps less."""
    whole = np.arange(10_000.0)
    names = [f"f{i}" for i in range(1000)]

    def sample(wanted: Container[str]) -> Iterator[tuple[str, dict[str, Column]]]:
        yield "", {name: whole for name in names if name in wanted}

    kept = Raw()
    for tick in range(20):
        kept.add({"f0"}, sample, tick)
    blocks = kept.blocks("f0", 0)
    assert sum(len(b.values) for b in blocks) == raw.KEPT
    assert blocks[-1].tick == 19
    assert all(b.values.base is None for b in blocks), "nothing keeps the batch alive"
    assert [b.tick for b in kept.blocks("f0", 18)] == [18, 19]
    for tick in range(20, 24):
        kept.add(set(names), sample, tick)
    assert sum(len(b.values) for name in names for b in kept.blocks(name, 0)) <= raw.KEPT_ALL
    kept.keep({"f1"})
    assert kept.blocks("f0", 0) == []


def test_values_go_when_the_hints_are_settled() -> None:
    """Of calm streams none are kept; of one that drifts they go after a while, though it drifts on."""
    run = Runner(watch(), World(8))
    run.ticks(30)
    judge = run.watch.judge
    assert judge is not None
    run.ticks(4, shift=1.0)
    assert judge._raw.blocks("x", 0)
    run.ticks(30, shift=1.0)
    assert judge.drifting() == ["x"]
    assert judge._raw.blocks("x", 0) == []


def test_first_rows_of_a_tick_do_not_outlive_it() -> None:
    """Batches are at hand until the tick closes, of each sender the first ones."""
    made, world = watch(), World(9)
    for sender in ("a", "b"):
        for _ in range(5):
            made.add(batch(world.rows(100), sender=sender), 1_700_000_001.0)
    assert made.comparison is not None
    found = list(made.comparison.first({"x"}))
    assert [sender for sender, _ in found] == ["a"] * 3 + ["b"] * 3
    assert all(list(columns) == ["x"] for _, columns in found)
    made.advance(1_700_000_100.0)
    assert list(made.comparison.first({"x"})) == []
