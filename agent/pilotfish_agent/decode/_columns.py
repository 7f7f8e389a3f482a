"""From JSON values to columns: the rows of a request to features, the rows of an answer to predictions."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any, Final

from pilotfish_agent import language
from pilotfish_agent.decode import _lists
from pilotfish_agent.decode._part import Unreadable
from pilotfish_core.nouns import Column

MAX_FEATURES: Final = 1_000
"""As `limits.features`: a row with more numbers is an image or a sound and is reduced to what describes it."""
MAX_ROWS: Final = 100_000
MAX_CLASSES: Final = 4_096
MAX_NAME: Final = 200
EXACT: Final = 2**53
"""Whole numbers up to here are exact as float64; beyond they are names of things, and stay texts."""
TOLERANCE: Final = 1e-3  # float32 softmax over 1,000 classes is off by less than 1e-4
SCORES: Final = ("probabilities", "probability", "predict_proba", "scores", "softmax", "output_probability")
ANSWERS: Final = ("prediction", "predictions", "predicted", "predict", "class", "classes", "label", "labels",
                  "output_label", "score", "value", "result", "output", "outputs", "y")  # fmt: skip
"""Names under which servers answer, where they answer with several things at once; the earlier one is taken."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """The rows of an answer, as the fields of `Observation`; ``outputs``: features of answers that are lists."""

    rows: int
    prediction: Column | None = None
    probabilities: Column | None = None
    n_classes: int = 0
    classes: tuple[str, ...] | None = None
    outputs: Mapping[str, Column] = field(default_factory=dict)


_NAMES: Final = tuple(f"f{i}" for i in range(MAX_FEATURES))
_NUMBER: Final = frozenset({float, int})
_SINGLE: Final = frozenset({float, int, str, bool, type(None)})

# -- features


def features(rows: Sequence[Any]) -> dict[str, Column]:
    """Columns of a list of rows: mappings by their keys, lists of numbers as f0, f1, ..., single values as f0.

    Raises:
        Unreadable: too many rows.
    """
    if len(rows) > MAX_ROWS:
        raise Unreadable("json_wide")
    if rows and (fast := _even(rows)) is not None:
        return fast
    cells: dict[str, list[Any]] = {}
    for i, row in enumerate(rows):
        for name, value in _row(row):
            column = cells.get(name)
            if column is None:
                if len(cells) >= MAX_FEATURES:
                    continue
                column = cells[name] = [None] * i
            if len(column) == i:  # the first of two values of one name
                column.append(value)
        for column in cells.values():
            if len(column) == i:
                column.append(None)
        if len(cells) * (i + 1) > 4 * MAX_ROWS:
            raise Unreadable("json_wide")  # every row with names of its own
    return columns(cells)


def columns(cells: Mapping[str, Sequence[Any]]) -> dict[str, Column]:
    """Columns of named lists of single values; texts that are no categories are described (see `language`)."""
    found: dict[str, Column] = {}
    for name, values in cells.items():
        if name[:1] in ("@", ""):  # Pilotfish's own streams; no name
            continue
        numbers = numeric(values)
        if numbers is not None:
            found[name] = numbers
        elif (lists := _lists.rows(values)) is not None:
            found[name] = lists
        else:
            found.update(language.columns(name, [single_text(v) for v in values]))
    return found


def _even(rows: Sequence[Any]) -> dict[str, Column] | None:
    """Columns of rows of one form, by far the usual: flat lists of numbers, or mappings of single values."""
    first = rows[0]
    if type(first) is list and 0 < len(first) <= MAX_FEATURES:
        width = len(first)
        if all(type(row) is list and len(row) == width and set(map(type, row)) <= _NUMBER for row in rows):
            return columns(dict(zip(_NAMES, zip(*rows, strict=True), strict=False)))
    elif type(first) is dict and 0 < len(first) <= MAX_FEATURES:
        keys = list(first)
        if all(type(row) is dict and row.keys() == first.keys() for row in rows) and max(map(len, keys)) <= MAX_NAME:
            values = [row.values() if list(row) == keys else [row[key] for key in keys] for row in rows]
            if all(_SINGLE.issuperset(map(type, row)) for row in values):
                return columns(dict(zip(keys, zip(*values, strict=True), strict=True)))
    return None


def _row(row: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(row, dict):
        for key, value in row.items():
            yield from _cell(str(key)[:MAX_NAME], value)
    elif isinstance(row, list):
        yield from _cell("f", row)
    else:
        yield "f0", row


def _cell(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """(feature, single value) of a row's value; nothing of what is none."""
    if isinstance(value, list):
        flat = flatten(value)
        if name != "f" and len(flat) == 1:
            yield name, flat[0]
        elif name != "f" and len(flat) > _lists.WIDE and _lists.is_vector(value):
            yield name, value
        elif flat is not value and (told := dict(_lists.image("image" if name == "f" else name, value))):
            yield from told.items()
        elif len(flat) <= MAX_FEATURES:
            prefix = name if name == "f" else f"{name}_"
            for i, item in enumerate(flat):
                if not isinstance(item, dict):
                    yield f"{prefix}{i}", item
        else:
            yield from described(name, flat)
    elif isinstance(value, dict):
        if set(value) == {"b64"} and isinstance(value["b64"], str):
            yield from _lists.encoded(name, value["b64"])
        else:
            for key, inner in value.items():
                if not isinstance(inner, dict | list):
                    yield f"{name}.{key}"[:MAX_NAME], inner
    else:
        yield name, value


