"""Parquet files and data frames that are wrong: refused in one line, never a crash."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pilotfish_agent import Reference
from pilotfish_agent.drift.frames import Frame
from pilotfish_agent.drift.readers import DataFile
from pilotfish_agent.drift.rows import Layout
from pilotfish_core.errors import DataError, EmptyDataError, UsageError
from tests.reference.table_data import as_csv, as_parquet, columns, values

# -- what is refused


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pa.table({"x": [1.0], "s": [{"a": 1}]}), ("column 's'", "struct", "--ignore")),
        (pa.table({"x": [1.0], "s": [["a"]]}), ("column 's'", "list", "--ignore")),
        (pa.table({"x": [1.0], "s": [b"a"]}), ("column 's'", "binary")),
        (pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]), ("'x'", "twice")),
        (pa.table({"@x": [1.0]}), ("'@x'", "Pilotfish's own")),
        (pa.table({"": [1.0]}), ("no name",)),
    ],
    ids=["struct", "texts in lists", "bytes", "twice", "ours", "nameless"],
)
def test_columns_of_no_use_are_named(tmp_path: Path, table: pa.Table, words: tuple[str, ...]) -> None:
    """With their type; left out by --ignore they do no harm."""
    for source in (Frame(table), DataFile(as_parquet(tmp_path / "a.parquet", table))):
        with pytest.raises(DataError) as caught:
            list(source)
        assert all(word in str(caught.value) for word in words), caught.value
    if "s" in table.column_names:
        assert [r.batch.rows for r in Frame(table, Layout(ignore=frozenset({"s"})))] == [1]


def test_rows_without_a_time_are_bad_rows(tmp_path: Path) -> None:
    """Named by number; --skip-bad leaves them out and counts them."""
    table = pa.table({"ts": [1.0, None, 3.0], "x": [1.0, 2.0, 3.0]})
    path = as_parquet(tmp_path / "a.parquet", table)
    for make in (lambda **how: Frame(table, **how), lambda **how: DataFile(path, **how)):
        with pytest.raises(DataError, match=r"row 2, column 'ts'.*1 of 3 rows is bad"):
            list(make())
        source = make(skip_bad=True)
        (rows,) = source
        assert (rows.numbers.tolist(), source.skipped, source.rows) == ([1, 3], 1, 2)


def test_all_bad_rows_of_a_table_are_counted(tmp_path: Path) -> None:
    """Those behind the batch of the first one, too."""
    for last, words in (("never", "all 12,000 rows are bad"), ("1", "11,999 of 12,000 rows are bad")):
        data: dict[str, Any] = {"ts": ["never"] * 11_999 + [last], "x": [1.0] * 12_000}
        lines = tmp_path / "a.jsonl"
        lines.write_text("".join(f'{{"ts": "{ts}", "features": {{"x": 1}}}}\n' for ts in data["ts"]))
        for source in (
            Frame(data),
            DataFile(as_parquet(tmp_path / "a.parquet", data)),
            DataFile(as_csv(tmp_path / "a.csv", data)),
            DataFile(str(lines)),
        ):
            with pytest.raises(DataError, match=f"row 1, .*{words}"):
                list(source)


def test_texts_that_must_be_numbers() -> None:
    """--numeric reads them, and names the one that is none."""
    frame = pd.DataFrame({"v": ["1", "2.5", "", "NaN"]})
    layout = Layout(numeric=frozenset({"v"}))
    np.testing.assert_array_equal(values(Frame(frame, layout), "v"), [1, 2.5, np.nan, np.nan])
    with pytest.raises(DataError, match=r"row 2, column 'v'.*'x'.*a number"):
        list(Frame({"v": ["1", "x"]}, layout))


@pytest.mark.parametrize("cut", [0.2, 0.6, 0.99])
def test_a_truncated_file_is_one_line(tmp_path: Path, cut: float) -> None:
    """Wherever it ends."""
    path = Path(as_parquet(tmp_path / "a.parquet", columns()))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    with pytest.raises(DataError, match="damaged Parquet file") as caught:
        list(DataFile(str(path)))
    assert "\n" not in str(caught.value)


def test_flipped_bytes_never_crash(tmp_path: Path) -> None:
    """They are read, or refused in one line."""
    path = Path(as_parquet(tmp_path / "a.parquet", columns(500)))
    good, rng = path.read_bytes(), np.random.default_rng(4)
    for _ in range(60):
        broken = bytearray(good)
        for at in rng.integers(4, len(good), 3).tolist():
            broken[at] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(broken))
        said = ""
        try:
            list(DataFile(str(path), skip_bad=True))
        except (DataError, EmptyDataError) as error:
            said = str(error)
        assert "\n" not in said


@pytest.mark.parametrize(
    "data",
    [5, "x.csv", [1, 2], np.zeros((3, 2)), pd.Series([1.0]), pa.array([1.0])],
    ids=lambda d: type(d).__name__,
)
def test_what_is_no_table_is_refused(data: object) -> None:
    """With what would be one."""
    with pytest.raises(UsageError, match="a pandas or Arrow table"):
        Reference.from_frame(data)


def test_mappings_of_wrong_columns_are_refused() -> None:
    """Lengths differ, a text, a generator; no rows at all."""
    with pytest.raises(DataError, match="different lengths"):
        Frame({"a": [1], "b": [1, 2]})
    with pytest.raises(DataError, match="column 'a'"):
        Frame({"a": "text"})
    with pytest.raises(DataError, match="column 'a'"):
        Frame({"a": (i for i in range(3))})
    with pytest.raises(EmptyDataError, match="no rows"):
        list(Frame({}))
    with pytest.raises(EmptyDataError, match="no rows"):
        list(Frame(pd.DataFrame({"a": []})))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, exit 2."""
    path = as_parquet(tmp_path / "a.parquet", columns())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pilotfish\[parquet\]"):
        list(DataFile(path))
