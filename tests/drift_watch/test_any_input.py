"""Foreign data never raise: columns that change type, wrong lengths, odd numbers and texts, clocks that jump."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.ingest import sane
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_core.nouns import ObservationBatch
from tests.drift_watch.world import FAST, START, World, batch, give_tables

FLOATS = st.floats(width=64) | st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, float("inf"), float("nan")])
TEXTS = (
    st.none() | st.text(max_size=20) | st.sampled_from(["red", "NA", "1e400", "9" * 400, "x" * 5000, "true", "\ud800"])
)
ODD = (
    st.none()
    | st.integers()
    | st.just(10**5000)
    | FLOATS
    | st.booleans()
    | TEXTS
    | st.just([1])
    | st.binary(max_size=3)
)
TASKS = st.sampled_from(["auto", "classification", "regression", "ranking", "generation", "embedding"])


def columns(rows: int) -> st.SearchStrategy[Any]:
    lengths = st.just(rows) | st.integers(0, rows + 2)
    return lengths.flatmap(
        lambda n: (
            st.lists(FLOATS, min_size=n, max_size=n).map(lambda v: array("d", v))
            | st.lists(FLOATS, min_size=n, max_size=n).map(np.array)
            | st.lists(TEXTS, min_size=n, max_size=n)
            | st.lists(ODD, min_size=n, max_size=n)
            | st.lists(ODD, min_size=n, max_size=n).map(tuple)
        )
    )


@st.composite
def batches(draw: st.DrawFn) -> ObservationBatch:
    rows = draw(st.integers(0, 6))
    names = draw(
        st.lists(st.sampled_from(["x", "y", "colour", "new", "@score"]) | st.text(max_size=5), unique=True, max_size=4)
    )
    n = draw(st.integers(0, 3))
    return ObservationBatch(
        model="m",
        version=draw(st.none() | st.text(max_size=3)),
        source="sdk",
        rows=rows,
        features={name: draw(columns(rows)) for name in names},
        prediction=draw(st.none() | columns(rows)),
        probabilities=draw(
            st.none() | st.lists(FLOATS, min_size=rows * n, max_size=rows * n).map(lambda v: array("d", v))
        ),
        n_classes=n,
        classes=draw(st.none() | st.lists(st.text(max_size=3), max_size=3).map(tuple)),
        latency=draw(st.none() | columns(rows)),
        ids=draw(st.none() | st.lists(st.none() | st.sampled_from("abc"), min_size=rows, max_size=rows)),
    )


def full_reference() -> Reference:
    world, builder = World(41), ReferenceBuilder()
    builder.add(batch(world.rows(1000), prediction=world.rng.choice(["a", "b"], 1000).tolist()))
    return builder.reference(created=START, independent=True)


REFERENCE = full_reference()


def fresh(task: str) -> DriftWatch:
    made = DriftWatch("m", REFERENCE, FAST, task=task)
    give_tables(made)
    return made


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(batches(), st.floats(-1e3, 2e3)), max_size=5), TASKS)
def test_any_batches_in_any_order_of_time(given: list[tuple[ObservationBatch, float]], task: str) -> None:
    """Whatever arrives is counted: each stream of a batch's features gets each of its rows or none twice."""
    made = fresh(task)
    for one, offset in given:
        made.add(one, START + offset)
        made.advance(START + offset)
    made.advance(START + 1e4)
    made.results()
    made.samples()
    assert made.comparison is not None
    streams, counted = made.comparison.streams, made.comparison.counted
    rows = sum(one.rows for one, _ in given if one.features)
    for name in ("x", "y", "colour"):
        assert streams.part(counted, streams.index[name]).sum() <= rows
        if all(one.ids is None for one, _ in given):
            assert streams.part(counted, streams.index[name]).sum() == rows


@settings(max_examples=100, deadline=None)
@given(batches(), TASKS)
def test_replay_counts_as_live_does(one: ObservationBatch, task: str) -> None:
    """`run` and `add` count any batch alike."""
    live, replayed = fresh(task), fresh(task)
    live.add(one, START)
    live.standing.counters()
    replayed.run(one, [])
    assert live.comparison is not None
    assert replayed.comparison is not None
    assert np.array_equal(live.comparison.counted, replayed.comparison.counted)


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(4)), st.lists(batches(), min_size=4, max_size=4))
def test_the_order_of_batches_within_a_tick_does_not_matter(order: list[int], given: list[ObservationBatch]) -> None:
    """Counts add: senders and workers merge exactly (rows without ids)."""
    one, other = fresh("auto"), fresh("auto")
    plain = [ObservationBatch("m", None, "sdk", b.rows, b.features, b.prediction) for b in given]
    for i in range(4):
        one.add(plain[i], START)
        other.add(plain[order[i]], START)
    one.standing.counters()
    other.standing.counters()
    assert one.comparison is not None
    assert other.comparison is not None
    assert np.array_equal(one.comparison.counted, other.comparison.counted)


@settings(max_examples=30, deadline=None)
@given(st.lists(batches(), max_size=4), TASKS)
def test_learning_takes_anything(given: list[ObservationBatch], task: str) -> None:
    """Without a reference, too."""
    made = DriftWatch("m", None, FAST, task=task)
    for _ in range(20):
        made.add(World(42).batch(40), START)
    for one in given:
        made.add(one, START + 1)
    made.advance(START + 1e4)
    made.samples()
    assert made.comparison is not None


@given(st.integers(0, 5).flatmap(lambda rows: st.tuples(st.just(rows), columns(rows))))
def test_sane_columns(given: tuple[int, Any]) -> None:
    """Any column becomes float64 or texts of the wanted length."""
    rows, column = given
    got = sane(column, rows)
    assert len(got) == rows
    if isinstance(got, np.ndarray):
        assert got.dtype == np.float64
    else:
        assert all(value is None or isinstance(value, str) for value in got)
