"""Embeddings as streams: cell, distance, projections."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pilotfish_agent.drift import composites
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.encoders import embedding
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.rows import Rows
from pilotfish_agent.drift.tables import build
from pilotfish_agent.drift.vectors import HELD_ROWS
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_core import registry
from pilotfish_core.errors import DataError
from pilotfish_core.nouns import ObservationBatch

WIDTH = 12
MEANS = np.random.default_rng(0).normal(size=(6, WIDTH))
STREAMS = ["e.cell", "e.distance", *(f"e.p{i}" for i in range(1, 9))]


def lists(rng: np.random.Generator, rows: int, noise: float = 0.3) -> np.ndarray:
    return MEANS[rng.integers(0, len(MEANS), rows)] + rng.normal(0, noise, (rows, WIDTH))


def batch(e: object, rows: int) -> ObservationBatch:
    return ObservationBatch("m", None, "sdk", rows, {"e": e})


def reference(e: np.ndarray, part: int = 1_000) -> Reference:
    builder = ReferenceBuilder()
    for start in range(0, len(e), part):
        builder.add(batch(e[start : start + part], len(e[start : start + part])))
    return builder.reference(created=0.0, independent=True)


def test_an_embedding_is_ten_streams_of_one_composite() -> None:
    """The first half is fitted on, the second one counted; the file holds what it needs."""
    e = lists(np.random.default_rng(1), 2_000)
    made = reference(e)
    assert [f.name for f in made.features] == STREAMS
    assert {f.part_of for f in made.features} == {"e"}
    assert [f.part for f in made.features][:3] == ["cell", "distance to its own centre", "projection 1"]
    assert {f.rows for f in made.features} == {1_000}
    assert made.columns == ("e",)
    assert Reference.from_json(made.to_json()).to_json() == made.to_json()
    again = composites.encoded("e", e[1_000:], 1_000, made.encoders["e"])
    for f in made.features:
        assert f.binner().counts(again[f.name]).tolist() == f.counts.tolist()


def test_the_parts_do_not_depend_on_batches_or_digits() -> None:
    """A row alone, among others, as float32 or float64: the same numbers to the last bit."""
    e = lists(np.random.default_rng(2), 3_000)
    encoder = reference(e).encoders["e"]
    whole = composites.encoded("e", e, len(e), encoder)
    single = [composites.encoded("e", e[i : i + 1].astype(np.float32), 1, encoder) for i in range(50)]
    for name in STREAMS:
        assert [one[name][0] for one in single] == list(whole[name][:50])


def test_directions_are_the_principal_ones() -> None:
    """As those of the whole decomposition, up to a small angle."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(800, 40)) @ np.diag(np.geomspace(5, 0.1, 40)) @ np.linalg.qr(rng.normal(size=(40, 40)))[0]
    made = embedding.fit(x.astype(np.float32), 1)
    ours = np.frombuffer(base64.b64decode(made["directions"]), "<f4").reshape(8, 40)
    exact = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:8]
    assert np.abs((ours * exact).sum(1)).min() > 0.999


def test_more_rows_than_are_held_are_fitted_once() -> None:
    """Beyond the held rows parts are kept, not lists; a second pass counts all rows but those fitted on."""
    e = lists(np.random.default_rng(4), HELD_ROWS + 6_000)
    made = reference(e)
    assert {f.rows for f in made.features} == {HELD_ROWS // 2 + 6_000}
    builder = ReferenceBuilder(max_rows=12_000)
    parts = [Rows(batch(e[i : i + 1_000], 1_000), np.arange(i, i + 1_000), None) for i in range(0, len(e), 1_000)]
    for part in parts:
        builder.add(part.batch)
    twice = builder.reference(created=0.0, independent=True, again=lambda: parts)
    assert {f.rows for f in twice.features} == {HELD_ROWS // 2 + 6_000}
    assert twice.encoders == made.encoders


def test_a_column_that_comes_late_is_missing_before() -> None:
    """Rows without the list are not rows it was fitted on."""
    rng = np.random.default_rng(5)
    builder = ReferenceBuilder()
    builder.add(ObservationBatch("m", None, "sdk", 300, {"a": rng.normal(size=300)}))
    builder.add(ObservationBatch("m", None, "sdk", 1_000, {"a": rng.normal(size=1_000), "e": lists(rng, 1_000)}))
    builder.add(ObservationBatch("m", None, "sdk", 100, {"a": rng.normal(size=100)}))
    made = builder.reference(created=0.0)
    cell = made.feature("e.cell")
    assert cell is not None
    assert (cell.rows, int(cell.counts[-1])) == (600, 100)


@pytest.mark.parametrize("rows", [399, 150])
def test_few_lists_are_not_watched(rows: int) -> None:
    """Both halves need 200 rows."""
    builder = ReferenceBuilder()
    builder.add(ObservationBatch("m", None, "sdk", 400, {"a": np.random.default_rng(1).normal(size=400)}))
    builder.add(batch(lists(np.random.default_rng(1), rows), rows))
    assert [i.reason[:15] for i in builder.reference(created=0.0).ignored if i.name == "e"] == ["not enough data"]


@given(
    st.one_of(
        hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=WIDTH), elements=st.floats()),
        st.lists(st.none() | st.text(max_size=2) | st.lists(st.floats(), max_size=3), max_size=4),
        st.integers(1, 4).map(lambda n: np.full((n, WIDTH), 1e300)),
        st.none(),
    ),
    st.integers(1, 4),
)
def test_any_column_becomes_parts_of_its_length(column: object, rows: int) -> None:
    """Foreign values are missing, never an error."""
    for name, values in composites.encoded("e", column, rows, ENCODER).items():
        assert len(values) == rows, name


