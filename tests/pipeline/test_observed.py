"""Observations become batches by schema, and no row of one is ever another's."""

from __future__ import annotations

import math
from array import array

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.pipeline.observed import Observed
from pilotfish_core.nouns import Observation, Tokens

NUMBERS = st.floats(allow_nan=False)


@given(st.lists(st.lists(st.tuples(NUMBERS, st.none() | st.text(max_size=3)), min_size=1, max_size=4), max_size=6))
def test_rows_of_one_schema_are_joined_in_order(given_rows: list[list[tuple[float, str | None]]]) -> None:
    """Numbers as numbers, texts as texts; the latency stands on the first row of each exchange."""
    observed = Observed()
    for rows in given_rows:
        features = {"x": array("d", [x for x, _ in rows]), "t": [t for _, t in rows]}
        observed.add("m", "1", Observation("predict", rows=len(rows), features=features, prediction=features["x"]), 0.5)
    batches = list(observed.batches())
    flat = [row for rows in given_rows for row in rows]
    assert len(batches) == bool(flat)
    for batch in batches:
        assert (batch.model, batch.version, batch.source, batch.rows) == ("m", "1", "capture", len(flat))
        assert list(batch.features["x"]) == [x for x, _ in flat]
        assert batch.features["t"] == [t for _, t in flat]
        assert batch.prediction is not None
        assert list(batch.prediction) == [x for x, _ in flat]
        assert batch.latency is not None
        assert [not math.isnan(s) for s in batch.latency] == [i == 0 for rows in given_rows for i in range(len(rows))]
    assert list(observed.batches()) == []


def test_schemas_models_and_versions_are_kept_apart() -> None:
    """A column that is missing, or of another kind, makes another batch."""
    observed = Observed()
    for model, version, features in (
        ("a", None, {"x": array("d", [1.0])}),
        ("a", None, {"x": ["one"]}),
        ("a", None, {"x": array("d", [2.0]), "y": array("d", [2.0])}),
        ("b", None, {"x": array("d", [1.0])}),
        ("a", "2", {"x": array("d", [1.0])}),
        ("a", None, {"x": array("d", [3.0])}),
    ):
        observed.add(model, version, Observation("predict", rows=1, features=features), 0.1)
    assert sorted(b.rows for b in observed.batches()) == [1, 1, 1, 1, 2]


def test_probabilities_and_ids() -> None:
    """Row-major as they are; rows without an id stand beside rows with one."""
    observed = Observed()
    for values, ids in ((np.array([[0.1, 0.9]]), ["one"]), (np.array([[0.5, 0.5], [1.0, 0.0]]), None)):
        observed.add("m", None, Observation("predict", rows=len(values), probabilities=values, n_classes=2, ids=ids), 0)
    (batch,) = observed.batches()
    assert batch.probabilities is not None
    np.testing.assert_array_equal(np.reshape(batch.probabilities, (3, 2)), [[0.1, 0.9], [0.5, 0.5], [1.0, 0.0]])
    assert batch.ids == ["one", None, None]


def test_columns_of_the_wrong_length_are_left_out_whole() -> None:
    """They would move the rows of all the others; a column that is no float64 is still read."""
    observed = Observed()
    observed.add("m", None, Observation("predict", rows=2, features={"x": array("d", [1.0])}), 0.1)
    observed.add("m", None, Observation("predict", rows=2, prediction=array("d", [1.0])), 0.1)
    observed.add("m", None, Observation("predict", rows=2, probabilities=array("d", [1.0]), n_classes=2), 0.1)
    observed.add("m", None, Observation("predict", rows=2), 0.1)
    observed.add("m", None, Observation("predict", rows=0), 0.1)
    (batch,) = observed.batches()
    assert (batch.rows, batch.features) == (2, {})
    observed.add("m", None, Observation("predict", rows=1, features={"x": np.array([1], np.int64)}), 0.1)
    observed.add("m", None, Observation("predict", rows=1, features={"x": np.array([2], np.int64)}), 0.1)
    (batch,) = observed.batches()
    assert list(batch.features["x"]) == [1.0, 2.0]


def test_lists_of_one_width_are_joined() -> None:
    """Embeddings of another width are of another schema."""
    observed = Observed()
    for width in (3, 3, 4):
        observed.add("m", None, Observation("embeddings", rows=2, features={"e": np.ones((2, width))}), 0.1)
    assert sorted(np.shape(b.features["e"]) for b in observed.batches()) == [(2, 4), (4, 3)]


def test_tokens_and_finish_reasons_are_features() -> None:
    """As the server tells them; estimates are none, and the tokens of several answers are nobody's."""
    observed = Observed()
    told = Observation("chat", rows=1, tokens=Tokens(input=7, output=9), finish_reasons=("stop",))
    observed.add("m", None, told, 0.1)
    (batch,) = observed.batches()
    assert {name: list(column) for name, column in batch.features.items()} == {
        "prompt.tokens": [7.0],
        "output.tokens": [9.0],
        "output.finish_reason": ["stop"],
    }
    observed.add("m", None, Observation("chat", rows=2, tokens=Tokens(7, 9), finish_reasons=("stop", "length")), 0.1)
    observed.add("m", None, Observation("chat", rows=1, tokens=Tokens(output=9, estimated=True)), 0.1)
    assert sorted(list(b.features) for b in observed.batches()) == [[], ["output.finish_reason"]]
