"""What `wrap` returns is the model to everyone who asks, and the calls of it are observed."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import math
import pickle
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from pilotfish import Monitor
from tests.sdk.conftest import Agent

X = np.arange(120.0).reshape(40, 3) % 7
Y = np.arange(40) % 2


class Doubler:
    """A plain model with state, a call, items, an order and a context."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.me = self
        self.open = False

    def predict(self, rows: list[list[float]], *, scale: float = 1.0) -> list[float]:
        """Doubles."""
        return [row[0] * self.factor * scale for row in rows]

    def predict_twice(self, rows: list[list[float]]) -> list[float]:
        return self.predict(rows) + self.predict(rows)

    def fail(self) -> None:
        raise KeyError("mine")

    def __call__(self, row: list[float], scale: float = 1.0) -> float:
        return row[0] * self.factor * scale

    def __len__(self) -> int:
        return 7

    def __getitem__(self, key: str) -> str:
        return key * 2

    def __iter__(self) -> Iterator[int]:
        return iter((1, 2))

    def __contains__(self, item: object) -> bool:
        return item == "in"

    def __enter__(self) -> Self:
        self.open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False

    def __repr__(self) -> str:
        return "Doubler!"


class Slotted:
    """A model without a dictionary, with equality and no hash."""

    __slots__ = ("value",)

    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, x: list[float]) -> float:
        return self.value * x[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slotted) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]


def scored(features: dict[str, float], *, scale: float = 1.0) -> float:
    """Scores."""
    return scale * sum(features.values())


MODELS = [
    LogisticRegression().fit(X, Y),
    RandomForestClassifier(2, random_state=0).fit(X, Y),
    make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y),
    Doubler(2.0),
    Slotted(3.0),
    scored,
    Doubler(2.0).predict,
    functools.partial(scored, scale=2.0),
]
NAMES = [type(m).__name__ for m in MODELS]


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_it_looks_like_the_model(monitor: Monitor, model: Any) -> None:
    """isinstance, __class__, dir, doc, repr, signature and attributes answer as the model's."""
    wrapped = monitor.wrap(model)
    assert wrapped is not model
    assert isinstance(wrapped, type(model))
    assert wrapped.__class__ is type(model)
    assert dir(wrapped) == dir(model)
    assert wrapped.__doc__ == model.__doc__
    assert repr(wrapped) == repr(model)
    assert callable(wrapped) == callable(model)
    if callable(model):
        assert inspect.signature(wrapped) == inspect.signature(model)
    if hasattr(model, "predict"):
        assert inspect.signature(wrapped.predict) == inspect.signature(model.predict)
        assert wrapped.predict.__name__ == "predict"


@pytest.mark.parametrize(
    ("model", "protocol"),
    [
        pytest.param(model, protocol, id=f"{name}-{protocol}")
        for name, model in zip(NAMES, MODELS, strict=True)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        if protocol >= 2 or not isinstance(model, Slotted)  # what has slots needs protocol 2, wrapped or not
    ],
)
def test_it_pickles_as_the_bare_model(monitor: Monitor, model: Any, protocol: int) -> None:
    """In every protocol that the model itself can; loading needs nothing of Pilotfish."""
    data = pickle.dumps(monitor.wrap(model), protocol)
    assert b"pilotfish" not in data
    assert type(pickle.loads(data)) is type(model)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_it_copies_as_the_bare_model(monitor: Monitor, model: Any) -> None:
    """copy and deepcopy give the model's own type; a deep copy shares nothing with the model."""
    wrapped = monitor.wrap(model)
    assert type(copy.copy(wrapped)) is type(model)
    assert type(copy.deepcopy(wrapped)) is type(model)
    assert type(copy.deepcopy({"inside": wrapped})["inside"]) is type(model)


def test_references_to_itself_survive(monitor: Monitor) -> None:
    """A model that refers to itself is one object after pickling and copying, not two."""
    for twin in (pickle.loads(pickle.dumps(monitor.wrap(Doubler(2.0)))), copy.deepcopy(monitor.wrap(Doubler(2.0)))):
        assert twin.me is twin


@pytest.mark.parametrize("model", MODELS[:3], ids=NAMES[:3])
def test_scikit_learn_takes_it_for_the_model(monitor: Monitor, model: Any) -> None:
    """clone, check_is_fitted, tags and pipelines."""
    wrapped = monitor.wrap(model)
    assert type(clone(wrapped)) is type(model)
    check_is_fitted(wrapped)
    assert is_classifier(wrapped)
    assert wrapped.get_params().keys() == model.get_params().keys()
    np.testing.assert_array_equal(make_pipeline(wrapped).fit(X, Y).predict(X), clone(model).fit(X, Y).predict(X))


def test_special_methods_are_the_models(monitor: Monitor) -> None:
    """len, [], in, iteration, with, equality and hash."""
    model = Doubler(2.0)
    wrapped = monitor.wrap(model)
    assert (len(wrapped), wrapped["ab"], list(wrapped), "in" in wrapped) == (7, "abab", [1, 2], True)
    with wrapped as entered:
        assert entered is wrapped
        assert model.open
    assert wrapped == model
    assert wrapped == monitor.wrap(model)
    assert hash(wrapped) == hash(model)
    assert monitor.wrap(Slotted(1.0)) == Slotted(1.0)
    with pytest.raises(TypeError):
        hash(monitor.wrap(Slotted(1.0)))


def test_attributes_are_set_on_the_model(monitor: Monitor) -> None:
    """What the caller changes, it changes in its model."""
    model = Doubler(2.0)
    wrapped = monitor.wrap(model)
    wrapped.factor = 5.0
    assert model.factor == 5.0
    del wrapped.factor
    assert not hasattr(model, "factor")
    with pytest.raises(AttributeError):
        _ = wrapped.factor


