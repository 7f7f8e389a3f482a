"""Parquet files as column batches; only what is watched is read, and never more than a batch of a row group at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from pilotfish_agent.drift import arrow_rows
from pilotfish_agent.drift.rows import BATCH_CELLS, BATCH_ROWS, BadRows, Layout, Rows
from pilotfish_agent.drift.table_rows import TableRows
from pilotfish_core.errors import DataError

MAGIC: Final = b"PAR1"
_BUFFER: Final = 1 << 18  # bytes of a column read ahead: else a whole row group's column is held


@dataclass(slots=True)
class ParquetRows:
    """A reader of one Parquet file.

    Attributes:
        bad: where bad rows go.
        rows: rows seen, bad ones included.
        names: the features, in file order.
        whole: rows of the file, 0 until it was opened.
    """

    layout: Layout
    bad: BadRows
    rows: int = 0
    names: dict[str, None] = field(default_factory=dict)
    whole: int = 0

    def read(self, file: BinaryIO) -> Iterator[Rows]:
        """Batches of the file, which must be one that can be sought in.

        Raises:
            UsageError: pyarrow is not installed.
            DataError: damaged, encrypted, or with a column of no use that is not ignored.
        """
        pa = arrow_rows.load()
        try:
            yield from self._read(pa, file)
        except (pa.ArrowException, OSError) as error:  # Arrow's own IOError is Python's
            words = str(error).strip().partition("\n")[0]
            raise DataError(
                f"{self.bad.name}: damaged Parquet file after row {self.rows:,}: {words}", expected="a whole file"
            ) from None

    def _read(self, pa: Any, file: BinaryIO) -> Iterator[Rows]:
        content = pa.parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
        self.whole = content.metadata.num_rows
        table = TableRows(self.layout, self.bad, content.schema_arrow.names)
        self.names = dict.fromkeys(table.roles.features)
        size = min(BATCH_ROWS, max(100, BATCH_CELLS // max(_cells(content.schema_arrow, table.needed), 1)))
        widths: dict[str, int] = {}
        for batch in content.iter_batches(size, columns=table.needed, use_threads=False):
            rows = table.take(arrow_rows.ArrowCells(batch, self.bad.name, widths))
            self.rows = table.rows
            if self.bad.stopped():
                return
            if rows is not None:
                yield rows


def _cells(schema: Any, names: list[str]) -> int:
    """Values of a row: lists of fixed size say how many; of others we guess."""
    kinds = [schema.field(name).type for name in names]
    return sum(getattr(kind, "list_size", 64) if hasattr(kind, "value_type") else 1 for kind in kinds)
