"""Parquet files and data frames: the same data give the same reference, whatever holds them."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pilotfish_agent import Reference
from pilotfish_agent.dispatch import dispatch
from pilotfish_agent.drift.frames import Frame
from pilotfish_agent.drift.readers import DataFile
from pilotfish_agent.drift.rows import Rows
from pilotfish_core.errors import DataError, UsageError
from tests.reference.table_data import ROLES, ROWS, START, as_csv, as_jsonl, as_parquet, columns, made, times, values


def test_one_reference_from_every_kind_of_table(tmp_path: Path) -> None:
    """CSV, JSON lines, Parquet, pandas, Arrow, a mapping: equal but for where they come from."""
    data = columns()
    frame = pd.DataFrame(data)
    sources: dict[str, DataFile | Frame] = {
        "csv": DataFile(as_csv(tmp_path / "a.csv", data), ROLES),
        "jsonl": DataFile(as_jsonl(tmp_path / "a.jsonl", data)),
        "parquet": DataFile(as_parquet(tmp_path / "a.parquet", data), ROLES),
        "parquet by its content": DataFile(as_parquet(tmp_path / "a.data", data), ROLES),
        "parquet of pandas": DataFile(as_parquet(tmp_path / "b.parquet", pa.Table.from_pandas(frame)), ROLES),
        "parquet in row groups": DataFile(as_parquet(tmp_path / "c.parquet", data, row_group_size=700), ROLES),
        "mapping": Frame(data, ROLES),
        "pandas": Frame(frame, ROLES),
        "pandas, shuffled index": Frame(frame.set_index(np.arange(ROWS)[::-1]), ROLES),
        "pandas, its nullable types": Frame(frame.convert_dtypes(), ROLES),
        "pandas on Arrow": Frame(frame.convert_dtypes(dtype_backend="pyarrow"), ROLES),
        "pandas, categories": Frame(frame.astype({"colour": "category", "answer": "category"}), ROLES),
        "arrow": Frame(pa.table(data), ROLES),
        "arrow, chunked": Frame(pa.concat_tables([pa.table(data).slice(0, 11), pa.table(data).slice(11)]), ROLES),
        "arrow, dictionaries": Frame(pa.table({**data, "colour": pa.array(data["colour"]).dictionary_encode()}), ROLES),
    }
    references = {name: made(source) for name, source in sources.items()}
    wanted = references["csv"]
    assert [f.name for f in wanted.features] == ["x", "n", "colour", "flag", "@prediction"]
    for name, found in references.items():
        assert found.id == wanted.id, name
        assert found.to_json() == wanted.to_json(), name


def test_moments_of_any_kind_are_times(tmp_path: Path) -> None:
    """Timestamps with and without a zone, dates, texts, numbers, Python's and pandas' own."""
    rows = 300
    moments = [dt.datetime.fromtimestamp(START + i, dt.UTC) for i in range(rows)]
    seconds = [float(START + i) for i in range(rows)]
    x = np.random.default_rng(1).normal(size=rows)
    naive = [m.replace(tzinfo=None) for m in moments]
    local = pd.Series(pd.DatetimeIndex(moments).tz_convert("America/New_York"))
    kinds: dict[str, Any] = {
        "numbers": pa.array(seconds),
        "texts": pa.array([m.isoformat() for m in moments]),
        "timestamps": pa.array(naive, pa.timestamp("ms")),
        "timestamps with a zone": pa.array(moments, pa.timestamp("ns", "Europe/Oslo")),
    }
    for name, kind in kinds.items():
        path = as_parquet(tmp_path / "t.parquet", pa.table({"ts": kind, "x": x}))
        assert times(DataFile(path)) == seconds, name
    frames = {
        "pandas with a zone": local,
        "pandas": pd.Series(naive),
        "python": moments,
        "numpy": np.array(naive, "M8[s]"),
    }
    for name, column in frames.items():
        assert times(Frame({"ts": column, "x": x})) == seconds, name
    days = pa.array([dt.date(2026, 1, 1) + dt.timedelta(i) for i in range(rows)])
    first = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()
    assert times(Frame(pa.table({"ts": days, "x": x})))[:2] == [first, first + 86_400]


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array([1, None, 3], pa.int8()), [1.0, np.nan, 3.0]),
        (pa.array([1, None, 2**60]), ["1", None, str(2**60)]),
        (pa.array([1.5, None, float("inf")], pa.float32()), [1.5, np.nan, np.inf]),
        (pa.array([decimal.Decimal("1.25"), None, decimal.Decimal(-3)]), [1.25, np.nan, -3.0]),
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.array(["a", None, ""], pa.large_string()), ["a", None, ""]),
        (pa.array(["a", None, "b"]).dictionary_encode(), ["a", None, "b"]),
        (pa.nulls(3), [np.nan] * 3),
        (pa.array([0, None, 90_000], pa.duration("ms")), [0.0, np.nan, 90.0]),
        (pa.array([dt.time(0, 1), None, dt.time(1)]), [60.0, np.nan, 3600.0]),
        (pa.array([dt.date(2026, 1, 2), None, None]), ["2026-01-02", None, None]),
        (pa.array([[1, 2], None, [3, 4]]), [[1, 2], [np.nan] * 2, [3, 4]]),
        (pa.array([[1.5, 2], [3, None], [3]]), [[1.5, 2], [np.nan] * 2, [np.nan] * 2]),
        (pa.array([[1.0, 2], None, [3, 4]], pa.list_(pa.float32(), 2)), [[1, 2], [np.nan] * 2, [3, 4]]),
        (pa.array([[1.0], None, []], pa.large_list(pa.float64())), [[1.0], [np.nan], [np.nan]]),
    ],
    ids=lambda v: str(v.type) if isinstance(v, pa.Array) else "",
)
def test_every_useful_type_of_arrow(tmp_path: Path, column: pa.Array, wanted: list[Any]) -> None:
    """In a file and in memory."""
    table = pa.table({"v": column})
    sources: list[DataFile | Frame] = [Frame(table)]
    if not pa.types.is_fixed_size_list(column.type):  # which Parquet has none of with gaps
        sources.append(DataFile(as_parquet(tmp_path / "v.parquet", table)))
    for source in sources:
        found = values(source, "v")
        if isinstance(found, list):
            assert found == wanted
        else:
            np.testing.assert_array_equal(found, np.array(wanted, np.float64))


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ([1, None, 2.5], [1.0, np.nan, 2.5]),
        ([1, "a", None], ["1", "a", None]),
        ([True, np.False_, None], ["true", "false", None]),
        ([np.float32(1.5), np.int64(2), decimal.Decimal(3)], [1.5, 2.0, 3.0]),
        ([pd.NA, pd.NaT, 1], [np.nan, np.nan, 1.0]),
        (np.array([2**60, 1, 2]), [str(2**60), "1", "2"]),
        (np.array([1, 2, 3], "m8[s]"), [1.0, 2.0, 3.0]),
        ([dt.timedelta(seconds=2), None, dt.timedelta(hours=1)], [2.0, np.nan, 3600.0]),
        ([(1, 2), None, np.array([3.0, 4.0])], [[1, 2], [np.nan] * 2, [3, 4]]),
        ([[1, 2], [3], [10**400, 1]], [[1, 2], [np.nan] * 2, [np.nan] * 2]),
        (np.arange(6).reshape(3, 2), [[0, 1], [2, 3], [4, 5]]),
        (
            pd.Series(["2026-01-01", None, "2026-01-03"], dtype="datetime64[ns]"),
            ["2026-01-01T00:00:00", None, "2026-01-03T00:00:00"],
        ),
        (pd.Series([1, None, 3], dtype="Int64"), [1.0, np.nan, 3.0]),
        (pd.Series([True, None, False], dtype="boolean"), ["true", None, "false"]),
        (pd.Series(["a", None, "b"], dtype="string"), ["a", None, "b"]),
        (pd.Series([0.5, None, 1.5], dtype="Float64"), [0.5, np.nan, 1.5]),
        (pd.Series([[1, 2], [3, 4], None]), [[1, 2], [3, 4], [np.nan] * 2]),
    ],
    ids=lambda v: type(v).__name__,
)
def test_columns_in_memory_of_any_make(column: Any, wanted: list[Any]) -> None:
    """Python's, numpy's and pandas' values, mixed as notebooks have them."""
    found = values(Frame({"v": column}), "v")
    if isinstance(found, list):
        assert found == wanted
    else:
        np.testing.assert_array_equal(found, np.array(wanted, np.float64))


