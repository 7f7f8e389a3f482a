"""What `observe` is given arrives at the agent, whatever it is; it never raises."""

from __future__ import annotations

import collections
import decimal
import enum
import math
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotfish import Monitor, _rows, _schema
from pilotfish_core.nouns import ObservationBatch
from tests.sdk.conftest import Agent

SHARED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def numbers(column: Any) -> list[Any]:
    return list(column)


def rows(batches: list[ObservationBatch]) -> int:
    return sum(batch.rows for batch in batches)


def test_a_row_arrives_whole(agent: Agent, monitor: Monitor) -> None:
    """Every argument of the contract's example finds its field."""
    monitor.observe(
        features={"age": 41, "country": "NO"}, prediction=0.83, id="req-17", latency=0.012, slices={"tenant": "a"}
    )
    batch = agent.one(monitor)
    assert (batch.model, batch.version, batch.source, batch.rows) == ("ranker", "3", "sdk", 1)
    assert list(batch.features["age"]) == [41.0]
    assert batch.features["country"] == ["NO"]
    assert numbers(batch.prediction) == [0.83]
    assert (batch.ids, batch.slices, numbers(batch.latency)) == (["req-17"], {"tenant": ["a"]}, [0.012])


def test_a_monitor_without_name_says_none(agent: Agent) -> None:
    """The agent then takes its own name for the model."""
    monitor = Monitor(socket=agent.path)
    monitor.observe(prediction=1)
    batch = agent.one(monitor)
    assert (batch.model, batch.version) == ("", None)
    monitor.close()


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, 1.5),
        (3, 3.0),
        (True, "true"),
        (False, "false"),
        ("text", "text"),
        ("", ""),
        ("nul\0 and \x01", "nul\0 and \x01"),
        ("\x01", "\x01"),
        ("\x01\x03", "\x01\x03"),
        ("\ud800", "?"),
        (Colour.RED, "red"),
        (2**53 + 1, str(2**53 + 1)),
        (2**70, str(2**70)),
        (math.inf, math.inf),
        (decimal.Decimal("0.5"), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7.0),
        (np.bool_(True), "true"),
        (np.str_("a"), "a"),
        (np.array(2.5), 2.5),
        ("x" * 5_000, "x" * 4_096),
    ],
)
def test_each_kind_of_value(agent: Agent, monitor: Monitor, value: Any, expected: float | str) -> None:
    """Numbers as numbers, texts and booleans as texts; once through the first path and once through the fast one."""
    for _ in range(3):
        monitor.observe(features={"x": value, "y": 1.0}, prediction=0.5, latency=0.1)
    batches = agent.received(monitor)
    assert [v for batch in batches for v in list(batch.features["x"])] == [expected] * 3


@pytest.mark.parametrize("missing", [None, math.nan, np.float64("nan")])
def test_missing_numbers_are_nan(agent: Agent, monitor: Monitor, missing: float | None) -> None:
    """None and NaN in a column of numbers, before and after real ones."""
    for value in (missing, 1.0, missing):
        monitor.observe(features={"x": value})
    values = [v for batch in agent.received(monitor) for v in batch.features["x"]]
    assert [math.isnan(v) for v in values] == [True, False, True]


def test_missing_texts_are_none_and_absent_is_missing(agent: Agent, monitor: Monitor) -> None:
    """None in a column of texts; a feature that is not given is a missing one of the same column."""
    for features in ({"x": "a", "y": 1.0}, {"x": None, "y": 1.0}, {"y": 1.0}, {"y": 1.0, "x": "b"}):
        monitor.observe(features=features)
    batch = agent.one(monitor)
    assert batch.features["x"] == ["a", None, None, "b"]
    assert list(batch.features["y"]) == [1.0] * 4


def test_the_order_of_the_features_does_not_matter(agent: Agent, monitor: Monitor) -> None:
    """Names decide, on the fast path too."""
    for _ in range(3):
        monitor.observe(features={"a": 1.0, "b": 2.0}, prediction=0.0, latency=0.0)
        monitor.observe(features={"b": 2.0, "a": 1.0}, prediction=0.0, latency=0.0)
    batch = agent.one(monitor)
    assert (list(batch.features["a"]), list(batch.features["b"])) == ([1.0] * 6, [2.0] * 6)


