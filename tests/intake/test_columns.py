"""Cells become columns: numbers exact, texts as they were, whatever the layout."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish import wire
from pilotfish.wire import Frame, Section
from pilotfish_agent.intake.columns import batches
from pilotfish_core.nouns import ObservationBatch


def decoded(*sections: Section) -> ObservationBatch:
    made, errors = batches([Frame(0, 0, 0.0, "m", "", [section]) for section in sections])
    assert not errors
    (batch,) = made
    return batch


def integers(*values: int) -> Section:
    return Section(
        wire.describe([(wire.FEATURE, wire.INTEGER, "n")]), 1, len(values), struct.pack(f"<{len(values)}q", *values)
    )


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=9))
def test_whole_numbers_are_exact(values: list[int]) -> None:
    """Up to 2**53 they are float64 numbers."""
    column = decoded(integers(*values)).features["n"]
    assert column.dtype == np.float64
    assert [int(v) for v in column] == values


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_whole_numbers_beyond_float64_are_texts(value: int) -> None:
    """They are names of things; rounding would merge them."""
    assert decoded(integers(1, value)).features["n"] == ["1", str(value)]


@given(st.lists(st.floats(), min_size=1, max_size=9))
def test_floats_are_bit_exact(values: list[float]) -> None:
    """NaN, infinities, negative zero and subnormals come through."""
    section = Section(
        wire.describe([(wire.FEATURE, wire.FLOAT, "x")]), 1, len(values), struct.pack(f"<{len(values)}d", *values)
    )
    column = decoded(section).features["x"]
    for got, sent in zip(column.tolist(), values, strict=True):
        assert (math.isnan(got) and math.isnan(sent)) or (
            got == sent and math.copysign(1, got) == math.copysign(1, sent)
        )


def test_both_layouts_and_kinds_side_by_side() -> None:
    """Rows packed row by row and column by column of one schema make one batch."""
    columns = [(wire.FEATURE, kind, name) for kind, name in ((0, "x"), (2, "t"), (1, "n"), (2, "u"))]
    descriptor = wire.describe(columns)
    by_row = Section(descriptor, 4, 2, struct.pack("<dqdq", 0.5, 1, 1.5, 2), b"a\0b\0c\0\x01")
    by_column = Section(descriptor, 4, 2, struct.pack("<ddqq", 2.5, 3.5, 3, 4), b"d\0e\0f\0g", layout=wire.BY_COLUMN)
    batch = decoded(by_row, by_column)
    assert batch.rows == 4
    assert batch.features["x"].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert batch.features["n"].tolist() == [1, 2, 3, 4]
    assert batch.features["t"] == ["a", "c", "d", "e"]
    assert batch.features["u"] == ["b", None, "f", "g"]


def test_only_texts() -> None:
    """A section without any number."""
    section = Section(wire.describe([(wire.FEATURE, wire.TEXT, "t")]), 1, 2, b"", b"a\0")
    assert decoded(section).features["t"] == ["a", ""]


def test_every_role_finds_its_field() -> None:
    """Prediction, probabilities, latency, id and slices are not features."""
    columns = [(wire.PROBABILITY, 0, "no"), (wire.PROBABILITY, 0, "yes"), (wire.LATENCY, 0, ""), (wire.ID, 2, "")]
    columns += [(wire.SLICE, 2, "tenant"), (wire.FEATURE, 0, "x")]
    section = Section(wire.describe(columns), 6, 1, struct.pack("<4d", 0.25, 0.75, 0.012, 7.0), b"req-1\0a", outcome=1)
    batch = decoded(section)
    assert batch.probabilities.tolist() == [[0.25, 0.75]]  # type: ignore[union-attr]
    assert (batch.n_classes, batch.classes) == (2, ("no", "yes"))
    assert list(batch.latency or ()) == [0.012]
    assert (batch.ids, batch.slices, list(batch.features)) == (["req-1"], {"tenant": ["a"]}, ["x"])
    assert batch.outcomes == ["server_error"]
    assert batch.prediction is None


def test_classes_without_names_have_none() -> None:
    """Probabilities of a model that does not name its classes."""
    columns = [(wire.PROBABILITY, 0, ""), (wire.PROBABILITY, 0, "")]
    batch = decoded(Section(wire.describe(columns), 2, 1, struct.pack("<2d", 0.5, 0.5)))
    assert (batch.n_classes, batch.classes) == (2, None)


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_lists_are_float32_in_either_layout(width: int) -> None:
    """Beside other columns, row by row and column by column."""
    columns = [
        (wire.FEATURE, wire.FLOAT, "a"),
        (wire.FEATURE, wire.lists_of(width), "e"),
        (wire.FEATURE, wire.INTEGER, "n"),
    ]
    lists = np.arange(2 * width, dtype="<f4").reshape(2, width)
    padded = [row.tobytes() + b"\0" * (4 * (width % 2)) for row in lists]
    a, n = struct.pack("<2d", 0.5, 1.5), struct.pack("<2q", 7, 8)
    by_row = a[:8] + padded[0] + n[:8] + a[8:] + padded[1] + n[8:]
    by_column = a + b"".join(padded) + n
    descriptor = wire.describe(columns)
    batch = decoded(
        Section(descriptor, 3, 2, by_row, layout=wire.BY_ROW),
        Section(descriptor, 3, 2, by_column, layout=wire.BY_COLUMN),
    )
    assert batch.features["e"].tolist() == [*lists.tolist(), *lists.tolist()]
    assert batch.features["a"].tolist() == [0.5, 1.5, 0.5, 1.5]
    assert batch.features["n"].tolist() == [7.0, 8.0, 7.0, 8.0]