def test_lists_become_an_embedding(tmp_path: Path) -> None:
    """As those of JSON lines do: one composite stream."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(2_000, 6))
    table = pa.table({"emb": vectors.tolist(), "x": rng.normal(size=2_000)})
    names = {"emb.cell", "emb.distance", "x"}
    for source in (Frame(table), DataFile(as_parquet(tmp_path / "e.parquet", table)), Frame({"emb": vectors})):
        found = made(source)
        assert names & {f.name for f in found.features} >= {"emb.cell", "emb.distance"}
        assert {f.part_of for f in found.features} >= {"emb"}


def test_wide_lists_take_fewer_rows_a_batch(tmp_path: Path) -> None:
    """A batch is bounded by its values, not by its rows."""
    vectors = np.random.default_rng(4).normal(size=(1_000, 1_536))
    table = pa.table({"emb": vectors.tolist()})
    sources = (Frame(table), DataFile(as_parquet(tmp_path / "e.parquet", table)), Frame({"emb": vectors}))
    for source in (*sources, Frame(pd.DataFrame({"emb": vectors.tolist()}))):
        assert 100 <= max(rows.batch.rows for rows in source) <= 325


def test_answers_that_are_lists_but_no_probabilities_are_a_feature() -> None:
    """As those of JSON lines: `output`."""
    rng = np.random.default_rng(5)
    frame = {"x": rng.normal(size=800), "answer": rng.normal(size=(800, 4))}
    assert {"output.cell", "output.distance"} <= {
        f.name for f in Reference.from_frame(frame, prediction="answer", independent=True).built.features
    }


def test_probabilities_are_a_class_and_a_score() -> None:
    """A prediction column of lists."""
    p = np.random.default_rng(3).dirichlet([1, 1, 1], 500)
    frame = pd.DataFrame({"x": np.arange(500) % 7 / 3, "p": p.tolist()})
    found = Reference.from_frame(frame, prediction="p", independent=True)
    assert {f.name for f in found.built.features} == {"x", "@prediction", "@score"}


# -- in a notebook, and in the commands


def test_a_reference_of_a_frame_checks_another(tmp_path: Path) -> None:
    """Drift is found by name; the same distribution is stable; a column that is gone is an error."""
    how: dict[str, Any] = {"time": "when", "prediction": "answer", "id": "request"}
    reference = Reference.from_frame(pd.DataFrame(columns()), model="m", **how)
    assert reference.built.model == "m"
    reference.save(str(tmp_path / "ref.json"))
    assert Reference.load(str(tmp_path / "ref.json")).built.id == reference.built.id
    assert reference.check(pd.DataFrame(columns(seed=2)), **how).verdict == "stable"
    found = reference.check(pa.table(columns(seed=3, shift=1.0)), **how)
    assert found.verdict == "drifting"
    assert [s.feature for s in found.streams if s.verdict == "drifting"] == ["x"]
    with pytest.raises(UsageError, match="'flag'"):
        reference.check(pd.DataFrame(columns(seed=2)).drop(columns="flag"), **how)
    with pytest.raises(DataError, match="'nope'"):
        Reference.from_frame(pd.DataFrame(columns()), time="nope")


def test_an_unknown_keyword_is_named_with_the_known_ones() -> None:
    """Those of the method that was called."""
    reference = Reference.from_frame(columns(), ignore=["when", "request"])
    roles = "prediction, label, time, id, ignore, numeric, categorical"
    words = f"from_frame() got an unexpected keyword argument 'colour'; expected one of {roles}, model, version, "
    with pytest.raises(TypeError, match=re.escape(words)):
        Reference.from_frame(columns(), colour="x")
    words = f"check() got an unexpected keyword argument 'colour'; expected one of {roles}, fdr, min_effect"
    with pytest.raises(TypeError, match=f"{re.escape(words)}$"):
        reference.check(columns(), colour="x")


@pytest.mark.parametrize(
    ("frame", "how", "words"),
    [
        (columns(), {"time": "nope"}, "no column for time=...; got 'nope'"),
        (pa.table({"s": [{"a": 1}] * 300}), {}, "leave it out with ignore=..."),
        ({"id": [f"n{i}" for i in range(300)]}, {}, "see numeric=..., categorical=..., prediction=..."),
        ({"ts": ["never"] * 300, "x": [1.0] * 300}, {}, "all 300 rows are bad: mend them"),
    ],
    ids=["role", "ignore", "nothing left", "bad rows"],
)
def test_errors_in_a_notebook_name_no_options(frame: object, how: dict[str, Any], words: str) -> None:
    """But the keywords of the call."""
    with pytest.raises(DataError) as caught:
        Reference.from_frame(frame, **how)
    assert words in str(caught.value)
    assert "--" not in str(caught.value)


def test_what_a_notebook_shows_is_short() -> None:
    """A line for a reference and a stream, a line for each feature of a check, of many features the loudest."""
    reference = Reference.from_frame(columns(), ignore=["when", "request"], prediction="answer", independent=True)
    assert repr(reference) == f"<Reference {reference.built.id}: {ROWS:,} rows, 5 streams>"
    found = reference.check(columns(seed=3, shift=1.0), ignore=["when", "request"], prediction="answer")
    lines = repr(found).splitlines()
    assert lines[0] == f"<Checked drifting: {ROWS:,} rows against reference {reference.built.id} of {ROWS:,} rows>"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["x", "drifting"], ["n", "stable"], ["colour", "stable"], ["flag", "stable"], ["@prediction", "stable"]
    ]  # fmt: skip
    assert "mean up by about" in lines[1]
    assert repr(found.streams[0]).startswith("<StreamCheck x: drifting, mean up by about")
    assert repr(found.streams[1]) == "<StreamCheck n: stable, no change found>"
    many = {f"x{i}": np.random.default_rng(i).normal(size=300) for i in range(30)}
    wide = Reference.from_frame(many, independent=True)
    lines = repr(wide.check(many | {"x29": many["x29"] + 2})).splitlines()
    assert (len(lines), lines[1].split()[0], lines[-1]) == (22, "x29", "and 10 more")


def test_one_column_has_one_role() -> None:
    """A frame, too; options are named as the call has them."""
    with pytest.raises(UsageError, match="two roles: prediction, label; got 'answer'"):
        Reference.from_frame(columns(), prediction="answer", label="answer", time="when")


def test_columns_can_be_named_one_by_one_or_together() -> None:
    """ignore, numeric, categorical."""
    frame = pd.DataFrame(columns())
    found = Reference.from_frame(frame, ignore=["when", "request", "answer"], categorical="n", independent=True)
    kinds = {f.name: f.kind for f in found.built.features}
    assert kinds == {"x": "numeric", "n": "categorical", "colour": "categorical", "flag": "categorical"}


def test_nothing_of_it_imports_pandas_or_pyarrow() -> None:
    """A mapping needs neither, and the package itself not even numpy."""
    code = (
        "import sys, pilotfish_agent; assert 'numpy' not in sys.modules\n"
        "r = pilotfish_agent.Reference.from_frame({'x': [i % 91 / 7 for i in range(400)]}, independent=True)\n"
        "assert [f.name for f in r.built.features] == ['x'], r\n"
        "assert not {'pandas', 'pyarrow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_memory_is_that_of_a_batch_whatever_the_row_group(tmp_path: Path) -> None:
    """A row group of 32 MB is never held: Arrow's own account of its peak says so."""
    rng = np.random.default_rng(5)
    path = as_parquet(
        tmp_path / "big.parquet", {f"x{i}": rng.random(1_000_000) for i in range(4)}, row_group_size=10**6
    )
    before = pa.default_memory_pool().bytes_allocated()
    peak = rows = 0
    for part in DataFile(path):
        peak, rows = max(peak, pa.default_memory_pool().bytes_allocated() - before), rows + part.batch.rows
    assert rows == 1_000_000
    assert peak < 12 << 20


