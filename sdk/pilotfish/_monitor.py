"""`Monitor`: what a model's code sees of Pilotfish."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence

from pilotfish import _find, wire
from pilotfish._rows import MAX_FEATURES, Rows, size
from pilotfish._schema import Schema, getter
from pilotfish._sender import EXIT_SECONDS, Sender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from pilotfish._table import Table

    M = TypeVar("M")
    F = TypeVar("F", bound="Callable[..., Any]")

LONGEST_NAME = 200


class Monitor:
    """Tells the agent what a model was asked and what it answered. Without an agent every call does nothing.

    Nothing here raises into the model, waits for the agent, or keeps a reference to what it is given.

    Args:
        name: the model's name; None takes the agent's own. Or the model itself, for `start`.
        version: its version, None when unknown.
        feature_names: names of the columns of plain arrays, in their order; else ``f0``, ``f1``, ...
        socket: path of the agent's socket; None takes ``$PILOTFISH_SOCKET``, which ``pilotfish run`` sets, else the
            agent found in the runtime folders, now or later.
    """

    def __init__(
        self,
        name: Any = None,
        version: str | None = None,
        *,
        feature_names: Sequence[str] | None = None,
        socket: str | None = None,
    ) -> None:
        path = os.environ.get("PILOTFISH_SOCKET") if socket is None else socket
        find = _fixed(path) if path else _found
        self._feature_names = None if feature_names is None else tuple(map(str, feature_names))
        self._numbered: tuple[str, ...] = ()
        self._model = None if name is None or isinstance(name, str) else _reference(name)
        name = name if self._model is None else None
        self._sender = Sender(_label(name), _label(version), find, waits=bool(path))
        self._rows = Rows(self._sender)
        # the row before: its schema, its number of features, and how to get them in the schema's order
        self._last = (Schema(_DIRECT, (wire.FLOAT, wire.FLOAT)), -1, getter(()))
        self._finalizer = weakref.finalize(self, self._sender.close)

    def observe(
        self,
        features: Mapping[str, Any] | Sequence[Any] | None = None,
        prediction: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - the contract's word
        latency: float | None = None,
        slices: Mapping[str, Any] | None = None,
    ) -> None:
        """Reports one prediction.

        Args:
            features: name -> number, text, boolean or None (missing), list of numbers (an embedding), list of objects
                or image (an array), of which what describes it is sent; or one row of numbers, or an image.
            prediction: a class (text, boolean, whole number), a number, a list of probabilities, or one of other
                numbers or of objects, which becomes the feature ``output``.
            id: the request's id, for labels that come later; repeats within a tick count once.
            latency: seconds.
            slices: name -> value of groups to compare later.
        """
        sender = self._sender
        if sender.off and not sender.probe():
            return
        try:
            schema, width, values_of = self._last
            if type(features) is dict and len(features) == width and id is None and slices is None:
                # as many keys, and each of the last row's: the same keys (no other mapping may be asked like this: a
                # defaultdict would grow)
                values = (prediction, latency, *values_of(features))
                if [*map(type, values)] == schema.types:
                    schema.rows.append(schema.mix(values) if schema.mixed else schema.pack(*values))
                    if sender.parked or len(schema.rows) >= schema.limit:
                        sender.turn(schema)
                    return
        except Exception:  # noqa: BLE001, S110 - anything may be observed; what does not fit the last row is looked at in full
            pass
        self._observe(features, prediction, id, latency, slices)

    def _observe(self, features: Any, prediction: Any, id: Any, latency: Any, slices: Any) -> None:  # noqa: A002
        """The path of the first row, of rows of another shape, and of all that cannot be packed directly."""
        sender = self._sender
        try:
            named = features if isinstance(features, Mapping) else self._named(features)
            schema = self._rows.add(named, prediction, latency, id=id, slices=slices)
            plain = id is None and not slices and len(schema.key) == len(named) + 2  # all features, and nothing else
            if plain and schema is not self._last[0] and schema.key[:2] == _DIRECT:
                names = {str(name): name for name in named}
                self._last = (schema, len(named), getter([names[name] for _, name in schema.key[2:]]))
            if sender.parked or len(schema.rows) >= schema.limit:
                sender.turn(schema)
        except Exception:  # noqa: BLE001 - never into the model: the row is lost and counted as such
            sender.lost += 1

    def observe_batch(
        self,
        features: Any = None,
        predictions: Any = None,
        *,
        ids: Sequence[str] | None = None,
        latency: float | Sequence[float] | None = None,
    ) -> None:
        """Reports many predictions.

        Args:
            features: array of shape (rows, features), data frame, mapping of name -> column, or list of records.
            predictions: of shape (rows,), or probabilities of shape (rows, classes).
            ids: the requests' ids.
            latency: seconds: of the whole call, or one a row.
        """
        if not self.active():
            return
        from pilotfish import _batch, _table  # what is not used is not imported into the model

        try:
            table = None if features is None else _table.read(features, self.columns)
            _batch.send(_batch.Batch(table, predictions, latency, ids=ids), self._rows, self._sender)
        except Exception:  # noqa: BLE001 - never into the model: the rows are lost and counted as such
            self._sender.lost += _length(features, predictions)

    def wrap(self, model: M) -> M:
        """The model with its calls observed; it looks, pickles and copies as the model itself, which is not changed.

        Counted are outermost calls of the model and of ``predict``, ``predict_proba``, ``transform`` and their like
        (docs/sdk.md has the list). ``type()`` of the result is another one.
        """
        from pilotfish import _proxy

        try:
            return _proxy.wrap(self, model)  # type: ignore[no-any-return]
        except Exception:  # noqa: BLE001 - a model that cannot be wrapped is served unobserved
            return model

    def start(self, model: Any = None) -> bool:
        """Observes a scikit-learn estimator where it is; until `stop` nothing has to be called otherwise.

        Its ``type()``, pickles, copies and clones are those of the bare estimator.

        Args:
            model: the estimator; None: that of ``Monitor(model)``.

        Returns:
            False when it is no estimator of scikit-learn's kind (`wrap` it then), or another monitor watches it.
        """
        from pilotfish import _hooks

        try:
            given = model if model is not None or self._model is None else self._model()
            self._model = _reference(given)
            return _hooks.start(self, given)
        except Exception:  # noqa: BLE001 - a model that cannot be hooked is served unobserved
            return False

    def stop(self) -> None:
        """Ends what `start` began: class and estimator are as they were before."""
        from pilotfish import _hooks

        try:
            if self._model is not None:
                _hooks.stop(self, self._model())
        except Exception:  # noqa: BLE001, S110 - never into the model
            pass

    def watch(self, function: F) -> F:
        """Decorator for ``def`` and ``async def``: latency and outcome of each call.

        Features are the first argument that is an array, data frame or mapping; the result is the prediction when it
        is a number, text, list of probabilities or array, or a mapping with such a ``prediction``.
        """
        from pilotfish import _calls

        return _calls.watched(self, function)  # type: ignore[return-value]

    def active(self) -> bool:
        """Whether an agent is there (or promised)."""
        return not self._sender.off or self._sender.probe()

    def told(
        self,
        table: Table | None,
        result: Any,
        latency: float,
        *,
        answers: bool = True,
        classes: Sequence[str] = (),
    ) -> None:
        """A call has returned: for `wrap` and `watch`."""
        from pilotfish import _batch

        try:
            if isinstance(result, Mapping):
                result = result.get("prediction", result.get("predictions"))
            batch = _batch.Batch(table, result if answers else None, latency, classes=classes)
            if not _batch.matches(batch, result):
                batch.predictions, batch.outputs = [], None
            if batch.predictions or batch.outputs is not None or (table and table.rows > 1):
                _batch.send(batch, self._rows, self._sender)
                return
            row = {n: c[0] for n, c in zip(table.names, table.columns, strict=True)} if table and table.rows else {}
            schema = self._rows.add(row, result if answers else None, latency, classes=classes)
            if self._sender.parked or len(schema.rows) >= schema.limit:
                self._sender.turn(schema)
        except Exception:  # noqa: BLE001 - never into the model: the rows are lost and counted as such
            self._sender.lost += table.rows + table.skipped if table else 1

    def failed(self, latency: float) -> None:
        """A call has raised: it has a latency, but no prediction."""
        try:
            schema = self._rows.add({}, None, latency, outcome=wire.OUTCOMES.index("server_error"))
            if self._sender.parked or len(schema.rows) >= schema.limit:
                self._sender.turn(schema)
        except Exception:  # noqa: BLE001 - never into the model: the row is lost and counted as such
            self._sender.lost += 1

    def _named(self, features: Any) -> dict[str, Any]:
        if features is None:
            return {}
        if len(getattr(features, "shape", ())) > 1 and len(features) > 1:
            return {"image": features}
        if isinstance(features, (str, bytes)) or size(features) > MAX_FEATURES:
            return {}  # a prompt: no features; it stays in the process
        if hasattr(features, "items"):  # a row of a data frame
            return dict(features.items())
        values = features.tolist() if hasattr(features, "tolist") else list(features)
        if len(values) == 1 and isinstance(values[0], list):  # one row of two dimensions
            values = values[0]
        return dict(zip(self.columns(len(values)), values, strict=True))

    def columns(self, count: int) -> tuple[str, ...]:
        """Names of the columns of an array without names.

        Raises:
            TypeError: there are more than any features.
        """
        if self._feature_names is not None and len(self._feature_names) == count:
            return self._feature_names
        if count > MAX_FEATURES:  # before a million names are made, and kept
            raise TypeError(f"{count} columns")
        numbered = self._numbered  # of the last width; other threads may have others
        if len(numbered) != count:
            numbered = self._numbered = tuple(f"f{i}" for i in range(count))
        return numbered

    def flush(self, timeout: float = 1.0) -> bool:
        """Hands everything to the agent's socket; False when some of it still waits after ``timeout`` seconds."""
        try:
            return self._sender.off or self._sender.flush(timeout)
        except Exception:  # noqa: BLE001 - never into the model
            return False

    def close(self) -> None:
        """Flushes for at most 0.2 s and stops; later calls do nothing. Happens by itself at exit."""
        try:
            self._finalizer.detach()
            self._sender.close(EXIT_SECONDS)
        except Exception:  # noqa: BLE001, S110 - never into the model
            pass


def _length(*given: Any) -> int:
    return max((len(g) for g in given if hasattr(g, "__len__")), default=1)


_DIRECT = ((wire.PREDICTION, ""), (wire.LATENCY, ""))


def _reference(model: Any) -> Callable[[], Any] | None:
    """A weak reference: the monitor does not keep the model alive."""
    try:
        return weakref.ref(model)
    except TypeError:
        return None


def _label(text: str | None) -> bytes:
    return b"" if text is None else wire.utf8(str(text)[:LONGEST_NAME])


def _fixed(path: str) -> Callable[[], list[str]]:
    return lambda: [path]


def _found() -> list[str]:
    return list(_find.sockets(_find.bases(os.environ)))
