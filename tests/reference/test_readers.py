"""Data files as column batches."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.drift import rows as shared
from pilotfish_agent.drift.readers import DataFile
from pilotfish_agent.drift.rows import Layout, blocks, seconds
from pilotfish_core.errors import DataError, EmptyDataError, PilotfishError
from tests.reference.bad_files import good_csv, good_jsonl


def read(
    content: bytes, layout: Layout | None = None, suffix: str = "", **more: Any
) -> tuple[DataFile, list[shared.Rows]]:
    """All batches of a file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{suffix}"
        path.write_bytes(content)
        file = DataFile(str(path), layout, **more)
        return file, list(file)


def column(parts: list[shared.Rows], name: str) -> list[Any]:
    """One feature of all batches, NaN as None."""
    return [None if v != v else v for p in parts for v in list(p.batch.features[name])]


def test_csv_columns_have_types() -> None:
    """Numbers as float64, texts as list; the missing words are missing in both; times come from `ts`."""
    content = b"ts,n,t\n1,1.5,a\n2,,NA\n3,NaN,\n4,null,None\n5,N/A,b\n"
    file, parts = read(content)
    assert column(parts, "n") == [1.5, None, None, None, None]
    assert column(parts, "t") == ["a", None, None, None, "b"]
    assert isinstance(parts[0].batch.features["n"], np.ndarray)
    assert parts[0].times is not None
    assert parts[0].times.tolist() == [1, 2, 3, 4, 5]
    assert file.names == ("n", "t")
    assert file.rows == 5


def test_codes_stay_texts() -> None:
    """Post codes, long identifiers and 1_000 are no numbers."""
    content = b"zip,long,odd,plain\n0150,12345678901234567890,1_000,0.5\n0151,12345678901234567891,2_000,-0.5\n"
    _, parts = read(content)
    assert column(parts, "zip") == ["0150", "0151"]
    assert column(parts, "long") == ["12345678901234567890", "12345678901234567891"]
    assert column(parts, "odd") == ["1_000", "2_000"]
    assert column(parts, "plain") == [0.5, -0.5]


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)


