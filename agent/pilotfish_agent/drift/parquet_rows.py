"""Parquet files as column batches; only what is watched is read, and never more than a batch of a row group at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from pilotfish_agent.drift import arrow_rows
from pilotfish_agent.drift.rows import BadRows, Layout, Rows
from pilotfish_agent.drift.table_rows import TableRows, batch_rows
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
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # Arrow's own IOError is Python's
            words = str(error).strip().partition("\n")[0]
            raise DataError(
                f"{self.bad.name}: damaged Parquet file after row {self.rows:,}: {words}", expected="a whole file"
            ) from None

    def _read(self, pa: Any, file: BinaryIO) -> Iterator[Rows]:
        content = pa.parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
        self.whole = content.metadata.num_rows
        table = TableRows(self.layout, self.bad, content.schema_arrow.names)
        self.names = dict.fromkeys(table.roles.features)
        size = batch_rows(_cells(content, table.needed))
        widths: dict[str, int] = {}
        for batch in content.iter_batches(size, columns=table.needed, use_threads=False):
            rows = table.take(arrow_rows.ArrowCells(batch, self.bad.name, widths))
            self.rows = table.rows
            if rows is not None:
                yield rows


def _cells(content: Any, names: list[str]) -> float:
    """Values of a row; of lists as many as the first row group's bytes can be, as numbers of four bytes."""
    # Not by the columns' own counts: of a damaged file they end the process (pyarrow 24 lets a C++ exception go).
    kinds = [content.schema_arrow.field(name).type for name in names]
    if not any(hasattr(kind, "value_type") for kind in kinds) or not content.metadata.num_row_groups:
        return len(names)
    group = content.metadata.row_group(0)
    return float(max(len(names), group.total_byte_size / 4 / max(group.num_rows, 1)))
