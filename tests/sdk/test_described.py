"""Lists of numbers, images and lists of objects: sent as what describes them."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pilotfish import Monitor, described
from tests.sdk.conftest import Agent

PARTS = ["brightness", "contrast", "sharpness", "black", "width", "height"]


MADE: list[Any] = [list, tuple, lambda v: array("d", v), np.array, np.float32, lambda v: np.repeat(np.array(v), 2)[::2]]


@pytest.mark.parametrize("made", MADE)
def test_a_list_of_numbers_is_an_embedding(agent: Agent, monitor: Monitor, made: Any) -> None:
    """Of whatever it is made, beside other features."""
    for i in range(3):
        monitor.observe(features={"x": 1.0, "e": made([0.5, -1.0, float(i)]), "t": "a"}, prediction=0.5)
    batch = agent.one(monitor)
    assert batch.features["e"].tolist() == [[0.5, -1.0, float(i)] for i in range(3)]
    assert batch.features["t"] == ["a"] * 3
    assert batch.features["x"].tolist() == [1.0] * 3


def test_what_is_no_list_of_the_same_width_is_missing(agent: Agent, monitor: Monitor) -> None:
    """The rows still arrive, in one batch."""
    e = [0.5, 1.5, 2.5]
    for value in (e, None, [1.0, 2.0], e, [1.0, "a", 2.0], [1e300, 0.0, 0.0], e):
        monitor.observe(features={"e": value}, prediction=0.5)
    column = agent.one(monitor).features["e"]
    assert np.isnan(column).all(axis=1).tolist() == [False, True, True, False, True, True, False]
    assert agent.counters()["sdk_buffer"] == 0


def test_an_answer_that_is_a_list_is_the_feature_output(agent: Agent, monitor: Monitor) -> None:
    """Embedders and multi-output regressors; probabilities stay what they are."""
    monitor.observe(features={"x": 1.0}, prediction=[3.0, -4.0])
    monitor.observe(features={"x": 1.0}, prediction=[0.25, 0.75])
    first, second = sorted(agent.received(monitor), key=lambda b: b.n_classes)
    assert first.features["output"].tolist() == [[3.0, -4.0]]
    assert np.asarray(second.probabilities).tolist() == [[0.25, 0.75]]


def test_objects_are_counted_and_one_is_named(agent: Agent, monitor: Monitor) -> None:
    """Boxes an image, entities a text: each object has its turn over many rows."""
    found = [{"label": "car", "score": 0.9, "box": [0, 0, 1, 1]}, {"label": "dog", "score": 0.8}]
    for _ in range(400):
        monitor.observe(prediction=found)
    batches = agent.received(monitor)
    labels = Counter(label for b in batches for label in b.features["output.label"])
    assert {float(n) for b in batches for n in b.features["output.count"]} == {2.0}
    assert set(labels) == {"car", "dog"}
    assert min(labels.values()) > 150
    monitor.observe(features={"tags": ["a"], "boxes": [[0, 1, 2, 3], [4, 5, 6, 7]], "none": []})
    batch = agent.one(monitor)
    assert {n: list(c) for n, c in batch.features.items() if n.endswith("count")} == {
        "tags.count": [1.0],
        "boxes.count": [2.0],
        "none.count": [0.0],
    }
    assert batch.features["tags.label"] == ["a"]


def test_an_image_is_described(agent: Agent, monitor: Monitor) -> None:
    """By what the agent computes for captured ones too; as a feature, or alone."""
    pixels: Any = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    monitor.observe(features={"photo": pixels, "x": 1.0})
    assert list(agent.one(monitor).features) == [*(f"photo.{part}" for part in PARTS), "x"]
    monitor.observe(features=pixels)
    assert list(agent.one(monitor).features) == [f"image.{part}" for part in PARTS]


@pytest.mark.parametrize("count", [3, 80])
def test_batches_are_described_alike(agent: Agent, monitor: Monitor, count: int) -> None:
    """Few rows travel row by row, many column by column: the same columns."""
    pixels = np.random.default_rng(0).random((count, 9, 9))
    lists = np.arange(65 * count, dtype=np.float32).reshape(count, 65) + 7
    found = [["cat"] * (2 - i % 3) for i in range(count)]
    monitor.observe_batch({"photo": pixels, "wide": lists, "list": lists[:, :3].tolist(), "tags": found}, lists[:, :2])
    batch = agent.one(monitor)
    assert batch.rows == count
    assert batch.features["wide"].tolist() == lists.tolist()
    assert batch.features["list"].tolist() == lists[:, :3].tolist()
    assert batch.features["output"].tolist() == lists[:, :2].tolist()
    assert list(batch.features["tags.count"]) == [2.0 - i % 3 for i in range(count)]
    assert list(batch.features["tags.label"]) == ["cat" if i % 3 < 2 else None for i in range(count)]
    assert list(batch.features["photo.sharpness"]) == [described.image(one)["sharpness"] for one in pixels]
    assert agent.counters()["sdk_buffer"] == 0


def test_what_embeds_and_detects_is_wrapped(agent: Agent, monitor: Monitor) -> None:
    """Answers of `encode` and `predict` that are lists."""

    class Model:
        def encode(self, texts: list[str]) -> Any:
            return np.ones((len(texts), 4), np.float32)

        def predict(self, x: Any) -> list[list[dict[str, Any]]]:
            return [[{"label": "car", "box": [1, 2, 3, 4]}] * int(v) for v in x[:, 0]]

    model = monitor.wrap(Model())
    model.encode(["a", "b"])
    model.predict(np.array([[2.0], [0.0]]))
    embedded, detected = agent.received(monitor)
    assert embedded.features["output"].tolist() == [[1.0] * 4] * 2
    assert list(detected.features["output.count"]) == [2.0, 0.0]
    assert list(detected.features["output.label"]) == ["car", None]
    assert list(detected.features["f0"]) == [2.0, 0.0]


def test_brightness_contrast_sharpness_and_black() -> None:
    """Of known images."""
    flat = described.image(np.full((16, 12), 51, np.uint8))
    assert flat == {"brightness": 0.2, "contrast": 0.0, "sharpness": 0.0, "black": 0.0, "width": 12.0, "height": 16.0}
    board = (np.indices((16, 16)).sum(axis=0) % 2).astype(float)
    assert described.image(board)["sharpness"] == 16.0  # each pixel differs from four neighbours
    assert described.image(board)["black"] == 0.5
    assert described.image(np.stack([board] * 3))["sharpness"] == 16.0  # channels first
    blurred = (board[:-1, :-1] + board[1:, 1:]) / 2
    assert described.image(np.repeat(np.repeat(board, 4, 0), 4, 1))["sharpness"] < 8.0
    assert blurred.shape == (15, 15)


def test_a_large_image_costs_no_more_than_a_part_of_it() -> None:
    """Of its pixels at most 128 x 128 are looked at; its size is told as it is."""
    told = described.image(np.zeros((3_000, 2_000, 3), np.uint8))
    assert (told["width"], told["height"], told["black"]) == (2_000.0, 3_000.0, 1.0)


ARRAYS = hnp.arrays(
    hnp.scalar_dtypes() | hnp.unicode_string_dtypes(), hnp.array_shapes(min_dims=0, max_dims=4, max_side=12)
)


@given(
    st.recursive(
        st.none() | st.floats() | st.text(max_size=3) | ARRAYS,
        lambda v: st.lists(v, max_size=4) | st.dictionaries(st.sampled_from(["label", "score"]), v, max_size=2),
        max_leaves=6,
    )
)
def test_anything_is_described_or_left_out(value: Any) -> None:
    """What comes out are single values, or the list itself; what cannot be described raises nothing that ends a row."""
    try:
        told = dict(described.expanded("v", value))
    except Exception:  # noqa: BLE001 - the sender leaves such a value out
        return
    for part in told.values():
        assert part is value or isinstance(part, float | str | None)


def test_an_embedding_goes_from_the_model_to_an_alarm(agent: Agent, monitor: Monitor) -> None:
    """The frames of a real monitor, on the reference of a log of the same model."""
    from pilotfish_agent.drift.builder import ReferenceBuilder
    from pilotfish_agent.drift.options import Config
    from pilotfish_agent.drift.tables import build
    from pilotfish_agent.drift.watch import DriftWatch
    from pilotfish_core.nouns import ObservationBatch

    rng = np.random.default_rng(5)
    means = rng.normal(size=(5, 24))

    def embeddings(rows: int) -> np.ndarray[Any, Any]:
        return np.asarray(means[rng.integers(0, 5, rows)] + rng.normal(0, 0.2, (rows, 24)))

    builder = ReferenceBuilder()
    builder.add(ObservationBatch("", None, "tail", 4_000, {"e": embeddings(4_000)}))
    watch = DriftWatch("m", builder.reference(created=0.0, independent=True), Config())
    request = watch.table_request()
    assert request is not None
    watch.set_tables(build(request.specs, request.budget_ticks, request.streams))
    alarms = []
    for t in range(12):
        rows = embeddings(40)
        for row in rows if t < 8 else np.roll(rows, 1, axis=1):
            monitor.observe(features={"e": row}, prediction=0.5)
        for batch in agent.received(monitor):
            watch.add(batch, 1e9 + 10 * t)
        alarms += [t for entry in watch.advance(1e9 + 10 * t + 10) if entry.kind == "alarm"]
    assert alarms
    assert min(alarms) == 8
