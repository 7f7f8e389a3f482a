"""`Monitor(model).start()`: scikit-learn estimators observed through their class, and left exactly as they were."""

from __future__ import annotations

import copy
import gc
import inspect
import os
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted

from pilotfish import Monitor, _hooks
from tests.sdk.conftest import Agent

X = np.random.default_rng(0).normal(size=(60, 3))
Y = np.where(X[:, 0] > 0, "yes", "no")


@pytest.fixture
def model() -> Any:
    return LogisticRegression().fit(X, Y)


def rows(agent: Agent, monitor: Monitor) -> int:
    return sum(batch.rows for batch in agent.received(monitor))


def test_calls_are_observed_until_the_stop(agent: Agent, model: Any) -> None:
    """Features, prediction, classes of the probabilities; the answers are the model's own."""
    monitor = Monitor(model, "3", socket=agent.path)
    want = model.predict_proba(X[:5])
    assert monitor.start()
    np.testing.assert_array_equal(model.predict_proba(X[:5]), want)
    batch = agent.one(monitor)
    assert (batch.rows, batch.classes, batch.version, batch.model) == (5, ("no", "yes"), "3", "")
    np.testing.assert_array_equal(batch.features["f0"], X[:5, 0])
    model.predict(X[:4])
    assert rows(agent, monitor) == 4
    monitor.stop()
    model.predict(X[:4])
    assert rows(agent, monitor) == 0
    monitor.close()


def test_others_of_the_class_are_not_observed(agent: Agent, model: Any) -> None:
    """Neither clones, copies and loaded pickles, nor estimators of a subclass."""

    class Own(LogisticRegression):  # type: ignore[misc] # has no types
        pass

    want, monitor = model.predict(X), Monitor(model, socket=agent.path)
    assert monitor.start()
    others = [clone(model).fit(X, Y), copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))]
    for other in (*others, Own().fit(X, Y)):
        np.testing.assert_array_equal(other.predict(X), want)
    assert rows(agent, monitor) == 0
    monitor.stop()
    monitor.close()


def test_the_model_looks_as_before(agent: Agent, model: Any) -> None:
    """Type, attributes, signatures, tags, pickled bytes."""
    monitor = Monitor(model, socket=agent.path)
    before = (type(model), dir(model), pickle.dumps(model), inspect.signature(model.predict), repr(model), vars(model))
    assert monitor.start()
    now = (type(model), dir(model), pickle.dumps(model), inspect.signature(model.predict), repr(model), vars(model))
    assert now == before
    assert isinstance(model, LogisticRegression)
    assert is_classifier(model)
    check_is_fitted(model)
    assert inspect.ismethod(model.predict)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model.predict))(X), model.predict(X))
    monitor.stop()
    monitor.close()


@pytest.mark.parametrize("of", [LogisticRegression, LinearRegression, SVC, StandardScaler])
def test_the_class_is_left_as_it_was(agent: Agent, of: type[BaseEstimator]) -> None:
    """The same objects under the same names in the same order."""
    before = list(vars(of).items())
    first, second = of(), of()
    monitors = [Monitor(m, socket=agent.path) for m in (first, second)]
    assert all(monitor.start() for monitor in monitors)
    assert list(vars(of).items()) != before
    monitors[0].stop()
    assert list(vars(of).items()) != before  # the other one is still watched
    monitors[1].stop()
    assert all(a is c and b is d for (a, b), (c, d) in zip(vars(of).items(), before, strict=True))
    for monitor in monitors:
        monitor.close()


def test_a_method_that_is_not_available_stays_so(agent: Agent) -> None:
    """`predict_proba` of an SVC without probabilities."""
    model = SVC().fit(X, Y)
    monitor = Monitor(model, socket=agent.path)
    assert monitor.start()
    assert hasattr(model, "predict_proba") == hasattr(SVC().fit(X, Y), "predict_proba")
    monitor.stop()
    monitor.close()


def test_of_nested_estimators_the_outermost_counts(agent: Agent) -> None:
    """A pipeline's steps are its own matter."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    monitor = Monitor(model, socket=agent.path)
    assert monitor.start()
    model.predict(X[:7])
    assert rows(agent, monitor) == 7
    monitor.stop()
    monitor.close()


def test_a_model_that_is_gone_takes_its_hooks_with_it(agent: Agent) -> None:
    """The monitor keeps no model alive; a later one at the same address is another one."""
    before = list(vars(LinearRegression).items())
    model = LinearRegression().fit(X, X[:, 0])
    monitor = Monitor(model, socket=agent.path)
    assert monitor.start()
    del model
    gc.collect()
    assert not _hooks._WATCHED
    assert list(vars(LinearRegression).items()) == before
    monitor.stop()
    monitor.close()


@pytest.mark.parametrize("other", [None, 5, "text", object(), lambda x: x, LogisticRegression])
def test_what_is_no_estimator_is_not_hooked(agent: Agent, other: Any) -> None:
    """And nothing is raised; the class of an estimator is none."""
    monitor = Monitor(socket=agent.path)
    assert not monitor.start(other)
    monitor.stop()
    monitor.close()


def test_one_monitor_a_model(agent: Agent, model: Any) -> None:
    """A second one is told so; starting twice is starting once."""
    first, second = Monitor(model, socket=agent.path), Monitor(model, socket=agent.path)
    assert first.start()
    assert first.start()
    assert not second.start()
    second.stop()
    model.predict(X[:2])
    assert rows(agent, first) == 2
    first.stop()
    assert second.start()
    second.stop()
    first.close()
    second.close()


def test_threads_and_errors(agent: Agent, model: Any) -> None:
    """Each call is counted once; what the model raises is raised."""
    monitor = Monitor(model, socket=agent.path)
    assert monitor.start()
    threads = [threading.Thread(target=lambda: [model.predict(X[:1]) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(agent, monitor) == 200
    with pytest.raises(ValueError, match="3 features"):
        model.predict(X[:, :2])
    monitor.stop()
    monitor.close()


def test_a_forked_child_is_observed_too(agent: Agent, model: Any) -> None:
    """As under a server that loads the model first and forks then."""
    monitor = Monitor(model, socket=agent.path)
    assert monitor.start()
    child = os.fork()
    if not child:
        model.predict(X[:3])
        os._exit(0 if monitor.flush(5) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sum(batch.rows for batch in agent.intake.drain()) == 3
    monitor.stop()
    monitor.close()