def test_the_commands_read_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """reference build, replay, check; the file is told by its content."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    train = as_parquet(tmp_path / "train.parquet", columns())
    later = as_parquet(tmp_path / "later.parquet", columns(seed=3, shift=1.0))
    roles = ["--time-column", "when", "--prediction-column", "answer", "--id-column", "request"]
    ref = str(tmp_path / "ref.json")
    assert dispatch(["reference", "build", train, "-o", ref, *roles]) == 0
    assert dispatch(["replay", later, "--reference", ref, *roles, "--json", "--dependence", "1"]) == 0
    out = capsys.readouterr().out.splitlines()[-1]
    assert {a["feature"] for a in json.loads(out)["alarms"]} == {"x"}
    assert dispatch(["check", later, "--reference", ref, *roles]) == 3


def test_a_file_is_read_twice_in_the_same_way(tmp_path: Path) -> None:
    """The builder reads a large one again."""
    file = DataFile(as_parquet(tmp_path / "a.parquet", columns()), ROLES)

    def told() -> list[tuple[int, float]]:
        parts: list[Rows] = list(file)
        return [(p.batch.rows, float(np.nansum(p.batch.features["x"]))) for p in parts]

    assert told() == told()
    assert (file.rows, file.names, file.position) == (ROWS, ("x", "n", "colour", "flag"), 0)