def test_the_model_is_not_changed(agent: Agent, monitor: Monitor) -> None:
    """Wrapping and calling leave its attributes and its type alone."""
    model = Doubler(2.0)
    before = (dict(vars(model)), dict(vars(Doubler)))
    monitor.wrap(model).predict([[1.0]])
    assert (dict(vars(model)), dict(vars(Doubler))) == before


def test_the_wrapper_stays_around_methods_that_return_the_model(agent: Agent, monitor: Monitor) -> None:
    """`wrap(model).fit(X, y)` is still observed."""
    fitted = monitor.wrap(LogisticRegression()).fit(X, Y)
    fitted.predict(X[:2])
    assert agent.one(monitor).rows == 2


@pytest.mark.parametrize("value", [None, True, 3, 0.5, "text", b"bytes", Doubler])
def test_what_is_no_model_comes_back_as_it_is(monitor: Monitor, value: Any) -> None:
    """None must stay None, a class a class."""
    assert monitor.wrap(value) is value


def test_wrapping_twice_is_wrapping_once(agent: Agent, monitor: Monitor) -> None:
    """The same monitor counts a call once."""
    wrapped = monitor.wrap(monitor.wrap(Doubler(2.0)))
    wrapped.predict([[1.0]])
    assert agent.one(monitor).rows == 1


def test_only_the_outermost_call_counts(agent: Agent, monitor: Monitor) -> None:
    """A wrapped step inside a wrapped pipeline is part of the pipeline's call; other monitors count for themselves."""
    other = Monitor("step", socket=agent.path)
    inner = monitor.wrap(other.wrap(LogisticRegression().fit(X, Y)))

    class Outer:
        def predict(self, rows: Any) -> Any:
            return inner.predict(rows)

    monitor.wrap(Outer()).predict(X[:3])
    other.flush()
    assert {batch.model: batch.rows for batch in agent.received(monitor)} == {"ranker": 3, "step": 3}
    other.close()


def test_predict_reports_features_classes_and_one_latency(agent: Agent, monitor: Monitor) -> None:
    """N rows are N predictions; the call's latency is counted once."""
    monitor.wrap(MODELS[0]).predict(X[:4])
    batch = agent.one(monitor)
    assert batch.rows == 4
    for j in range(3):
        np.testing.assert_array_equal(batch.features[f"f{j}"], X[:4, j])
    np.testing.assert_array_equal(batch.prediction, MODELS[0].predict(X[:4]))
    assert batch.latency is not None
    assert [math.isnan(s) for s in batch.latency] == [False, True, True, True]


@pytest.mark.parametrize("count", [1, 5, 40])
def test_predict_proba_reports_named_probabilities(agent: Agent, monitor: Monitor, count: int) -> None:
    """Few rows and many, with the model's class names."""
    monitor.wrap(MODELS[0]).predict_proba(X[:count])
    batch = agent.one(monitor)
    np.testing.assert_allclose(np.asarray(batch.probabilities), MODELS[0].predict_proba(X[:count]))
    assert batch.classes == ("0", "1")


def test_what_is_no_answer_is_not_reported_as_one(agent: Agent, monitor: Monitor) -> None:
    """Margins and transformed rows are no predictions; the call, its features and its time count."""
    monitor.wrap(MODELS[0]).decision_function(X[:2])
    monitor.wrap(StandardScaler().fit(X)).transform(X[:2])
    batch = agent.one(monitor)
    assert (batch.rows, batch.prediction, batch.probabilities) == (4, None, None)


def test_a_failed_call_is_an_error_with_a_time(agent: Agent, monitor: Monitor) -> None:
    """What the model raises is raised unchanged; the call counts as server_error."""
    wrapped = monitor.wrap(MODELS[0])
    with pytest.raises(ValueError, match="features"):
        wrapped.predict(np.zeros((1, 9)))
    batch = agent.one(monitor)
    assert (batch.outcomes, batch.rows, batch.prediction) == (["server_error"], 1, None)
    assert batch.latency is not None
    assert batch.latency[0] > 0


def test_the_models_own_errors_pass(monitor: Monitor) -> None:
    """Of methods that are not observed too."""
    with pytest.raises(KeyError, match="mine"):
        monitor.wrap(Doubler(2.0)).fail()


def test_input_is_read_before_the_model_may_change_it(agent: Agent, monitor: Monitor) -> None:
    """A model that scales in place does not change what is reported."""

    def inplace(rows: Any) -> Any:
        rows *= 0.0
        return rows[:, 0]

    monitor.wrap(inplace)(np.ones((2, 2)))
    batch = agent.one(monitor)
    assert batch.features["f0"].tolist() == [1.0, 1.0]
    assert np.asarray(batch.prediction).tolist() == [0.0, 0.0]


def test_texts_stay_in_the_process(agent: Agent, monitor: Monitor) -> None:
    """A list of prompts is no table; the answers of a text classifier count."""

    def classify(prompts: list[str]) -> Any:
        return np.array(["spam"] * len(prompts))

    monitor.wrap(classify)(["a secret", "another"])
    batch = agent.one(monitor)
    assert (batch.rows, batch.features, batch.prediction) == (2, {}, ["spam", "spam"])


def test_a_model_that_is_async(agent: Agent, monitor: Monitor) -> None:
    """The time of an async model ends with its result."""

    class Remote:
        async def predict(self, rows: list[list[float]]) -> list[float]:
            await asyncio.sleep(0.02)
            return [row[0] for row in rows]

    assert asyncio.run(monitor.wrap(Remote()).predict([[4.0], [5.0]])) == [4.0, 5.0]
    batch = agent.one(monitor)
    assert batch.latency is not None
    assert batch.latency[0] >= 0.02
    assert batch.rows == 2
