"""From one observation's arguments to the schema that packs it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from math import prod

from pilotfish import wire
from pilotfish._schema import NAN, Key, Schema, float_of, kind_of, plain, widened
from pilotfish._sender import Sender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_FEATURES = 1_000
"""As the agent's ``limits.features``: a row with more is an image or a text, not features; they are left out."""
MAX_SHAPES = 256
MAX_SCHEMAS = 64
PROBABILITY_TOLERANCE = 1e-3  # float32 softmax over 1,000 classes is off by less than 1e-4


class Rows:
    """Finds and makes the schemas of one monitor's rows. What it remembers is bounded; anything may be observed.

    Args:
        sender: gets every schema that is made.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._shapes: dict[tuple[Any, ...], tuple[Any, ...]] = {}  # names as they came -> names as they are sent
        self._current: dict[tuple[Any, ...], Schema] = {}
        self._schemas: dict[tuple[Any, ...], Schema] = {}

    def add(
        self,
        features: Mapping[Any, Any],
        prediction: Any = None,
        latency: float | None = None,
        *,
        id: Any = None,  # noqa: A002 - the user's word
        slices: Mapping[str, Any] | None = None,
        classes: Sequence[str] = (),
        outcome: int = 0,
    ) -> Schema:
        """Packs one row, and gives the schema it went to.

        Raises:
            Exception: of any kind for a row that cannot be sent; the caller counts it.
        """
        if len(features) > MAX_FEATURES:
            features = {}
        names = tuple(features)
        sent = self._shapes.get(names) or self._shape(names)
        chosen = features.values() if sent == names else [features.get(name) for name in sent]
        latency = _seconds(latency)
        scores = probabilities(prediction)
        head: Key
        if prediction is not None and scores is None and _single(prediction):
            head, values = _HEAD, [prediction, latency]
        elif scores:
            head = (*((wire.PROBABILITY, c) for c in _classes(classes, len(scores))), (wire.LATENCY, ""))
            values = [*scores, latency]
        else:
            head, values = _HEAD[1:], [latency]
            if prediction is not None and OUTPUT not in sent:  # a list of objects, or of numbers of another kind
                sent, chosen = (*sent, OUTPUT), [*chosen, prediction]
        if id is not None:
            head, values = (*head, (wire.ID, "")), [*values, str(id)]
        if slices:
            head = (*head, *((wire.SLICE, str(name)) for name in slices))
            values += map(str, slices.values())
        return self._put(head, sent, [*values, *chosen], outcome)

    def _put(
        self, head: tuple[tuple[int, str], ...], names: tuple[Any, ...], values: list[Any], outcome: int
    ) -> Schema:
        where = (head, names, outcome)
        schema = self._current.get(where)
        if schema is not None and not schema.retired:
            try:
                if tuple(map(type, values)) in schema.plans or schema.accepts(values):
                    schema.add(values)
                    return schema
            except (TypeError, ValueError, OverflowError, struct.error):
                pass  # lists among the features, whole numbers beyond 64 bits: looked at one by one below
        found = _described(names, values, len(head))
        if found is not None:
            return self._put(head, *found, outcome)
        key = (*head, *((wire.FEATURE, str(name)) for name in names))
        kinds, values, kept = self._kinds(key, values, schema)
        made = self._schema(tuple(key[i] for i in kept), tuple(kinds), outcome)
        if len(kept) == len(key):
            if len(self._current) >= MAX_SCHEMAS:
                self._current.clear()
            self._current[where] = made
        made.add(values)
        return made

    @staticmethod
    def _kinds(
        key: Sequence[tuple[int, str]], values: list[Any], old: Schema | None
    ) -> tuple[list[int], list[Any], list[int]]:
        """Kinds, values and places of the columns whose values are single ones or lists of numbers."""
        kinds: list[int] = []
        cells: list[Any] = []
        kept: list[int] = []
        for i, ((role, _), value) in enumerate(zip(key, values, strict=True)):
            before = None if old is None else old.kinds[i]
            try:
                kind = kind_of(value)
            except TypeError:
                kind = _list_kind(value) if role == wire.FEATURE else None
                if kind is None:
                    continue
            if role in (wire.LATENCY, wire.PROBABILITY):
                kind = wire.FLOAT
            elif role in (wire.ID, wire.SLICE):
                kind = wire.TEXT
            elif before is not None and kind != before:
                kind = widened(kind, before)
            kinds.append(wire.FLOAT if kind is None else kind)
            cells.append(value)
            kept.append(i)
        return kinds, cells, kept

    def _schema(self, key: tuple[tuple[int, str], ...], kinds: tuple[int, ...], outcome: int) -> Schema:
        where = (key, kinds, outcome)
        schema = self._schemas.get(where)
        if schema is None:
            schema = Schema(key, kinds, outcome)
            if len(self._schemas) >= MAX_SCHEMAS:
                old = list(self._schemas.values())
                self._schemas.clear()
                self._current.clear()
                self._sender.retire(old)
            made, schema = schema, self._schemas.setdefault(where, schema)  # another thread may have been faster
            if schema is made:
                self._sender.schemas.append(schema)
        return schema

    def _shape(self, names: tuple[Any, ...]) -> tuple[Any, ...]:
        """Names under which a row with ``names`` is sent: an absent feature is a missing one, order does not matter."""
        sent = names
        for known in set(self._shapes.values()):
            common = len(set(known) & set(names))
            if names and known and 2 * common >= len(names):
                sent = known if common == len(names) else (*known, *(n for n in names if n not in known))
                break
        if len(sent) > MAX_FEATURES:
            sent = names
        if len(self._shapes) >= MAX_SHAPES:
            self._shapes.clear()
        self._shapes[names] = sent
        return sent


OUTPUT = "output"
"""The feature of an answer that is a list of numbers but no probabilities, or of objects: `output.count`."""
_SINGLE = {float, int, str, bool, type(None)}
_HEAD = ((wire.PREDICTION, ""), (wire.LATENCY, ""))


def _seconds(latency: Any) -> float:
    """A latency; what is no number was not measured."""
    try:
        return float_of(latency)
    except (TypeError, ValueError, OverflowError):
        return NAN


def _single(value: Any) -> bool:
    try:
        return kind_of(value) is not None
    except TypeError:
        return False


def _list_kind(value: Any) -> int | None:
    """The kind of a column of such lists, None where the value is no list of numbers."""
    from pilotfish import described

    try:
        width = described.width(value)
    except Exception:  # noqa: BLE001 - foreign objects may do anything when looked at; that one is no list
        return None
    return wire.lists_of(width) if width else None


def _described(names: Sequence[Any], values: Sequence[Any], start: int) -> tuple[tuple[Any, ...], list[Any]] | None:
    """Names and values with images and lists of objects replaced by what describes them; None where there are none.

    Args:
        names: of the features.
        values: of the features, from ``start`` on.
        start: values in front.
    """
    if _SINGLE.issuperset(map(type, values)):
        return None
    from pilotfish import described

    told: dict[Any, Any] = {}
    for name, value in zip(names, values[start:], strict=True):
        try:
            single = type(value) in _SINGLE or kind_of(value) is not None or described.width(value)
        except Exception:  # noqa: BLE001 - foreign objects may do anything when looked at
            single = False
        if single:
            told[name] = value
            continue
        try:
            told.update(described.expanded(str(name), value))
        except Exception:  # noqa: BLE001, S112 - as above; that one is left out
            continue
    return None if told.keys() == set(names) else (tuple(told), [*values[:start], *told.values()])


def _classes(classes: Sequence[str], count: int) -> Iterable[str]:
    return classes if len(classes) == count else [""] * count


def size(value: Any) -> int:
    """Cells of an array, items of a list; 0 of what has no length. Looks at no cell."""
    try:
        return prod(getattr(value, "shape", None) or (len(value),))
    except TypeError:
        return 0


def probabilities(value: Any) -> list[float] | None:
    """The numbers of a list or array in [0, 1] that sum to 1; None for everything else."""
    if isinstance(value, (float, str, int)) or value is None:
        return None
    if getattr(value, "ndim", 1) == 2 and len(value) == 1:
        value = value[0]
    if getattr(value, "ndim", 1) != 1 or size(value) > wire.MAX_COLUMNS:
        return None
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)) or not value:
        return None
    numbers = [plain(v) for v in value]
    if not all(isinstance(v, (float, int)) and 0 <= v <= 1 for v in numbers):
        return None
    return [float(v) for v in numbers] if abs(sum(numbers) - 1) <= PROBABILITY_TOLERANCE else None
