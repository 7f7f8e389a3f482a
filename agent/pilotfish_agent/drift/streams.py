"""The columns of a batch by stream, and the streams that are ours: `@prediction`, `@score`, `@latency`.

Strings and booleans are classes; a list of numbers in [0, 1] that sums to 1 is probabilities (class = the largest,
score = its value); other numbers stay numbers: whether whole numbers are classes (<= 50 distinct values) is a
matter of the whole reference, so the builder asks `is_class` once and the reference's kind decides from then on.
Pure functions; used by the builder, the watch and replay alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.windows.binning import floats
from pilotfish_core.nouns import Column, ObservationBatch

PREDICTION: Final = "@prediction"
SCORE: Final = "@score"
LATENCY: Final = "@latency"
MODEL: Final = "@model"
OUTPUT: Final = "output"
"""The feature of answers that are lists of numbers, but no probabilities: embeddings, logits, coordinates."""
CLASS_LIMIT: Final = 50
"""Whole numbers of at most so many distinct values in the reference are classes."""
_SUM_TOLERANCE: Final = 1e-3  # float32 softmax over 1,000 classes is off by less than 1e-4
_VALUE_TASKS: Final = frozenset({"regression", "ranking"})


def is_text(column: Column) -> bool:
    """True for a column of texts (``list[str | None]``), False for one of numbers."""
    return isinstance(column, list | tuple)


def numbers(column: Column) -> NDArray[np.float64]:
    """A column of numbers as float64 of shape (rows,), without copying where it has the buffer protocol already."""
    return np.asarray(column, dtype=np.float64)


def whole_text(value: float) -> str:
    """A number as a text that loses nothing: whole numbers without ``.0``, others as the shortest round-trip.

    Levels are compared in twelve digits (`windows.binning.canonical`), ids are not.
    """
    return str(int(value)) if value.is_integer() else repr(value)


def texts(column: Column) -> list[str | None]:
    """A column as texts: numbers by `whole_text`, NaN as None."""
    if is_text(column):
        return list(column)
    return [None if x != x else whole_text(x) for x in numbers(column).tolist()]  # noqa: PLR0124 - NaN


def is_class(values: Column, task: str = "auto") -> bool:
    """Whether a whole reference's `@prediction` column is a class (else a value), under ``model.task``."""
    if task == "classification":
        return True
    if is_text(values):
        return True
    if task in _VALUE_TASKS:
        return False
    x = numbers(values)
    x = x[~np.isnan(x)]
    if not x.size or not np.isfinite(x).all() or (x != np.floor(x)).any():
        return False
    return bool(np.unique(x).size <= CLASS_LIMIT)


def is_list(column: Column) -> bool:
    """True for a column of lists of numbers: float64 of shape (rows, numbers a list)."""
    return getattr(column, "ndim", 1) == 2


def with_output(batch: ObservationBatch) -> ObservationBatch:
    """The batch with a feature `output` of its answers, where they are lists of numbers but no probabilities.

    Whether they are is a matter of the batch: of a softmax some rows always are.
    """
    if batch.probabilities is None or batch.n_classes < 2:
        return batch
    p = numbers(batch.probabilities).reshape(-1, batch.n_classes)
    if _are_probabilities(p).any():
        return batch
    return replace(batch, features={**batch.features, OUTPUT: p}, probabilities=None, n_classes=0, classes=None)


def prediction_columns(batch: ObservationBatch, task: str = "auto") -> dict[str, Column]:
    """The pseudo-features of a batch, each of length ``batch.rows``; empty when the batch has no predictions.

    Args:
        batch: as intake or a reader made it.
        task: ``model.task``: auto, classification, regression, ranking, generation or embedding.

    Returns:
        ``@prediction``: class texts (None = missing) or numbers (NaN = missing); ``@score``: the largest
        probability, where the batch has probabilities. A row whose numbers are no probabilities is missing in both.
        An embedding has neither: lists of numbers that are no probabilities are a matter of composite streams.
    """
    if task == "embedding":
        return {}
    if batch.probabilities is not None and batch.n_classes > 0:
        return _of_probabilities(batch)
    if batch.prediction is None:
        return {}
    if is_text(batch.prediction) or task != "classification":
        return {PREDICTION: batch.prediction}
    return {PREDICTION: texts(batch.prediction)}


def columns(batch: ObservationBatch, task: str = "auto") -> dict[str, Column]:
    """The columns of all streams of a batch of sound columns, by stream."""
    latency = {} if batch.latency is None else {LATENCY: floats(batch.latency)}
    return {**batch.features, **prediction_columns(batch, task), **latency}


def _of_probabilities(batch: ObservationBatch) -> dict[str, Column]:
    p = numbers(batch.probabilities).reshape(-1, batch.n_classes)
    good = _are_probabilities(p)
    best = p.argmax(axis=1)
    score = np.where(good, p[np.arange(len(p)), best], np.nan)
    names = batch.classes
    if names is None or len(names) != batch.n_classes:
        names = tuple(map(str, range(batch.n_classes)))
    klass = [names[i] if ok else None for i, ok in zip(best.tolist(), good.tolist(), strict=True)]
    return {PREDICTION: klass, SCORE: score}


def _are_probabilities(p: NDArray[np.float64]) -> NDArray[np.bool_]:
    with np.errstate(all="ignore"):  # foreign numbers: inf - inf and overflow are simply no probabilities
        found: NDArray[np.bool_] = ((p >= 0) & (p <= 1)).all(axis=1) & (np.abs(p.sum(axis=1) - 1) <= _SUM_TOLERANCE)
    return found
