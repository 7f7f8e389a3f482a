"""Batches of predictions to the counts of the open tick: columns picked, repeats dropped, values binned in batches.

Foreign data end here: whatever a column holds, it becomes counts. A column of the wrong length or of values that are
neither numbers nor texts counts as missing.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.composites import derived
from pilotfish_agent.drift.layout import Ints
from pilotfish_agent.drift.streams import LATENCY, PREDICTION, SCORE, prediction_columns
from pilotfish_agent.drift.tested import Tested
from pilotfish_agent.windows.binning import canonical, floats
from pilotfish_core.nouns import Column, ObservationBatch

ENOUGH_ROWS: Final = 512  # binning costs 25 ns a value from here on, 400 ns in tens
ENOUGH_BATCHES: Final = 64
REMEMBERED_IDS: Final = 1 << 16  # of one tick; rows beyond it count without a look at their id
Mask = NDArray[np.bool_]
Columns = dict[str, Column]


def sane(column: Any, rows: int, *, lists: bool = False) -> Column:
    """A column as float64 array or list of texts of length ``rows``; NaN throughout where it is neither.

    With ``lists`` also as lists of numbers: a float64 array of shape (rows, numbers a list).
    """
    if isinstance(column, list | tuple):
        if len(column) != rows:
            return np.full(rows, np.nan)
        if set(map(type, column)) <= {str, type(None)}:
            return column
        return [_text(value) for value in column]
    try:
        values = np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.full(rows, np.nan)
    fits = values.shape == (rows,) or (lists and values.ndim == 2 and len(values) == rows and values.shape[1] > 0)
    return values if fits else np.full(rows, np.nan)


def _text(value: object) -> str | None:
    if isinstance(value, str | bool | int | np.bool_ | type(None)):
        try:
            return canonical(value)
        except ValueError:  # an integer of more digits than Python turns into text
            return "inf" if isinstance(value, int) and value > 0 else "-inf"
    if isinstance(value, float):
        return None if math.isnan(value) else canonical(value) if math.isfinite(value) else str(value)
    return None


def pick(column: Column, mask: Mask | None) -> Column:
    """The rows of a column where ``mask`` is true."""
    if mask is None:
        return column
    if isinstance(column, list | tuple):
        return [value for value, kept in zip(column, mask.tolist(), strict=True) if kept]
    return np.asarray(column)[mask]


def columns_of(batch: ObservationBatch, task: str, wanted: Container[str]) -> Columns:
    """Every stream's column of a batch, pseudo-features included, of the ``wanted`` features."""
    rows = batch.rows
    columns = {
        name: sane(column, rows) for name, column in batch.features.items() if name in wanted and name[:1] != "@"
    }
    predicted = _sound_predictions(batch)
    if predicted is not None:
        columns.update(prediction_columns(predicted, task))
    if batch.latency is not None and LATENCY in wanted:
        columns[LATENCY] = floats(sane(batch.latency, rows))
    return columns


def sound(batch: ObservationBatch) -> ObservationBatch:
    """The batch with every column as `sane` makes it."""
    features = {name: sane(column, batch.rows, lists=True) for name, column in batch.features.items()}
    predicted = _sound_predictions(batch) or replace(batch, prediction=None, probabilities=None)
    latency: Any = None if batch.latency is None else floats(sane(batch.latency, batch.rows))
    return replace(predicted, features=features, latency=latency)