@given(st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=1, max_size=20), st.sampled_from(["\n", "\r\n"]))
def test_what_a_csv_writer_writes_is_read_back(table: list[list[str]], end: str) -> None:
    """Quotes, commas and line feeds inside cells (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end)
    writer.writerow(["a", "b"])
    writer.writerows(table)
    _, parts = read(out.getvalue().encode(), Layout(categorical=frozenset("ab")), ".csv")
    want = [None if row[0] in shared_missing() else row[0] for row in table]
    assert [v for p in parts for v in p.batch.features["a"]] == want


def shared_missing() -> frozenset[str]:
    """The words that mean missing."""
    return frozenset(("", "NA", "NaN", "null", "None", "N/A"))


@given(st.binary(max_size=400), st.sampled_from([".csv", ".jsonl", ""]), st.booleans())
@settings(max_examples=300)
def test_any_bytes_are_rows_or_one_error(content: bytes, suffix: str, skip: bool) -> None:
    """A reader never raises anything but its own errors, and says them on one line."""
    refused: PilotfishError | None = None
    try:
        file, parts = read(content, suffix=suffix, skip_bad=skip)
    except PilotfishError as error:
        refused = error
    if refused is not None:
        assert "\n" not in refused.line()
        assert refused.exit_code in (2, 4)
        return
    assert file.rows == sum(p.batch.rows for p in parts) > 0


VALUE = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4))
RECORD = st.fixed_dictionaries({"features": st.dictionaries(st.sampled_from("abc"), VALUE, min_size=1)})


@given(st.lists(RECORD, min_size=1, max_size=30))
def test_any_scalars_of_json_lines_are_columns(records: list[dict[str, Any]]) -> None:
    """Each value arrives as itself: a number, or its canonical text where the column is mixed."""
    content = "\n".join(json.dumps(r) for r in records).encode()
    file, parts = read(content, suffix=".jsonl")
    assert file.rows == len(records)
    for name in file.names:
        given_values = [r["features"].get(name) for r in records]
        found = column(parts, name)
        assert len(found) == len(records)
        for value, got in zip(given_values, found, strict=True):
            assert same(value, got)


def same(value: Any, got: Any) -> bool:
    """Whether a JSON value and what was read are one."""
    if value is None:
        return got is None
    if isinstance(value, bool):
        return bool(got == str(value).lower())
    if isinstance(value, str):
        return bool(got == value)
    if isinstance(got, str):
        return math.isclose(float(got), value, rel_tol=1e-11, abs_tol=0)
    return bool(got == float(value))


def test_json_records_in_full() -> None:
    """Times, ids, latency, versions, predictions; label records and blank lines are no rows."""
    first = (
        '{"ts": 1732320000.25, "id": "r1", "model": "fraud", "version": "7", "features": {"a": 41, "c": "NO"},'
        ' "prediction": 0.83, "label": 1, "latency": 0.012, "slices": {"tenant": "a"}}'
    )
    last = (
        '{"ts": "2024-11-23T00:00:01Z", "id": 7, "model": "fraud", "features": {"a": null, "c": true}, "prediction": 1}'
    )
    lines = [first, "", '{"id": "r1", "label": 0}', last]
    file, parts = read("\n".join(lines).encode())
    batch = parts[0].batch
    assert (file.rows, batch.model, batch.source) == (2, "fraud", "tail")
    assert batch.ids == ["r1", "7"]
    assert column(parts, "a") == [41.0, None]
    assert column(parts, "c") == ["NO", "true"]
    assert np.asarray(batch.prediction).tolist() == [0.83, 1.0]
    assert batch.latency is not None
    assert batch.latency[0] == 0.012
    assert math.isnan(batch.latency[1])
    assert parts[0].times is not None
    assert parts[0].times.tolist() == [1732320000.25, 1732320001.0]
    assert parts[0].numbers.tolist() == [1, 3]


def test_probabilities_are_a_matrix() -> None:
    """A list of numbers is a row of probabilities, a missing prediction a row of NaN."""
    lines = [b'{"prediction": [0.2, 0.8]}', b'{"prediction": null, "features": {"a": 1}}', b'{"prediction": [1, 0]}']
    _, parts = read(b"\n".join(lines))
    # The one with features is a batch of its own: the others say nothing of features.
    assert [p.batch.rows for p in parts] == [1, 1, 1]
    assert parts[0].batch.n_classes == 2
    assert np.asarray(parts[2].batch.probabilities).tolist() == [[1.0, 0.0]]
    assert parts[1].batch.probabilities is None
    assert not parts[0].batch.features


def test_lists_are_rows_of_numbers() -> None:
    """As wide as the first; a missing, ragged or wordy one is missing throughout."""
    lines = [b"[1, 2]", b"[3, 4.5]", b"null", b"[1]", b'["a", 2]', b"7", b"[1e999, 2]", b"[%d, 2]" % 10**400]
    _, parts = read(b"\n".join(b'{"features": {"e": %s, "a": 1}}' % line for line in lines))
    e = parts[0].batch.features["e"]
    assert e.shape == (8, 2)
    assert e[:2].tolist() == [[1.0, 2.0], [3.0, 4.5]]
    assert np.isnan(e[[2, 3, 4, 5, 7]]).all()
    assert e[6].tolist() == [np.inf, 2.0]
    assert parts[0].batch.features["a"].tolist() == [1.0] * 8


def test_lists_that_are_no_probabilities_are_the_feature_output() -> None:
    """A model that answers with embeddings or coordinates."""
    _, parts = read(b'{"prediction": [0.2, 8]}\n{"prediction": [1, -1]}')
    assert parts[0].batch.probabilities is None
    assert parts[0].batch.features["output"].tolist() == [[0.2, 8.0], [1.0, -1.0]]


def test_one_model_of_several() -> None:
    """--model reads the records of one; unnamed ones belong to it."""
    content = b"\n".join(b'{"model": "%s", "features": {"a": 1}}' % m for m in (b"x", b"y", b"x"))
    file, _ = read(content, Layout(model="x"))
    assert file.rows == 2
    with pytest.raises(DataError, match="several models"):
        read(content)


def test_gzip_is_known_by_its_bytes() -> None:
    """Whatever the name; the content decides on the format, too."""
    for content, suffix in ((good_csv(), ".csv"), (good_jsonl(), ".jsonl.gz"), (good_jsonl(), "")):
        file, _ = read(gzip.compress(content), suffix=suffix)
        assert file.rows == 300


def test_a_byte_order_mark_is_no_name() -> None:
    """Spreadsheets write one."""
    file, _ = read(b"\xef\xbb\xbf" + good_csv())
    assert file.names == ("a", "c")
    assert read(b"\xef\xbb\xbf" + good_jsonl(), suffix=".jsonl")[0].rows == 300


def test_bad_rows_are_counted_and_left_out() -> None:
    """--skip-bad: the others keep their numbers in the file."""
    lines = good_csv(10).splitlines()
    lines[3] = b"1,2"
    lines[5] = b"never,1,x"
    file, parts = read(b"\n".join(lines), skip_bad=True)
    assert (file.rows, file.skipped) == (8, 2)
    assert parts[0].numbers.tolist() == [1, 2, 4, 6, 7, 8, 9, 10]
    file, parts = read(b'{"features":{"a":1}}\nnope\n{"features":{"a":{}}}\n{"features":{"a":2}}', skip_bad=True)
    assert (file.rows, file.skipped) == (2, 2)
    assert column(parts, "a") == [1.0, 2.0]


def test_the_error_counts_all_bad_rows() -> None:
    """The first is named, the rest counted."""
    lines = good_csv(10).splitlines()
    lines[3] = lines[7] = b"1,2"
    with pytest.raises(DataError, match=r"row 3;.*2 of 10 rows are bad"):
        read(b"\n".join(lines))


def test_rows_that_are_all_bad_are_said_to_be() -> None:
    """All 3 rows, not 3 of 3."""
    with pytest.raises(DataError, match=r"row 1;.*; all 3 rows are bad: mend"):
        read(b"a,c\n" + b"1\n" * 3)
    with pytest.raises(DataError, match="; the only row is bad: mend"):
        read(b"a,c\n1\n")


def test_a_long_line_is_skipped_without_being_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows after it are read."""
    monkeypatch.setattr(shared, "MAX_LINE", 1 << 20)
    content = b'{"features":{"a":1}}\n' + b"9" * (5 << 20) + b'\n{"features":{"a":2}}'
    file, parts = read(content, skip_bad=True)
    assert file.skipped == 1
    assert column(parts, "a") == [1.0, 2.0]


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"\r")), max_size=30), st.integers(1, 17))
def test_blocks_are_lines(lines: list[bytes], size: int) -> None:
    """Whatever the block size, the lines are those of the file; only line feeds end one."""
    content = b"\n".join(lines)
    original = shared._BLOCK
    shared._BLOCK = size
    try:
        found = [line for block in blocks(io.BytesIO(content)) for line in block]
    finally:
        shared._BLOCK = original
    assert b"".join(line or b"?" for line in found) == content
    assert all(line is not None and b"\n" not in line[:-1] for line in found)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (1732320000, 1732320000.0),
        ("1732320000.5", 1732320000.5),
        ("2024-11-23T00:00:00Z", 1732320000.0),
        ("2024-11-23T01:00:00+01:00", 1732320000.0),
        ("2024-11-23 00:00:00", 1732320000.0),
        ("2024-11-23", 1732320000.0),
    ],
)
def test_times(value: object, want: float) -> None:
    """Epoch seconds, as number or text, or RFC 3339; without an offset it is UTC."""
    assert seconds(value) == want