def test_a_boolean_in_a_column_of_numbers_is_no_number(agent: Agent, monitor: Monitor) -> None:
    """True must not become 1.0 only because the row before had numbers."""
    for value in (1.0, True, 2.0, "a", 3):
        monitor.observe(features={"x": value}, prediction=0.5, latency=0.1)
    values = sorted(str(v) for batch in agent.received(monitor) for v in batch.features["x"])
    assert values == ["1.0", "2.0", "3.0", "a", "true"]


@pytest.mark.parametrize("other", [[1], {"a": 1}, object(), np.zeros(1), np.array(["a", "b"]), b"ab"])
def test_what_is_no_single_value_is_left_out(agent: Agent, monitor: Monitor, other: Any) -> None:
    """Mappings, objects, lists of one are no features; the others of the row arrive."""
    for _ in range(3):
        monitor.observe(features={"x": 1.0, "odd": other}, prediction=0.5)
    batch = agent.one(monitor)
    assert (batch.rows, list(batch.features)) == (3, ["x"])


@pytest.mark.parametrize("scores", [[0.25, 0.75], (0.25, 0.75), np.array([0.25, 0.75]), np.array([[0.25, 0.75]])])
def test_probabilities(agent: Agent, monitor: Monitor, scores: Any) -> None:
    """A list of numbers in [0, 1] that sums to 1, in any wrapping."""
    monitor.observe(features={"x": 1.0}, prediction=scores)
    batch = agent.one(monitor)
    assert (batch.probabilities.tolist(), batch.n_classes) == ([[0.25, 0.75]], 2)  # type: ignore[union-attr]


@pytest.mark.parametrize("numbers", [[0.5, 0.6], [3.0, -2.0], [], [math.nan, 1.0], ["a", "b"]])
def test_other_lists_are_no_prediction(agent: Agent, monitor: Monitor, numbers: list[Any]) -> None:
    """The features are counted, a prediction is not made up."""
    monitor.observe(features={"x": 1.0}, prediction=numbers)
    batch = agent.one(monitor)
    assert batch.prediction is None
    assert batch.probabilities is None


@pytest.mark.parametrize("row", [[1.0, 2.0], (1.0, 2.0), np.array([1.0, 2.0]), np.array([[1.0, 2.0]])])
def test_a_row_without_names(agent: Agent, monitor: Monitor, row: Any) -> None:
    """Features of an array are f0, f1, ..."""
    monitor.observe(features=row, prediction=1)
    batch = agent.one(monitor)
    assert {name: list(column) for name, column in batch.features.items()} == {"f0": [1.0], "f1": [2.0]}


def test_names_of_an_arrays_columns(agent: Agent) -> None:
    """`feature_names` gives them."""
    monitor = Monitor(socket=agent.path, feature_names=["age", "size"])
    monitor.observe(features=[1.0, 2.0])
    assert list(agent.one(monitor).features) == ["age", "size"]
    monitor.close()


def test_a_defaultdict_does_not_grow(agent: Agent, monitor: Monitor) -> None:
    """Nothing is asked of a caller's mapping that changes it."""
    monitor.observe(features={"a": 1.0, "b": 2.0}, prediction=0.5, latency=0.1)
    features: dict[str, float] = collections.defaultdict(float, {"a": 1.0, "c": 2.0})
    monitor.observe(features=features, prediction=0.5, latency=0.1)
    assert sorted(features) == ["a", "c"]
    assert rows(agent.received(monitor)) == 2


def test_nothing_is_kept_of_what_may_change(agent: Agent, monitor: Monitor) -> None:
    """The caller may reuse its mapping at once."""
    features = {"x": 1.0, "t": "a"}
    monitor.observe(features=features, prediction=0.5, latency=0.1)
    features.update(x=9.0, t="z")
    batch = agent.one(monitor)
    assert (list(batch.features["x"]), batch.features["t"]) == ([1.0], ["a"])


