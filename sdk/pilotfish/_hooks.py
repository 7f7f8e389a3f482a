"""`Monitor.start`: scikit-learn estimators observed where they are, through their class, and left as they were found.

A descriptor stands before each of the class's methods that count as a call. It asks whose method is wanted: an
estimator that is watched gets one that observes, all others, and the class itself, what was there before. The estimator
is not touched: it pickles, copies and clones as ever, and what comes of that is not watched.
"""

from __future__ import annotations

import inspect
import threading
import weakref

from pilotfish import _proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pilotfish._monitor import Monitor

METHODS = (
    *("predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples"),
    *("transform", "inplace_predict"),
)
_LOCK = threading.RLock()  # an estimator may be collected, and forgotten, while another one is hooked
_WATCHED: dict[int, tuple[weakref.ref[Any], Monitor]] = {}
_CLASSES: dict[type, list[_Shim]] = {}
_ABSENT = object()


class _Shim:
    """Stands before one method of one class.

    Attributes:
        name: of the method.
        before: what the class, or the first of its bases, has.
        own: what stood in the class itself, `_ABSENT` when it was inherited.
    """

    def __init__(self, of: type, name: str) -> None:
        self.name = name
        self.before: Any = inspect.getattr_static(of, name)
        self.own: Any = vars(of).get(name, _ABSENT)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        get = getattr(type(self.before), "__get__", None)
        found = self.before if get is None else get(self.before, instance, owner)  # may be absent: `available_if`
        watched = None if instance is None else _WATCHED.get(id(instance))
        if watched is None or watched[0]() is not instance:
            return found
        return _proxy.method(watched[1], found, self.name, instance)


def start(monitor: Monitor, model: Any) -> bool:
    """Observes an estimator from now on; False when it is none, or is watched already by another monitor."""
    of = type(model)
    if not _is_estimator(of):
        return False
    with _LOCK:
        known = _WATCHED.get(id(model))
        if known is not None and known[0]() is model:
            return known[1] is monitor
        key = id(model)
        reference = weakref.ref(model, lambda _: _forget(key, of))
        if of not in _CLASSES:
            _put(of)
        _WATCHED[key] = (reference, monitor)
    return True


def stop(monitor: Monitor, model: Any) -> None:
    """Takes the hooks off; the class is as it was once none of its estimators is watched."""
    with _LOCK:
        known = _WATCHED.get(id(model))
        if known is not None and known[1] is monitor:
            _forget(id(model), type(model))


def _is_estimator(of: type) -> bool:
    """Whether a class is an estimator of scikit-learn's kind, of whatever library; found without importing it."""
    return any(base.__name__ == "BaseEstimator" and base.__module__.startswith("sklearn.") for base in of.__mro__)


def _put(of: type) -> None:
    shims = [_Shim(of, name) for name in METHODS if name in dir(of)]
    done: list[_Shim] = []
    try:
        for shim in shims:
            setattr(of, shim.name, shim)
            done.append(shim)
    except (TypeError, AttributeError):  # a class that cannot be changed
        _take(of, done)
        raise
    _CLASSES[of] = shims


def _take(of: type, shims: list[_Shim]) -> None:
    for shim in shims:
        if vars(of).get(shim.name) is not shim:
            continue  # someone else has put something there since: theirs stays
        if shim.own is _ABSENT:
            delattr(of, shim.name)
        else:
            setattr(of, shim.name, shim.own)


def _forget(key: int, of: type) -> None:
    with _LOCK:
        _WATCHED.pop(key, None)
        left = any(type(model()) is of for model, _ in list(_WATCHED.values()))
        if not left and of in _CLASSES:
            _take(of, _CLASSES.pop(of))