def flatten(value: list[Any]) -> list[Any]:
    """The items of nested lists, in order; a step an item, however deep they are."""
    if not any(isinstance(item, list) for item in value):
        return value
    flat: list[Any] = []
    waiting = [iter(value)]
    while waiting:
        for item in waiting[-1]:
            if isinstance(item, list):
                waiting.append(iter(item))
                break
            flat.append(item)
        else:
            waiting.pop()
    return flat


def described(name: str, values: Any) -> Iterable[tuple[str, float]]:
    """What is kept of an image, a sound or an embedding: its mean, spread and ends; nothing of one without numbers.

    Args:
        name: of the feature.
        values: a list, or a numpy array of numbers.
    """
    import numpy as np

    if hasattr(values, "astype"):
        x = values.astype(np.float64)
    else:
        column = numeric(values)
        if column is None or not len(column):
            return
        x = np.frombuffer(column)
    x = x[np.isfinite(x) & (np.abs(x) < 1e150)]  # squares stay finite
    if not x.size:
        return
    yield f"{name}.mean", float(x.mean())
    yield f"{name}.std", float(x.std())
    yield f"{name}.min", float(x.min())
    yield f"{name}.max", float(x.max())
    yield f"{name}.norm", float(np.sqrt(np.dot(x, x)))


def vector(value: Any) -> dict[str, Any]:
    """An embedding and its dimensions; it comes as numbers, or as float32 in base64."""
    found: Any = _lists.floats(value) if isinstance(value, str) else value
    return {"embedding.dimensions": float(len(found)), "embedding": found} if _lists.is_vector(found) else {}


def numeric(values: Sequence[Any]) -> array[float] | None:
    """The column of numbers and missing ones; None where a value is a text, a truth value, or has no exact float."""
    if len(values) == 1 and type(values[0]) is float:  # by far the usual, at a third of the cost
        return array("d", values)
    types = set(map(type, values))
    if types <= {float}:
        return array("d", values)
    if not types <= {float, int, type(None)}:
        return None
    if int in types and not all(-EXACT <= v <= EXACT for v in values if type(v) is int):
        return None
    return array("d", [nan if v is None else v for v in values])


def single_text(value: Any) -> str | None:
    """The text of a single value, as the SDK writes it; None for a missing one and for lists and mappings."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


# -- predictions


def predictions(rows: Sequence[Any]) -> Predictions:
    """What an answer of one item a row says: values, classes or probabilities; only the number of rows when neither.

    Raises:
        Unreadable: too many rows.
    """
    if len(rows) > MAX_ROWS:
        raise Unreadable("json_wide")
    found: list[Any] = []
    if rows and all(isinstance(row, dict) for row in rows):
        found, rows = _lists.objects(rows), _named(rows)
    if rows and all(isinstance(row, list) for row in rows):
        flat = [_unwrapped(row) for row in rows]
        scores = probabilities(flat)
        if scores is not None:
            return Predictions(len(flat), probabilities=scores, n_classes=len(flat[0]))
        if any(len(row) != 1 or isinstance(row[0], dict) for row in flat):
            found = found or flat
        rows = [row[0] if len(row) == 1 else row for row in flat]
    column = single_column(rows)
    if column is None and found:
        return Predictions(len(rows), outputs=_lists.outputs("output", found))
    return Predictions(len(rows), prediction=column)


def single_column(values: Sequence[Any]) -> Column | None:
    """A column of classes or values, None when they are lists or mappings, or all missing."""
    if not values or all(v is None for v in values) or any(isinstance(v, list | dict) for v in values):
        return None
    numbers = numeric(values)
    return numbers if numbers is not None else [language.category(single_text(v)) for v in values]


def probabilities(rows: Sequence[Sequence[Any]]) -> array[float] | None:
    """Row-major numbers of equally long lists (at least 2), each in [0, 1] and summing to 1; None for all others."""
    width = len(rows[0])
    if not 2 <= width <= MAX_CLASSES:
        return None
    flat = array("d")
    for row in rows:
        if len(row) != width or not set(map(type, row)) <= {float, int}:
            return None
        if min(row) < 0 or max(row) > 1 or not abs(sum(row) - 1) <= TOLERANCE:
            return None
        flat.extend(row)
    return flat


def _unwrapped(row: list[Any]) -> list[Any]:
    """``[[0.1, 0.9]]`` of a batch within the batch is ``[0.1, 0.9]``."""
    while len(row) == 1 and isinstance(row[0], list):
        row = row[0]
    return row


def _named(rows: Sequence[dict[str, Any]]) -> list[Any]:
    """The one thing that mappings answer with: scores before the rest, else the only key, else rows of nothing."""
    first = rows[0]
    if len(first) == 1:
        (name,) = first
    else:
        name = next((n for n in (*SCORES, *ANSWERS) if n in first), "")
    return [row.get(name) if not isinstance(row.get(name), dict) else None for row in rows]


def finite(value: Any) -> float | None:
    """A finite number, else None."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and isfinite(value)
    return float(value) if good else None