class Hostile:
    """An object whose every look-up fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __len__(self) -> int:
        raise RuntimeError("len")


ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=5),
    st.lists(st.floats(), max_size=3),
    st.just(Hostile()),
)


@SHARED
@given(
    st.one_of(ANY, st.dictionaries(st.one_of(st.text(max_size=9), st.integers(0, 9)), ANY, max_size=6)),
    ANY,
    ANY,
    st.one_of(st.none(), st.text(max_size=5)),
)
def test_anything_may_be_observed(
    agent: Agent, monitor: Monitor, features: Any, prediction: Any, latency: Any, key: str | None
) -> None:
    """No argument raises, and each row arrives or is counted as lost; no frame is malformed."""
    before = agent.counters()
    monitor.observe(features=features, prediction=prediction, latency=latency, id=key)
    monitor.observe(features={"x": 1.0}, prediction=0.5, latency=0.1)
    agent.received(monitor)
    after = agent.counters()
    arrived, lost = (after[n] - before[n] for n in ("sdk", "sdk_buffer"))
    assert arrived + lost == 2
    assert arrived >= 1
    assert not any(value for name, value in after.items() if name.startswith("frame_"))


@SHARED
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abcd"),
            st.one_of(st.floats(allow_nan=False), st.booleans(), st.text(max_size=6)),
            min_size=1,
        ),
        min_size=1,
        max_size=12,
    )
)
def test_mixed_rows_arrive_with_their_values(agent: Agent, monitor: Monitor, given_rows: list[dict[str, Any]]) -> None:
    """Whatever the mixture of names and kinds, each value is found in the column of its name."""

    def cell(value: Any) -> Any:
        return str(value).lower() if isinstance(value, bool) else value

    for row in given_rows:
        monitor.observe(features=row, prediction=0.5, latency=0.1)
    wanted = collections.Counter((name, cell(value)) for row in given_rows for name, value in row.items())
    got: collections.Counter[tuple[str, Any]] = collections.Counter()
    for batch in agent.received(monitor):
        for name, column in batch.features.items():
            got.update((name, v) for v in list(column) if v is not None and v == v)
    assert got == wanted


def test_what_is_remembered_is_bounded(agent: Agent, monitor: Monitor) -> None:
    """A model that makes up new names all the time fills neither memory nor the agent, and loses no row."""
    for i in range(600):
        monitor.observe(features={f"n{i}": 1.0, f"m{i}": "a"}, prediction=0.5, latency=0.1)
    assert rows(agent.received(monitor)) == 600
    assert len(monitor._sender.schemas) <= _rows.MAX_SCHEMAS
    assert len(monitor._rows._shapes) <= _rows.MAX_SHAPES


def test_too_many_features_leave_the_prediction(agent: Agent, monitor: Monitor) -> None:
    """Over 1,000 columns are an image, not features."""
    monitor.observe(features={f"p{i}": 1.0 for i in range(1_001)}, prediction=0.5)
    batch = agent.one(monitor)
    assert (batch.rows, len(batch.features)) == (1, 0)


def test_wide_rows_with_long_texts_fit_frames(agent: Agent, monitor: Monitor) -> None:
    """300 texts of 256 characters: a row of 75 KB fits no frame and is lost, counted; shorter ones all arrive."""
    for _ in range(4):
        monitor.observe(features={f"t{i}": "x" * 256 for i in range(300)})
        monitor.observe(features={f"t{i}": "x" * 50 for i in range(300)})
    assert rows(agent.received(monitor)) == 4
    monitor.observe(features={"x": 1.0})
    agent.received(monitor)
    assert agent.counters()["sdk_buffer"] == 4


def test_plans_are_bounded() -> None:
    """Value types that never repeat do not pile up."""
    schema = _schema.Schema(((0, "x"),), (0,))
    for i in range(2 * _schema.MAX_PLANS):
        schema.add([type(f"F{i}", (float,), {})(1.0)])
    assert len(schema.plans) <= _schema.MAX_PLANS
    assert len(schema.rows) == 2 * _schema.MAX_PLANS


def test_threads_lose_nothing(agent: Agent, monitor: Monitor) -> None:
    """Eight threads observe at once; every row arrives, once."""

    def work(start: int) -> None:
        for i in range(500):
            monitor.observe(features={"x": 1.0, "t": "a"}, prediction=float(start + i), latency=0.1)

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = [v for batch in agent.received(monitor) for v in numbers(batch.prediction)]
    assert sorted(values) == [float(1000 * n + i) for n in range(8) for i in range(500)]
