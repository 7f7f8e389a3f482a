"""Observations of captured exchanges to ObservationBatches: one schema, one batch."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pilotfish_core.nouns import Column, Observation, ObservationBatch

_NAN = float("nan")


@dataclass(slots=True)
class _Group:
    """Observations of one schema."""

    rows: int = 0
    taken: list[Observation] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)


class Observed:
    """Collects observations between two steps."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Any, ...], _Group] = {}

    def add(self, model: str, version: str | None, observation: Observation, duration: float) -> None:
        """One exchange's; ``duration``, seconds, is the exchange's and stands on the first of its rows."""
        rows = observation.rows
        if rows <= 0 or not _whole(observation):
            return
        observation = replace(observation, features={**observation.features, **_generated(observation)})
        features = tuple((name, _form(column)) for name, column in observation.features.items())
        prediction = None if observation.prediction is None else _form(observation.prediction)
        key = (model, version, features, prediction, observation.n_classes, observation.classes)
        group = self._groups.setdefault(key, _Group())
        group.rows += rows
        group.taken.append(observation)
        group.latency += [duration] + [_NAN] * (rows - 1)

    def batches(self) -> Iterator[ObservationBatch]:
        """What was collected; it is empty again."""
        groups, self._groups = self._groups, {}
        for (model, version, features, prediction, n_classes, classes), group in groups.items():
            taken = group.taken
            yield ObservationBatch(
                model=model,
                version=version,
                source="capture",
                rows=group.rows,
                features={name: _joined([o.features[name] for o in taken], form) for name, form in features},
                prediction=None if prediction is None else _joined([o.prediction for o in taken], prediction),
                probabilities=_joined([o.probabilities for o in taken], 0) if n_classes else None,
                n_classes=n_classes,
                classes=classes,
                latency=group.latency,
                ids=_ids(taken),
            )


def _generated(observation: Observation) -> dict[str, Column]:
    """Tokens and finish reasons as features; tokens are an exchange's: of several answers they are nobody's."""
    found: dict[str, Column] = {}
    tokens = observation.tokens
    if tokens is not None and observation.rows == 1:
        counts = {"prompt.tokens": tokens.input, "output.tokens": None if tokens.estimated else tokens.output}
        found |= {name: array("d", [n]) for name, n in counts.items() if n is not None}
    if len(observation.finish_reasons) == observation.rows:
        found["output.finish_reason"] = list(observation.finish_reasons)
    return found


def _whole(observation: Observation) -> bool:
    """Whether each column has a cell a row: one that has not would move the others' rows."""
    rows = observation.rows
    if observation.prediction is not None and len(observation.prediction) != rows:
        return False
    if (observation.probabilities is None) != (observation.n_classes == 0):
        return False
    if observation.probabilities is not None and np.size(observation.probabilities) != rows * observation.n_classes:
        return False
    return all(len(column) == rows for column in observation.features.values())


_TEXTS = -1


def _form(column: Column) -> int:
    """What columns must share to be joined: `_TEXTS`, 0 for numbers, the width of lists of numbers."""
    if isinstance(column, list | tuple):
        return _TEXTS
    return int(column.shape[1]) if getattr(column, "ndim", 1) == 2 else 0


def _joined(columns: Sequence[Column], form: int) -> Column:
    if form > 0:
        return np.concatenate([np.asarray(column, np.float64) for column in columns])
    if form == _TEXTS:
        return [cell for column in columns for cell in column]
    if len(columns) == 1:
        return np.asarray(columns[0], np.float64).reshape(-1)
    if all(_floats(column) for column in columns):  # ten times faster than concatenate
        return np.frombuffer(b"".join(columns), np.float64)
    return np.concatenate([np.asarray(column, np.float64).reshape(-1) for column in columns])


def _floats(column: Column) -> bool:
    """Whether a column's bytes are float64 in order, as they are to be; another part's decoder may err."""
    try:
        view = memoryview(column)
    except TypeError:
        return False
    return view.format == "d" and view.c_contiguous


def _ids(taken: Sequence[Observation]) -> list[str | None] | None:
    if all(o.ids is None for o in taken):
        return None
    found: list[str | None] = []
    for o in taken:
        found += o.ids if o.ids is not None and len(o.ids) == o.rows else [None] * o.rows
    return found