@pytest.mark.parametrize("value", [None, True, "x", -1, math.nan, math.inf, 1.7e12, [1], "", "1850-01-01T00:00:00Z"])
def test_no_times(value: object) -> None:
    """Milliseconds are refused: they would be the year 55,000."""
    assert math.isnan(seconds(value))


def test_a_file_is_read_again_from_its_beginning() -> None:
    """Two passes give the same rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        path.write_bytes(good_csv())
        file = DataFile(str(path))
        assert sum(p.batch.rows for p in file) == sum(p.batch.rows for p in file) == 300
        assert file.size == len(good_csv())
        assert file.position == 0


def test_batches_are_bounded() -> None:
    """5,000 rows a batch, fewer where the table is wide."""
    _, parts = read(b"a\n" + b"1\n" * 12_000, suffix=".csv")
    assert [p.batch.rows for p in parts] == [5_000, 5_000, 2_000]
    header = ",".join(f"f{i}" for i in range(400)).encode()
    _, parts = read(header + b"\n" + (b"1," * 399 + b"1\n") * 2_000)
    assert max(p.batch.rows for p in parts) <= 1_250


def test_too_many_columns_are_refused() -> None:
    """A log whose names are random would grow without bound."""
    records = "\n".join(json.dumps({"features": {f"k{i}": 1}}) for i in range(1_100))
    with pytest.raises(DataError, match="too many columns"):
        read(records.encode())


def test_no_rows_is_an_answer_of_its_own() -> None:
    """Exit code 4, not 2."""
    with pytest.raises(EmptyDataError):
        read(b"a,b\n")
