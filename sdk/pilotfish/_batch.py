"""Many rows at once: few travel with others, many make frames of their own."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from pilotfish import _table, wire
from pilotfish._rows import OUTPUT, Rows
from pilotfish._sender import Sender
from pilotfish._table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Batch:
    """The answers to a table of rows, ready to be sent."""

    __slots__ = ("classes", "ids", "latency", "outputs", "predictions", "scores", "table")

    def __init__(
        self, table: Table | None, answers: Any, latency: Any, *, ids: Any = None, classes: Sequence[str] = ()
    ) -> None:
        found = None if answers is None else _table.predictions(answers)
        self.predictions: list[Any] = [] if found is None else found[0]
        self.scores = found is not None and found[1]
        self.outputs = _table.outputs(answers) if found is None and answers is not None else None
        self.table = table
        self.latency = latency
        self.ids = ids
        self.classes = classes

    def rows(self) -> int:
        """Rows of the whole, those that the table skipped included.

        Raises:
            ValueError: when features, predictions and ids are of different lengths.
        """
        sizes = {len(column) for column in self.predictions}
        sizes |= {self.table.rows + self.table.skipped} if self.table else set()
        sizes |= {len(self.outputs)} if self.outputs is not None else set()
        sizes |= {len(self.ids)} if self.ids is not None else set()
        if len(sizes) != 1:
            raise ValueError(f"lengths {sorted(sizes)}")
        return sizes.pop()


def matches(batch: Batch, result: Any) -> bool:
    """Whether a call's answers are one a row; where no features were read, whether they are an array of answers."""
    if batch.table is None:
        return hasattr(result, "ndim")
    answers = batch.predictions[0] if batch.predictions else batch.outputs
    return answers is None or len(answers) == batch.table.rows + batch.table.skipped


def send(batch: Batch, rows: Rows, sender: Sender) -> None:
    """Packs a batch; large ones are handed to the socket at once.

    Raises:
        Exception: of any kind for what cannot be sent; the caller counts it.
    """
    total = batch.rows()
    if total < _table.SMALL:
        _small(batch, total, rows, sender)
    else:
        _large(batch, total, sender)


def _small(batch: Batch, total: int, rows: Rows, sender: Sender) -> None:
    table = batch.table
    names = table.names if table else ()
    features = list(zip(*table.columns, strict=True)) if table else [()] * total
    answers: Any = list(zip(*map(_table.values, batch.predictions), strict=True)) or [()] * total
    if batch.outputs is not None:
        answers = [(row,) for row in _table.values(batch.outputs)]
    latency = _table.latencies(batch.latency, total)
    ids = _table.values(batch.ids) if batch.ids is not None else [None] * total
    for row, answer, seconds, key in zip(features, answers, latency, ids, strict=True):
        given: Any = list(answer) if batch.scores else answer[0] if answer else None
        named = dict(zip(names, row, strict=True))
        schema = rows.add(named, given, seconds, id=key, classes=batch.classes)
        if sender.parked or len(schema.rows) >= schema.limit:
            sender.turn(schema)


def _large(batch: Batch, total: int, sender: Sender) -> None:
    table = batch.table
    # as the table was thinned; without one, as it would have been
    answers = _table.bytes_of(batch.outputs) if batch.outputs is not None else 8 * max(1, len(batch.predictions))
    most = table.rows if table else max(1, _table.MOST_BYTES // answers)
    step = -(-total // most)
    kept = -(-total // step)
    columns: list[tuple[tuple[int, str], Any]] = []
    names = batch.classes if len(batch.classes) == len(batch.predictions) else [""] * len(batch.predictions)
    for column, name in zip(batch.predictions, names, strict=True):
        found = _table.cells(column[::step] if step > 1 else column)
        columns.append(((wire.PROBABILITY if batch.scores else wire.PREDICTION, name if batch.scores else ""), found))
    single = not hasattr(batch.latency, "__len__")
    seconds = _table.latencies(batch.latency, kept) if single else _table.latencies(batch.latency, total)[::step]
    columns.append(((wire.LATENCY, ""), (wire.FLOAT, struct.pack(f"<{kept}d", *seconds))))
    if batch.ids is not None:
        texts = [wire.MISSING if i is None else wire.escape(str(i)) for i in _table.values(batch.ids)[::step]]
        columns.append(((wire.ID, ""), (wire.TEXT, texts)))
    if batch.outputs is not None:
        columns += [((wire.FEATURE, n), c) for n, c in _table.described_cells(OUTPUT, batch.outputs[::step])]
    if table:
        columns += [((wire.FEATURE, n), c) for n, c in zip(table.names, table.columns, strict=True)]
    sender.lost += total - kept
    sender.push(_table.sections(columns, kept))
