"""`watch` around functions: latency, outcome, and what can be read of input and result."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import numpy as np
import pytest

from pilotfish import Monitor
from tests.sdk.conftest import Agent


def test_a_function(agent: Agent, monitor: Monitor) -> None:
    """Features of a mapping, the prediction of the result; the function keeps its name and signature."""

    @monitor.watch
    def handler(request: dict[str, Any], *, scale: float = 1.0) -> Any:
        """Handles."""
        return scale * request["age"]

    assert handler({"age": 4, "country": "NO"}, scale=0.5) == 2.0
    assert (handler.__name__, handler.__doc__) == ("handler", "Handles.")
    assert list(inspect.signature(handler).parameters) == ["request", "scale"]
    batch = agent.one(monitor)
    assert (list(batch.features["age"]), batch.features["country"]) == ([4.0], ["NO"])
    assert np.asarray(batch.prediction).tolist() == [2.0]
    assert batch.latency is not None
    assert batch.latency[0] > 0


def test_an_async_function_stays_async(agent: Agent, monitor: Monitor) -> None:
    """Its time ends with its result; many at once do not hide each other."""

    @monitor.watch
    async def handler(request: dict[str, float]) -> str:
        await asyncio.sleep(0.02)
        return "yes" if request["age"] > 1 else "no"

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*(handler({"age": float(i)}) for i in range(4)))

    assert inspect.iscoroutinefunction(handler)
    assert asyncio.run(all_at_once()) == ["no", "no", "yes", "yes"]
    batch = agent.one(monitor)
    assert batch.prediction == ["no", "no", "yes", "yes"]
    assert np.min(np.asarray(batch.latency)) >= 0.02


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_it_raises_is_raised_and_counts(agent: Agent, monitor: Monitor, asynchronous: bool) -> None:
    """The outcome is server_error."""

    @monitor.watch
    def plain(request: Any) -> None:
        raise LookupError(request)

    @monitor.watch
    async def waiting(request: Any) -> None:
        raise LookupError(request)

    with pytest.raises(LookupError, match="why"):
        asyncio.run(waiting("why")) if asynchronous else plain("why")
    batch = agent.one(monitor)
    assert (batch.rows, batch.outcomes) == (1, ["server_error"])


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"prediction": "cat", "other": 1}, ["cat"]),
        ({"predictions": 0.5}, [0.5]),
        (True, ["true"]),
        (np.float64(0.25), [0.25]),
        (object(), None),
        (None, None),
        ({"other": 1}, None),
        (list(range(300)), None),
    ],
)
def test_what_counts_as_a_prediction(agent: Agent, monitor: Monitor, result: Any, expected: list[Any] | None) -> None:
    """Numbers, texts and a mapping's `prediction`; anything else leaves the call without one."""
    monitor.watch(lambda _: result)({"x": 1.0})
    batch = agent.one(monitor)
    assert batch.rows == 1
    assert (None if batch.prediction is None else list(batch.prediction)) == expected


def test_a_request_object_is_no_features(agent: Agent, monitor: Monitor) -> None:
    """The call counts with its time; the method's self is passed over for the first argument that can be read."""

    class Service:
        @monitor.watch
        def handle(self, request: object, features: dict[str, float]) -> int:
            return 1

    Service().handle(object(), {"x": 2.0})
    monitor.watch(lambda request: 1)(object())
    batches = agent.received(monitor)
    assert sorted(len(batch.features) for batch in batches) in ([0, 1], [1])
    assert sum(batch.rows for batch in batches) == 2


def test_nested_watched_functions_count_once(agent: Agent, monitor: Monitor) -> None:
    """The outermost call is the request."""

    @monitor.watch
    def inner(row: dict[str, float]) -> float:
        return row["x"]

    @monitor.watch
    def outer(row: dict[str, float]) -> float:
        return inner(row) + 1.0

    assert outer({"x": 1.0}) == 2.0
    assert agent.one(monitor).rows == 1
