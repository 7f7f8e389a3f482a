"""Arrays, data frames, mappings and lists of rows, read by their looks."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pilotfish import Monitor
from tests.sdk.conftest import Agent


class Frame:
    """Looks like a data frame of pandas."""

    def __init__(self, **columns: Any) -> None:
        self._columns = columns
        self.columns = list(columns)

    def items(self) -> Any:
        return self._columns.items()

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))


class Polar:
    """Looks like a data frame of polars."""

    def __init__(self, **columns: list[Any]) -> None:
        self._columns = columns

    def iter_columns(self) -> Iterator[Any]:
        for name, column in self._columns.items():
            yield Series(name, column)


class Series:
    def __init__(self, name: str, values: list[Any]) -> None:
        self.name = name
        self._values = values

    def to_list(self) -> list[Any]:
        return self._values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, key: slice) -> Series:
        return Series(self.name, self._values[key])


@pytest.mark.parametrize("times", [1, 30])
@pytest.mark.parametrize(
    "make",
    [
        lambda a, b: {"a": a, "b": b},
        lambda a, b: Frame(a=np.array(a), b=np.array(b, dtype=object)),
        lambda a, b: Polar(a=a, b=b),
        lambda a, b: [{"a": x, "b": y} for x, y in zip(a, b, strict=True)],
    ],
    ids=["mapping", "pandas", "polars", "records"],
)
def test_tables_of_any_make(agent: Agent, monitor: Monitor, make: Any, times: int) -> None:
    """Columns keep names, kinds and gaps, few rows or many."""
    a, b = [1.0, 2.5, math.nan] * times, ["x", None, "z"] * times
    monitor.observe_batch(make(a, b), np.arange(3 * times), ids=[f"r{i}" for i in range(3 * times)])
    batch = agent.one(monitor)
    np.testing.assert_array_equal(batch.features["a"], a)
    assert batch.features["b"] == b
    assert batch.ids == [f"r{i}" for i in range(3 * times)]
    np.testing.assert_array_equal(batch.prediction, np.arange(3 * times))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64", "uint8", "uint64", "bool"])
@pytest.mark.parametrize("count", [2, 50])
def test_arrays_of_any_type(agent: Agent, monitor: Monitor, dtype: str, count: int) -> None:
    """Numbers are numbers, booleans classes."""
    data = (np.arange(count) % 2).astype(dtype).reshape(-1, 1)
    monitor.observe_batch(data)
    column = agent.one(monitor).features["f0"]
    want = ["false", "true"] * (count // 2) if dtype == "bool" else [0.0, 1.0] * (count // 2)
    assert list(column) == want


def test_a_tensor_is_read_by_its_looks(agent: Agent, monitor: Monitor) -> None:
    """One in host memory is read, one on a device is left where it is: reading it would wait for the device."""

    class Tensor:
        def __init__(self, kind: str) -> None:
            self.device = types.SimpleNamespace(type=kind)

        def detach(self) -> Tensor:
            return self

        def numpy(self) -> Any:
            return np.ones((2, 1))

    for kind in ("cpu", "cuda"):
        monitor.observe_batch(Tensor(kind))
    assert agent.one(monitor).rows == 2


def test_a_large_batch_is_thinned_evenly_and_counted(agent: Agent, monitor: Monitor) -> None:
    """More than 4 MiB: every n-th row is taken, the rest is counted as lost."""
    total, width = 60_000, 16
    monitor.observe_batch(np.arange(total, dtype=float)[:, None] + np.zeros(width), np.arange(total))
    seen = np.concatenate([np.asarray(batch.prediction) for batch in agent.received(monitor)])
    monitor.observe(features={"x": 1.0})
    agent.received(monitor)
    assert set(np.diff(seen)) == {2.0}
    assert seen.size + agent.counters()["sdk_buffer"] == total


@pytest.mark.parametrize(
    ("features", "predictions"), [([[1.0]] * 3, [1.0] * 2), (object(), [1.0] * 4), (np.zeros((2, 2, 2)), None), (5, 5)]
)
def test_senseless_batches_raise_nothing(agent: Agent, monitor: Monitor, features: Any, predictions: Any) -> None:
    """They are counted as lost rows."""
    monitor.observe_batch(features, predictions)
    monitor.observe(features={"x": 1.0})
    assert agent.one(monitor).rows == 1
    assert agent.counters()["sdk_buffer"] >= 1
