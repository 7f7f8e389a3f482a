"""The first rows of the open tick, as they came: at hand until it closes, where a hint may need raw values."""

from __future__ import annotations

from collections.abc import Container, Iterator

from pilotfish_agent.drift.composites import derived
from pilotfish_agent.drift.ingest import Columns, Mask, columns_of, pick
from pilotfish_agent.drift.raw import SENDERS, TICK_ROWS, first
from pilotfish_agent.drift.streams import PREDICTION, SCORE
from pilotfish_agent.drift.tested import Tested
from pilotfish_core.nouns import ObservationBatch


class FirstRows:
    """Batches are held as they are, and read only where a stream is not calm.

    Args:
        streams: the tested streams.
        task: ``model.task``.
    """

    def __init__(self, streams: Tested, task: str) -> None:
        self._streams = streams
        self._task = task
        self._held: list[tuple[ObservationBatch, Mask | None, Mask | None]] = []
        self._rows: dict[str, int] = {}
        self._part: tuple[Columns, slice] | None = None

    def add(self, batch: ObservationBatch, features: Mask | None, predictions: Mask | None) -> None:
        """Rows of the open tick, with those that count."""
        rows = self._rows.get(batch.sender, 0)
        if rows < TICK_ROWS and (rows or len(self._rows) < SENDERS):
            self._rows[batch.sender] = rows + batch.rows
            self._held.append((batch, features, predictions))

    def within(self, columns: Columns, rows: slice) -> None:
        """The open tick is ``rows`` of columns that are made already; the first time in a tick counts."""
        if self._part is None:
            self._part = (columns, slice(rows.start, min(rows.stop, rows.start + TICK_ROWS)))

    def let_go(self) -> None:
        """The columns of `within` end here, the tick may go on: what is needed of them is copied."""
        if self._part is not None:
            columns, rows = self._part
            self._part = ({name: first(column, rows) for name, column in columns.items()}, slice(None))

    def clear(self) -> None:
        """A new tick."""
        self._held, self._rows, self._part = [], {}, None

    def __call__(self, names: Container[str], /) -> Iterator[tuple[str, Columns]]:
        """(sender, columns of the streams ``names``)."""
        if self._part is not None:
            columns, rows = self._part
            yield "", {name: column[rows] for name, column in columns.items() if name in names}
        encoders = self._streams.reference.encoders
        for batch, features, predictions in self._held:
            columns = columns_of(derived(batch, encoders), self._task, names)
            yield (
                batch.sender,
                {n: pick(c, predictions if n in (PREDICTION, SCORE) else features) for n, c in columns.items()},
            )
