"""One observed call: its input is read before, its answer and its time after; the outermost of nested ones counts."""

from __future__ import annotations

import functools
import time
import types
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar

from pilotfish import _table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pilotfish._monitor import Monitor

_INSIDE: ContextVar[frozenset[int]] = ContextVar("pilotfish_inside", default=frozenset())
"""Monitors whose call runs now, in this thread or task."""


def call(monitor: Monitor, target: Callable[..., Any], args: Any, kwargs: Any, **reading: Any) -> Any:
    """Calls ``target``; what it raises is raised, what it returns is returned.

    Args:
        monitor: is told.
        target: the model, its method, or a watched function.
        args: its positional arguments.
        kwargs: its keyword arguments.
        **reading: for `Monitor.told`: ``answers`` (whether the result is a prediction) and ``classes``.
    """
    inside = _INSIDE.get()
    if id(monitor) in inside or not monitor.active():
        return target(*args, **kwargs)
    table = _input(monitor, args, kwargs)
    token = _INSIDE.set(inside | {id(monitor)})
    start = time.perf_counter()
    try:
        result = target(*args, **kwargs)
    except Exception:
        monitor.failed(time.perf_counter() - start)
        raise
    finally:
        _INSIDE.reset(token)
    if isinstance(result, types.CoroutineType):
        return _awaited(monitor, result, table, reading)
    monitor.told(table, result, time.perf_counter() - start, **reading)
    return result


async def _awaited(monitor: Monitor, result: Coroutine[Any, Any, Any], table: Any, reading: Mapping[str, Any]) -> Any:
    """The same for an `async def`: its time is that from the first step to the result."""
    outside = _INSIDE.get()
    _INSIDE.set(outside | {id(monitor)})
    start = time.perf_counter()
    try:
        answer = await result
    except Exception:
        monitor.failed(time.perf_counter() - start)
        raise
    finally:
        _INSIDE.set(outside)  # not by a token: the last step may run in another context than the first
    monitor.told(table, answer, time.perf_counter() - start, **reading)
    return answer


def _input(monitor: Monitor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _table.Table | None:
    """The first argument that can be read as features."""
    for value in (*args, *kwargs.values()):
        if value is None or isinstance(value, (str, bytes, int, float)):
            continue
        try:
            return _table.read(value, monitor.columns, row=True)
        except Exception:  # noqa: BLE001, S112 - foreign objects may do anything when looked at; that one is no features
            continue
    return None


def watched(monitor: Monitor, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls ``function`` and tells the monitor; async stays async."""
    if _is_async(function):

        @functools.wraps(function)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            return await call(monitor, function, args, kwargs)

        return asynchronous

    @functools.wraps(function)
    def synchronous(*args: Any, **kwargs: Any) -> Any:
        return call(monitor, function, args, kwargs)

    return synchronous


def _is_async(function: Callable[..., Any]) -> bool:
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    return bool(code is not None and code.co_flags & 0x80)  # CO_COROUTINE; `inspect` costs 8 ms to import
