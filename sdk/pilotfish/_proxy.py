"""What `Monitor.wrap` returns: the model, seen through glass.

A type is made for each model's type, because Python looks special methods (calling, ``len``, ``[]``) up on types.
The proxy pickles and copies as the model itself: ``typing.cast`` is a function of the standard library that returns
its second argument, so the pickle needs nothing of ours to load and the model is pickled the way it always is.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable

from pilotfish import _calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pilotfish._monitor import Monitor

    State = tuple[Monitor, Any, str, Any]  # the model, the method's name, the proxy whose method this is

ANSWERS: dict[str, bool] = {
    "__call__": True,
    "predict": True,
    "predict_proba": True,
    "predict_on_batch": True,
    "inplace_predict": True,
    "score_samples": True,
    "forward": True,
    "infer": True,
    "predict_log_proba": False,
    "decision_function": False,
    "transform": False,
    "generate": False,
    "encode": True,
    "run": True,
}
"""Methods that count as a call, and whether what they return is the prediction: margins and transformed rows are
none; embeddings are the feature ``output``."""

_OURS = frozenset(
    f"__{name}__"
    for name in (  # noqa: SIM905 - eighty quotes fewer
        "class new init init_subclass subclasshook getattribute getattr setattr delattr reduce reduce_ex getstate "
        "setstate copy deepcopy dict weakref doc module slots del call dir annotations class_getitem getnewargs "
        "getnewargs_ex sizeof set_name get set delete signature eq ne hash mro_entries prepare instancecheck "
        "subclasscheck qualname name wrapped match_args firstlineno static_attributes type_params"
    ).split()
)
_PLAIN = (type(None), bool, int, float, str, bytes, type)
_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
_TYPES: weakref.WeakKeyDictionary[type, type] = weakref.WeakKeyDictionary()
_STATE = "_pilotfish"


def wrap(monitor: Monitor, model: Any) -> Any:
    """A proxy of ``model``; the model itself where it is no model (None, numbers, texts, classes)."""
    if isinstance(model, _PLAIN):
        return model
    state = _state(model)
    if state is not None and state[0] is monitor:
        return model
    return _made(monitor, model, "__call__", None)


def _state(value: Any) -> State | None:
    """The state of a proxy; None of anything else."""
    slot: Any = type(value).__dict__.get(_STATE)
    return None if slot is None else slot.__get__(value)


def _bare(value: Any) -> Any:
    state = _state(value)
    return value if state is None else state[1]


def _made(monitor: Monitor, model: Any, method: str, owner: Any) -> Any:
    kind = _TYPES.get(type(model))
    if kind is None:
        kind = _TYPES[type(model)] = _proxy_type(type(model))
    proxy: Any = object.__new__(kind)
    kind.__dict__[_STATE].__set__(proxy, (monitor, model, method, owner))
    return proxy


def method(monitor: Monitor, bound: Any, name: str, owner: Any) -> Any:
    """A bound method of ``owner`` whose calls are observed; it looks and pickles as the method itself."""
    return _made(monitor, bound, name, owner)


def _proxy_type(of: type) -> type:
    space: dict[str, Any] = {
        "__slots__": (_STATE, "__weakref__"),
        "__module__": of.__module__,
        "__qualname__": of.__qualname__,
        "__class__": property(lambda self: _bare(self).__class__),
        "__doc__": property(lambda self: _bare(self).__doc__),
        **_METHODS,
    }
    if issubclass(of, _FUNCTIONS):
        space["__module__"] = property(lambda self: _bare(self).__module__)
    if getattr(of, "__hash__", None) is None:
        space["__hash__"] = None
    if any("__call__" in vars(base) for base in of.__mro__):  # `callable` of a type speaks of making instances
        space["__call__"] = _call
    for name in {n for base in of.__mro__ for n in vars(base) if n[:2] == "__" == n[-2:]} - _OURS:
        if callable(getattr(of, name, None)):
            space[name] = _special(name)
    return type(of.__name__, (), space)


def _special(name: str) -> Callable[..., Any]:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        model = _bare(self)
        result = getattr(type(model), name)(model, *map(_bare, args), **kwargs)
        return self if result is model else result

    forward.__name__ = name
    return forward


def _call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
    monitor, model, method, owner = self._pilotfish
    if method not in ANSWERS:  # any other method; `fit` and its like return the model: the proxy stays around it
        result = model(*args, **kwargs)
        return owner if owner is not None and result is _bare(owner) else result
    classes = () if owner is None else _classes(_bare(owner))
    return _calls.call(monitor, model, args, kwargs, answers=ANSWERS[method], classes=classes)


def _classes(model: Any) -> tuple[str, ...]:
    """The names of the columns of ``predict_proba``."""
    try:
        return tuple(map(str, model.classes_))
    except Exception:  # noqa: BLE001 - whatever a foreign attribute does: the classes have no names then
        return ()


def _getattr(self: Any, name: str) -> Any:
    monitor, model, _, _ = self._pilotfish
    if name == "__signature__":
        return _signature(model)
    value = getattr(model, name)
    if name[:2] != "__" and (getattr(value, "__self__", None) is model or (name in ANSWERS and callable(value))):
        return value if isinstance(value, _PLAIN) else _made(monitor, value, name, self)
    return value


def _signature(model: Any) -> Any:
    import inspect

    try:
        return inspect.signature(model)
    except (TypeError, ValueError) as error:
        raise AttributeError("__signature__") from error


def _reduce_ex(self: Any, _protocol: object) -> tuple[Any, tuple[None, Any]]:
    from typing import cast

    return cast, (None, _bare(self))


def _copy(self: Any) -> Any:
    import copy

    return copy.copy(_bare(self))


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    import copy

    return copy.deepcopy(_bare(self), memo)


_METHODS: dict[str, Any] = {
    "__getattr__": _getattr,
    "__setattr__": lambda self, name, value: setattr(_bare(self), name, value),
    "__delattr__": lambda self, name: delattr(_bare(self), name),
    "__dir__": lambda self: dir(_bare(self)),
    "__eq__": lambda self, other: _bare(self) == _bare(other),
    "__ne__": lambda self, other: _bare(self) != _bare(other),
    "__hash__": lambda self: hash(_bare(self)),
    "__reduce_ex__": _reduce_ex,
    "__copy__": _copy,
    "__deepcopy__": _deepcopy,
}
