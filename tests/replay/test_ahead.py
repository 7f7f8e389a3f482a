"""Reading a large log in another process changes nothing but the time."""

import os
import pathlib
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pilotfish_agent.drift import ahead
from pilotfish_agent.drift.readers import DataFile
from pilotfish_agent.drift.rows import Layout, Rows
from pilotfish_core.errors import DataError, EmptyDataError


def written(path: pathlib.Path, text: str) -> DataFile:
    path.write_text(text)
    return DataFile(str(path), Layout(), skip_bad=False)


def lines(rows: int) -> str:
    return "".join(f'{{"ts": {i}, "features": {{"x": {i * 0.5}, "c": "k{i % 3}"}}}}\n' for i in range(rows))


def children() -> set[int]:
    """Of this process; a browser's driver of another test may be among them."""
    return set(map(int, pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def flat(batches: Iterator[Rows]) -> list[Any]:
    return [
        (b.numbers.tolist(), np.asarray(b.times).tolist(), b.batch.features["c"], list(b.batch.features["x"]))
        for b in batches
    ]


def test_rows_and_attributes_are_the_files_own(tmp_path: pathlib.Path) -> None:
    """The same batches in the same order, the same names and counts."""
    text = lines(12_000)
    here, there = written(tmp_path / "a.jsonl", text), ahead.ReadAhead(written(tmp_path / "b.jsonl", text))
    assert flat(iter(here)) == flat(iter(there))
    assert (here.names, here.rows, here.skipped) == (there.names, there.rows, there.skipped)
    assert there.size == len(text)
    assert there.position == len(text)


@pytest.mark.parametrize(
    ("text", "error"), [("", DataError), ('{"ts": 1, "features"\n', DataError), ("\n", EmptyDataError)]
)
def test_errors_are_the_files_own(tmp_path: pathlib.Path, text: str, error: type[DataError]) -> None:
    """The same line and the same exit code as without a second process."""
    here, there = written(tmp_path / "x.jsonl", text), ahead.ReadAhead(written(tmp_path / "x.jsonl", text))
    with pytest.raises(error) as first:
        list(here)
    with pytest.raises(error) as second:
        list(there)
    assert first.value.line() == second.value.line()
    assert first.value.exit_code == second.value.exit_code


def test_a_killed_reader_is_an_error_not_an_end(tmp_path: pathlib.Path) -> None:
    """A log that was read in part never passes as a whole one."""
    others = children()
    there = iter(ahead.ReadAhead(written(tmp_path / "x.jsonl", lines(60_000))))
    next(there)
    (child,) = children() - others
    os.kill(child, signal.SIGKILL)
    with pytest.raises(DataError, match="killed"):
        list(there)


def test_who_stops_early_leaves_no_process(tmp_path: pathlib.Path) -> None:
    """The reader ends with its reader."""
    others = children()
    there = iter(ahead.ReadAhead(written(tmp_path / "x.jsonl", lines(60_000))))
    next(there)
    there.close()  # type: ignore[attr-defined]
    assert children() <= others


def test_small_files_and_standard_input_are_read_here(tmp_path: pathlib.Path) -> None:
    """A second process only where it pays."""
    assert not ahead.worth_it(written(tmp_path / "x.jsonl", lines(10)))
    assert not ahead.worth_it(DataFile("-", Layout(), skip_bad=False))
    assert not ahead.worth_it(DataFile(str(tmp_path / "none"), Layout(), skip_bad=False))