ENCODER = reference(lists(np.random.default_rng(6), 1_000)).encoders["e"]


def test_rotation_is_found_and_no_change_is_silent() -> None:
    """Live: the same evidence as any stream's."""
    rng = np.random.default_rng(7)
    watch = DriftWatch("m", reference(lists(rng, 6_000)), Config())
    request = watch.table_request()
    assert request is not None
    watch.set_tables(build(request.specs, request.budget_ticks, request.streams))
    turn = np.linalg.qr(np.random.default_rng(8).normal(size=(WIDTH, WIDTH)))[0]
    entries = []
    for t in range(40):
        e = lists(rng, 50)
        watch.add(batch(e if t < 30 else e @ turn, 50), 1e9 + 10 * t)
        entries += [(t, entry.kind) for entry in watch.advance(1e9 + 10 * t + 10)]
    assert [(t, kind) for t, kind in entries if t < 30] == []
    assert (30, "alarm") in entries


def test_what_is_accepted_of_an_embedding_is_told_by_its_name() -> None:
    """Not by those of its ten streams, of which people do not hear elsewhere."""
    rng = np.random.default_rng(10)
    watch = DriftWatch("m", reference(lists(rng, 6_000)), Config(dependence=1.0))
    request = watch.table_request()
    assert request is not None
    watch.set_tables(build(request.specs, request.budget_ticks, request.streams))
    for t in range(40):
        watch.add(batch(lists(rng, 50, noise=1.0), 50), 1e9 + 10 * t)
        watch.advance(1e9 + 10 * t + 10)
        if t == 5:
            with pytest.raises(DataError, match="too few rows since the alarm of e; got"):
                watch.accept(1e9 + 60)
    assert watch.accept(1e9 + 400).endswith("what e looks like now is the new normal")


def test_an_embedding_alarms_once() -> None:
    """Nine parts of it that are not over their own line do not make `@model` alarm as well."""
    made = reference(np.random.default_rng(11).normal(size=(6_000, WIDTH)))
    watch, rng = DriftWatch("m", made, Config(dependence=1.0)), np.random.default_rng(5)
    request = watch.table_request()
    assert request is not None
    watch.set_tables(build(request.specs, request.budget_ticks, request.streams))
    entries = []
    for t in range(10):
        watch.add(batch(rng.normal(0.5, 1.0, (20, WIDTH)), 20), 1e9 + 10 * t)
        entries += watch.advance(1e9 + 10 * t + 10)
    assert [e.feature for e in entries] == ["e"]
    model = next(r for r in watch.results() if r.feature == "@model")
    assert (model.verdict, model.evidence < model.threshold) == ("stable", True)


def test_lists_of_another_width_are_missing() -> None:
    """A model that was changed under the same reference."""
    watch = DriftWatch("m", reference(lists(np.random.default_rng(9), 1_000)), Config())
    watch.add(batch(np.zeros((30, WIDTH + 1)), 30), 1e9)
    watch.finish(1e9 + 10)
    assert watch.comparison is not None
    streams = watch.comparison.streams
    assert watch.comparison.counted[streams.missing].tolist() == [30] * 10


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": "other"},
        {"dimensions": -1},
        {"dimensions": WIDTH + 1},
        {"centres": "?"},
        {"centres": ""},
        {"directions": base64.b64encode(np.full(8 * WIDTH, np.nan, "<f4").tobytes()).decode()},
        {"decimals": None},
    ],
)
def test_an_encoder_that_cannot_encode_is_refused(damage: dict[str, object]) -> None:
    """When the reference is read, not when rows come."""
    made = reference(lists(np.random.default_rng(1), 800))
    broken = replace(made, encoders={"e": {**made.encoders["e"], **damage}})
    with pytest.raises(DataError, match="damaged"):
        Reference.from_json(broken.to_json())


@pytest.mark.parametrize("kind", registry.names(composites.PACKAGE))
def test_every_encoder_gives_a_column_a_part(kind: str) -> None:
    """Of each kind that there is: the parts are as long as the column, whatever it holds."""
    encoder = {"embedding": ENCODER, "text": {"kind": "text", "answer": True}}[kind]
    for column in ([None, "a b", "x" * 100], np.zeros((3, WIDTH)), np.full(3, np.nan), [1, 2, object()]):
        made = composites.encoded("c", column, 3, encoder)
        assert list(made) == [name for name, _ in composites.streams("c", encoder)]
        assert {len(values) for values in made.values()} == {3}
