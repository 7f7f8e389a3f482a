"""Data files as streams of column batches: CSV and JSON lines, plain or gzip, or standard input as ``-``; Parquet.

Memory is bounded by the batch (5,000 rows, or fewer when the table is wide), whatever the file's size.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator

from pilotfish_agent.drift.csv_rows import CsvRows
from pilotfish_agent.drift.json_rows import JsonRows
from pilotfish_agent.drift.parquet_rows import MAGIC, ParquetRows
from pilotfish_agent.drift.rows import BadRows, Layout, Rows
from pilotfish_core.errors import DataError, EmptyDataError, UsageError

STDIN = "-"
_GZIP = b"\x1f\x8b"
_JSON_NAMES = (".jsonl", ".ndjson", ".json", ".jsonlines")
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\x28\xb5\x2f\xfd": "a zstandard file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
}

Reader = CsvRows | JsonRows | ParquetRows


class DataFile:
    """A data file; iterating reads it from its beginning, which can be done again for all but standard input.

    Args:
        path: its path, or ``-``.
        layout: which column is what.
        skip_bad: bad rows are left out and counted; else they refuse the file at its end.

    Attributes:
        rows: rows read, bad ones not; skipped: bad rows left out; names: features seen.
        size, position: bytes, for a progress bar; size is 0 when it is not known.
    """

    def __init__(self, path: str, layout: Layout | None = None, *, skip_bad: bool = False) -> None:
        self.path = path
        self.name = "standard input" if path == STDIN else path
        self.layout = layout or Layout()
        self.rows = 0
        self.skipped = 0
        self.size = 0
        self.names: tuple[str, ...] = ()
        self._skip_bad = skip_bad
        self._raw: io.BufferedReader | None = None
        self._parquet: ParquetRows | None = None
        self._read_once = False

    @property
    def position(self) -> int:
        """Bytes of the file read so far."""
        if self._raw is None or self.path == STDIN:
            return 0
        if self._parquet is not None:  # which jumps about in the file
            return self.size * self._parquet.rows // max(self._parquet.whole, 1)
        return self._raw.tell()

    def __iter__(self) -> Iterator[Rows]:
        """Batches of rows, in file order.

        Raises:
            DataError: the file cannot be read, is of another kind, or has bad rows that are not skipped.
            EmptyDataError: it has no rows.
        """
        self.rows = 0
        raw = self._open()
        bad = BadRows(self.name, skip=self._skip_bad)
        try:
            content = _unpacked(raw)
            head = _head(content, self.name)
            reader: Reader
            if head.startswith(MAGIC) or self.path.lower().endswith(".parquet"):
                reader = self._parquet = ParquetRows(self.layout, bad)
                _check_parquet(self.name, head, content, raw)
            elif _is_json(self.path, head):
                reader = JsonRows(self.layout, bad)
                _check_json(self.name, self.layout, head)
            else:
                reader = CsvRows(self.layout, bad)
            for rows in reader.read(content):
                self.rows += rows.batch.rows
                self.names = tuple(reader.names)
                yield rows
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{self.name}: the gzip data end or break after row {self.rows:,}: {error}", expected="a whole file"
            ) from None
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read: {error.strerror or error}") from None
        finally:
            self._raw = self._parquet = None
            raw.close()
        self._finish(reader, bad)

    def _finish(self, reader: Reader, bad: BadRows) -> None:
        self.names = tuple(reader.names)
        self.skipped = bad.count
        bad.finish(reader.rows)
        if not reader.rows:
            raise EmptyDataError(f"{self.name}: a header without rows" if reader.names else f"{self.name}: no rows")
        if not self.rows:
            todo = "the first errors show without --skip-bad" if bad.count else ""
            raise EmptyDataError(f"{self.name}: none of its {reader.rows:,} rows can be used", todo=todo)

    def _open(self) -> io.BufferedReader:
        if self.path == STDIN:
            if self._read_once:
                raise UsageError("standard input can be read once only, and this needs two passes", todo="give a file")
            self._read_once = True
            self._raw = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115 - as below
            return self._raw
        try:
            if os.path.isdir(self.path):
                raise DataError(f"{self.path}: is a directory", expected="a CSV, JSON lines or Parquet file")
            raw = open(self.path, "rb")  # noqa: SIM115 - closed by the iterator that asked for it
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be read: {error.strerror}", expected="a CSV, JSON lines or Parquet file"
            ) from None
        self.size = os.fstat(raw.fileno()).st_size
        self._raw = raw
        return raw


def _unpacked(raw: io.BufferedReader) -> io.BufferedReader:
    """The content behind gzip, if it is (by its first bytes, not by its name)."""
    if raw.peek(2)[:2] != _GZIP:
        return raw
    return io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 20)


def _head(content: io.BufferedReader, name: str) -> bytes:
    head = content.peek(4096)
    if not head:
        raise DataError(f"{name}: empty file", expected="CSV with a header, JSON lines, or Parquet")
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(
                f"{name}: is {what}", expected="CSV or JSON lines in UTF-8, plain or .gz, or Parquet", todo="convert it"
            )
    if head.startswith(b"\xef\xbb\xbf"):
        content.read(3)
        head = head[3:]
    return head


def _is_json(path: str, head: bytes) -> bool:
    name = path.lower().removesuffix(".gz")
    if name.endswith(_JSON_NAMES):
        return True
    return not name.endswith(".csv") and head.lstrip()[:1] in (b"{", b"[")


def _check_json(name: str, layout: Layout, head: bytes) -> None:
    if head.lstrip()[:1] == b"[":
        raise DataError(
            f"{name}: a JSON array", expected="JSON lines: one object a line", todo="`jq -c '.[]'` makes them"
        )
    options = {"--time-column": layout.time, "--prediction-column": layout.prediction}
    options |= {"--label-column": layout.label, "--id-column": layout.id}
    for option, column in options.items():
        if column is not None:
            raise UsageError(
                f"{option} is for CSV",
                got=column,
                todo="JSON lines have fixed names: ts, id, features, prediction, label",
            )


def _check_parquet(name: str, head: bytes, content: io.BufferedReader, raw: io.BufferedReader) -> None:
    if not head.startswith(MAGIC):
        raise DataError(f"{name}: no Parquet file", got=head[:4], expected=f"{MAGIC.decode()} at its beginning")
    if content is not raw:
        raise DataError(f"{name}: a Parquet file inside gzip", expected="the Parquet file itself", todo="unpack it")
    if not raw.seekable():
        raise DataError(f"{name}: Parquet is read from its end", expected="a file", todo="give its path")