def _sound_predictions(batch: ObservationBatch) -> ObservationBatch | None:
    """The batch with sane predictions, None where it has none or probabilities of a wrong shape."""
    if batch.probabilities is None:
        sane_one = None if batch.prediction is None else sane(batch.prediction, batch.rows)
        return None if sane_one is None else replace(batch, prediction=sane_one)
    try:
        p = np.asarray(batch.probabilities, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        return None
    # Beside probabilities a prediction says nothing more: the class is the largest of them.
    return replace(batch, prediction=None, probabilities=p) if 0 < p.size == batch.rows * batch.n_classes else None


class Repeats:
    """Request ids seen in the open tick: a request counts once a tick, its features and its prediction apart."""

    def __init__(self) -> None:
        self._features: set[str] = set()
        self._predictions: set[str] = set()

    def zero(self) -> None:
        """A new tick."""
        self._features.clear()
        self._predictions.clear()

    def fresh(self, batch: ObservationBatch) -> tuple[Mask | None, Mask | None]:
        """The rows that count, for features and for predictions; None: all of them."""
        ids = batch.ids
        if ids is None or len(ids) != batch.rows:
            return None, None
        features = _unseen(ids, self._features) if batch.features else None
        predicted = batch.prediction is not None or batch.probabilities is not None
        return features, _unseen(ids, self._predictions) if predicted else None

    def fresh_in_ticks(
        self, batch: ObservationBatch, limits: Sequence[int], closing: Sequence[bool]
    ) -> tuple[Mask | None, Mask | None]:
        """As `fresh` for rows ``limits[0]`` to ``limits[-1]``, cut at ``limits``; after part s a tick closes or not."""
        ids = batch.ids
        if ids is None or len(ids) != batch.rows:
            if any(closing):
                self.zero()
            return None, None
        size = limits[-1] - limits[0]
        whole = (np.ones(size, np.bool_), np.ones(size, np.bool_))
        for start, end, last in zip(limits[:-1], limits[1:], closing, strict=True):
            part = replace(batch, rows=end - start, ids=ids[start:end])
            for mask, kept in zip(whole, self.fresh(part), strict=True):
                if kept is not None:
                    mask[start - limits[0] : end - limits[0]] = kept
            if last:
                self.zero()
        return whole


def counting(batch: ObservationBatch, features: Mask | None, predictions: Mask | None) -> Mask | None:
    """The rows of which anything counts, None for all, from what `Repeats` says of features and of predictions."""
    masks = [features] if batch.features else []
    if batch.prediction is not None or batch.probabilities is not None:
        masks.append(predictions)
    known = [mask for mask in masks if mask is not None]
    if not known or len(known) < len(masks):
        return None
    kept: Mask = np.logical_or.reduce(known)
    return None if kept.all() else kept


def chosen(batch: ObservationBatch, mask: Mask | None) -> ObservationBatch:
    """Features and predictions of the rows where ``mask`` is true, the batch itself where it is None."""
    if mask is None:
        return batch
    batch = sound(batch)
    p = batch.probabilities
    return replace(
        batch,
        rows=int(mask.sum()),
        features={name: pick(column, mask) for name, column in batch.features.items()},
        prediction=None if batch.prediction is None else pick(batch.prediction, mask),
        probabilities=None if p is None else np.asarray(p).reshape(len(mask), -1)[mask].reshape(-1),
        latency=None if batch.latency is None else pick(batch.latency, mask),
        outcomes=None,
        ids=None,
        slices={},
    )


def _unseen(ids: Sequence[str | None], seen: set[str]) -> Mask | None:
    new = set(ids)
    new.discard(None)
    if len(new) == len(ids) and seen.isdisjoint(new):
        if len(seen) < REMEMBERED_IDS:
            seen.update(new)  # type: ignore[arg-type]  # None was taken out
        return None
    mask = np.ones(len(ids), np.bool_)
    for i, name in enumerate(ids):
        if name is None:
            continue
        if name in seen:
            mask[i] = False
        elif len(seen) < REMEMBERED_IDS:
            seen.add(name)
    return mask


class OpenTick:
    """Counts of the tick that is open.

    Args:
        streams: the tested streams.
        task: ``model.task``.

    Attributes:
        counts: of what is binned, (width,).
        stratum: of the tick; set it before its first rows.
    """

    def __init__(self, streams: Tested, task: str) -> None:
        self._streams = streams
        self._task = task
        self.stratum = 0
        self._held: list[tuple[ObservationBatch, Mask | None, Mask | None]] = []
        self._held_rows = 0
        self.counts: Ints = np.zeros(streams.width, np.int64)
        self._scores: list[Column] = []
        self._values: list[Column] = []

    def add(self, batch: ObservationBatch, features: Mask | None, predictions: Mask | None) -> None:
        """Takes a batch, with the rows that count; bins when enough wait."""
        self._held.append((batch, features, predictions))
        self._held_rows += batch.rows
        if self._held_rows >= ENOUGH_ROWS or len(self._held) >= ENOUGH_BATCHES:
            self.flush()

    def flush(self) -> None:
        """Bins what waits."""
        if not self._held:
            return
        encoders = self._streams.reference.encoders
        held = [
            (*_of(self._streams, batch, self._task, features, predictions), self._speaks_of(batch))
            for batch, features, predictions in (
                (derived(b, encoders), f if b.features else p, p) for b, f, p in self._held
            )
        ]
        self._held, self._held_rows = [], 0
        binners = self._streams.binners(self.stratum)
        for f, stream in enumerate(self._streams.streams):
            own = not stream.name.startswith("@")
            pieces = [columns[stream.name] for columns, _, _ in held if stream.name in columns]
            part = self._streams.part(self.counts, f)
            for column in joined(pieces):
                part += binners[f].counts(column)
            if own and len(pieces) < len(held):
                absent = sum(rows for columns, rows, some in held if some and stream.name not in columns)
                self.counts[self._streams.missing[f]] += absent
            if stream.name == SCORE:
                self._scores += pieces
            elif stream.name == PREDICTION and stream.kind == "numeric":
                self._values += pieces

    def _speaks_of(self, batch: ObservationBatch) -> bool:
        """Whether a stream that the batch lacks is missing in it.

        Traffic seen from outside may name no feature as the SDK, or the data of the reference, does (`x_0`, `input_3`):
        such rows say nothing of the streams, also not that they are missing.
        """
        if batch.source != "capture":
            return bool(batch.features)
        return any(stream.name in batch.features for stream in self._streams.streams)

    def columns(self) -> tuple[list[Column], list[Column]]:
        """The columns of scores and of predicted values that were binned since the last call."""
        found = (self._scores, self._values)
        self._scores, self._values = [], []
        return found

    def take(self) -> Ints:
        """The counts of the tick, which is over."""
        self.flush()
        counts, self.counts = self.counts, np.zeros(self._streams.width, np.int64)
        return counts


def _of(
    streams: Tested, batch: ObservationBatch, task: str, features: Mask | None, predictions: Mask | None
) -> tuple[Columns, int]:
    """The tested columns of a batch and how many rows its features count."""
    columns = columns_of(batch, task, streams.index)
    if features is not None or predictions is not None:
        columns = {n: pick(c, predictions if n in (PREDICTION, SCORE) else features) for n, c in columns.items()}
    if LATENCY in columns:
        columns[LATENCY] = columns[LATENCY][~np.isnan(columns[LATENCY])]
    return columns, batch.rows if features is None else int(features.sum())


def joined(pieces: list[Column]) -> list[Column]:
    """Neighbouring pieces of one type as one column each: binning is cheap only in batches."""
    out: list[Column] = []
    run: list[Column] = []
    for piece in pieces:
        if run and isinstance(run[0], list | tuple) != isinstance(piece, list | tuple):
            out.append(_concatenated(run))
            run = []
        run.append(piece)
    return [*out, _concatenated(run)] if run else out


def _concatenated(run: list[Column]) -> Column:
    if len(run) == 1:
        return run[0]
    if isinstance(run[0], list | tuple):
        return [value for piece in run for value in piece]
    return np.concatenate(run)


def segment_counts(
    streams: Tested,
    columns: Mapping[str, Column],
    rows: slice,
    segment: Ints,
    segments: int,
    *,
    features: bool,
    stratum: int = 0,
    masks: tuple[Mask | None, Mask | None] = (None, None),
) -> Ints:
    """Counts of many ticks at once, (segments, width): each value is binned once, whatever the ticks' size.

    Args:
        streams: the tested streams.
        columns: of one batch, as `columns_of` gives them.
        rows: which of its rows.
        segment: which tick each of these rows belongs to, 0 to ``segments`` - 1.
        segments: how many.
        features: whether the batch has features at all: then a stream that it lacks is missing in each row.
        stratum: in which all of these ticks lie.
        masks: the rows that count, for features and for predictions; None: all of them.
    """
    binners = streams.binners(stratum)
    out = np.zeros((segments, streams.width), np.int64)
    for f, stream in enumerate(streams.streams):
        mask = masks[1] if stream.name in (PREDICTION, SCORE) else masks[0]
        where = segment if mask is None else segment[mask]
        column = columns.get(stream.name)
        if column is None:
            if features and not stream.name.startswith("@"):
                out[:, streams.missing[f]] += np.bincount(where, minlength=segments)
            continue
        column = pick(column[rows], mask)
        if stream.name == LATENCY:
            measured = ~np.isnan(column)
            column, where = column[measured], where[measured]
        a, b = int(streams.offsets[f]), int(streams.offsets[f + 1])
        flat = np.bincount(where * (b - a) + binners[f].ids(column), minlength=segments * (b - a))
        out[:, a:b] = flat.reshape(segments, b - a)
    return out
