"""From sections to ObservationBatches: sections of one schema are decoded together, column by column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotfish import wire
from pilotfish_core.nouns import Column, ObservationBatch

MOST_SENDERS = 8
"""Senders told apart in one go; with more, rows are of nobody in particular."""
EXACT = 2**53
"""Whole numbers up to here are exact as float64; beyond they are names of things and travel as texts."""


_columns = lru_cache(maxsize=16)(wire.columns)
"""A sender's rows have the same columns again and again; reading them is a third of what a small batch costs."""


@dataclass(frozen=True, slots=True)
class _Key:
    sender: str
    source: int
    model: str
    version: str
    descriptor: bytes
    count: int
    outcome: int


@dataclass(slots=True)
class _Columns:
    """Decoded cells by the column's place."""

    rows: int
    cells: dict[int, Column] = field(default_factory=dict)


def batches(
    frames: Iterable[wire.Frame], senders: Sequence[int] = ()
) -> tuple[list[ObservationBatch], list[wire.FrameError]]:
    """All rows of the frames, one batch a schema and sender, in order of first appearance.

    Args:
        frames: in the order of their arrival.
        senders: process id of each frame's sender, 0 where it is not seen; () where none is known.

    Returns:
        the batches, and what was wrong with sections whose cells could not be read (their rows are not in).
    """
    groups: dict[_Key, list[tuple[wire.Section, list[str | None]]]] = {}
    errors: list[wire.FrameError] = []
    names = _names(senders)
    for i, frame in enumerate(frames):
        sender = names.get(senders[i], "") if names else ""
        for section in frame.sections:
            try:
                texts = sum(kind == wire.TEXT for _, kind, _ in _columns(section.descriptor, section.count))
                cells = wire.cells(section, texts) if texts else []
            except wire.FrameError as error:
                errors.append(error)
                continue
            key = _Key(
                sender, frame.source, frame.model, frame.version, section.descriptor, section.count, section.outcome
            )
            groups.setdefault(key, []).append((section, cells))
    return [_batch(key, parts) for key, parts in groups.items()], errors


def _names(senders: Sequence[int]) -> dict[int, str]:
    """What senders are called, where there are not too many: each has batches of its own, which costs."""
    pids = {pid for pid in senders if pid > 0}
    return {pid: f"process {pid}" for pid in pids} if len(pids) <= MOST_SENDERS else {}


def _batch(key: _Key, parts: Sequence[tuple[wire.Section, list[str | None]]]) -> ObservationBatch:
    columns = _columns(key.descriptor, key.count)
    numeric = [(i, kind) for i, (_, kind, _) in enumerate(columns) if kind != wire.TEXT]
    texts = [i for i, (_, kind, _) in enumerate(columns) if kind == wire.TEXT]
    found = _Columns(sum(section.rows for section, _ in parts))
    sizes = [wire.cells_of(kind) for _, kind in numeric]
    matrix = _numbers([section for section, _ in parts], sizes)
    whole = matrix.view("<i8")
    j = 0
    for (i, kind), size in zip(numeric, sizes, strict=True):
        if width := wire.width_of(kind):
            found.cells[i] = _lists(matrix[j : j + size], width)
        else:
            found.cells[i] = _integers(whole[j]) if kind == wire.INTEGER else matrix[j]
        j += size
    for j, i in enumerate(texts):
        found.cells[i] = [cell for section, cells in parts for cell in _strided(section, cells, j, len(texts))]
    return _assemble(key, columns, found)


def _numbers(sections: Sequence[wire.Section], sizes: Sequence[int]) -> NDArray[np.float64]:
    """The number cells, float64 of shape (sum of ``sizes``, rows), each contiguous; ``sizes``: cells of each column."""
    width = sum(sizes)
    if all(section.layout == wire.BY_ROW for section in sections):  # by far the usual: one join, one transposition
        flat = np.frombuffer(b"".join([section.numbers for section in sections]), dtype="<f8")
        return np.ascontiguousarray(flat.reshape(-1, width).T if width else np.empty((0, 0)))
    parts = []
    for section in sections:
        flat = np.frombuffer(section.numbers, dtype="<f8")
        by_row = section.layout == wire.BY_ROW
        if by_row:
            parts.append(flat.reshape(section.rows, width).T)
        elif width == len(sizes):
            parts.append(flat.reshape(width, section.rows))
        else:
            ends = np.cumsum(sizes) * section.rows
            blocks = zip(np.split(flat, ends[:-1]), sizes, strict=True)
            parts.append(np.concatenate([block.reshape(section.rows, size).T for block, size in blocks]))
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def _lists(cells: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Lists of float32, two a cell, as float64 of shape (rows, width)."""
    return np.ascontiguousarray(cells.T).view("<f4")[:, :width].astype(np.float64)


def _integers(column: NDArray[np.int64]) -> Column:
    # not abs(): the most negative number has none
    if column.size and (column.max() > EXACT or column.min() < -EXACT):
        return [str(value) for value in column.tolist()]
    return column.astype(np.float64)


def _strided(section: wire.Section, cells: list[str | None], j: int, width: int) -> list[str | None]:
    if section.layout == wire.BY_ROW:
        return cells[j::width]
    return cells[j * section.rows : (j + 1) * section.rows]


def _assemble(key: _Key, columns: Sequence[wire.Column], found: _Columns) -> ObservationBatch:
    features: dict[str, Column] = {}
    slices: dict[str, Column] = {}
    scores: list[Any] = []
    classes: list[str] = []
    single: dict[int, Column] = {}
    for i, (role, _, name) in enumerate(columns):
        if role == wire.FEATURE:
            features[name] = found.cells[i]
        elif role == wire.SLICE:
            slices[name] = found.cells[i]
        elif role == wire.PROBABILITY:
            scores.append(found.cells[i])
            classes.append(name)
        else:
            single[role] = found.cells[i]
    return ObservationBatch(
        model=key.model,
        version=key.version or None,
        source=wire.SOURCES[key.source],
        rows=found.rows,
        features=features,
        prediction=single.get(wire.PREDICTION),
        probabilities=np.stack(scores, axis=1) if scores else None,
        n_classes=len(scores),
        classes=tuple(classes) if scores and all(classes) and len(set(classes)) == len(classes) else None,
        latency=single.get(wire.LATENCY),
        outcomes=[wire.OUTCOMES[key.outcome]] * found.rows if key.outcome else None,
        ids=single.get(wire.ID),
        slices=slices,
        sender=key.sender,
    )
