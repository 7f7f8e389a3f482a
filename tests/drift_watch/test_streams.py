"""Prediction typing."""

from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.drift.streams import is_class, prediction_columns, texts, whole_text
from pilotfish_core.nouns import ObservationBatch


def batch(rows: int, **fields: object) -> ObservationBatch:
    return ObservationBatch(model="m", version=None, source="sdk", rows=rows, **fields)  # type: ignore[arg-type]


def test_probabilities_give_class_and_score() -> None:
    """The largest probability names the class and is the score."""
    b = batch(2, probabilities=array("d", [0.2, 0.5, 0.3, 0.9, 0.05, 0.05]), n_classes=3, classes=("a", "b", "c"))
    got = prediction_columns(b)
    assert got["@prediction"] == ["b", "a"]
    assert got["@score"].tolist() == [0.5, 0.9]


def test_unnamed_classes_are_their_positions() -> None:
    """Without class names the position is the class."""
    assert prediction_columns(batch(1, probabilities=[0.1, 0.9], n_classes=2))["@prediction"] == ["1"]


@pytest.mark.parametrize("row", [[0.5, 0.6], [-0.1, 1.1], [np.nan, 1.0], [np.inf, 0.0], [0.0, 0.0]])
def test_rows_that_are_no_probabilities_are_missing(row: list[float]) -> None:
    """Numbers outside [0, 1] or that do not sum to 1 give neither class nor score."""
    got = prediction_columns(batch(2, probabilities=np.array([row, [0.25, 0.75]]), n_classes=2))
    assert got["@prediction"] == [None, "1"]
    assert np.isnan(got["@score"][0])
    assert got["@score"][1] == 0.75


def test_numbers_stay_numbers_and_classes_are_rendered() -> None:
    """`auto` leaves numbers to the reference's kind, `classification` renders them canonically."""
    assert prediction_columns(batch(2, prediction=array("d", [1.0, 2.5])))["@prediction"][1] == 2.5
    got = prediction_columns(batch(3, prediction=array("d", [1.0, 2.5, np.nan])), "classification")
    assert got == {"@prediction": ["1", "2.5", None]}
    assert prediction_columns(batch(1, prediction=["yes"]))["@prediction"] == ["yes"]


def test_no_predictions_no_columns() -> None:
    """A batch without predictions, or an embedding, has no pseudo-features."""
    assert prediction_columns(batch(2, features={"a": [1.0, 2.0]})) == {}
    assert prediction_columns(batch(1, probabilities=[0.5, 0.5], n_classes=2), "embedding") == {}


@pytest.mark.parametrize(
    ("values", "task", "expected"),
    [
        (["a", "b"], "auto", True),
        (np.arange(50.0), "auto", True),
        (np.arange(51.0), "auto", False),
        (np.array([0.5, 1.0]), "auto", False),
        (np.array([np.nan, 1.0]), "auto", True),
        (np.array([np.nan]), "auto", False),
        (np.array([np.inf, 1.0]), "auto", False),
        (np.array([0.0, 1.0]), "regression", False),
        (np.arange(100.0), "classification", True),
    ],
)
def test_class_or_value(values: object, task: str, expected: bool) -> None:
    """At most 50 distinct whole numbers, or text, are a class; the task overrules."""
    assert is_class(values, task) is expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_canonical_text_reads_back_as_the_same_number(x: float) -> None:
    """The rendering of a number is exact and never ends in `.0`."""
    assert float(whole_text(x)) == x
    assert not whole_text(x).endswith(".0")


def test_texts_of_infinity() -> None:
    """Infinite numbers have a text too."""
    assert texts(np.array([np.inf, -np.inf])) == ["inf", "-inf"]
