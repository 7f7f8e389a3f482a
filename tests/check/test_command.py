"""`pilotfish check`: exit codes, the table, the JSON object, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.check.conftest import Call, as_csv, as_jsonl, records


def test_the_same_kind_of_data_is_stable(call: Call, reference: str, tmp_path: Path) -> None:
    """Exit 0, a line a feature, what it comes to, nothing on stderr."""
    code, out, err = call("check", as_csv(tmp_path / "d.csv", records(2_000, 2)), "--reference", reference)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[1].split() == ["FEATURE", "VERDICT", "EFFECT", "95", "%", "P", "P", "BEYOND", "WHAT"]
    assert [line.split()[:2] for line in lines[2:5]] == [["a", "stable"], ["c", "stable"], ["n", "stable"]]
    assert lines[5] == "stable: 3 stable"


def test_drift_is_exit_3_and_says_what_changed(call: Call, reference: str, tmp_path: Path) -> None:
    """A shift, a level and missing values, each in words with its numbers."""
    data = as_csv(tmp_path / "d.csv", records(2_000, 3, shift=0.5, missing=0.06, rare=0.4))
    code, out, _ = call("check", data, "--reference", reference)
    assert code == 3
    assert "mean up by about 0.5" in out
    assert "'z' " in out
    assert "missing " in out.partition("\nn ")[2]
    assert "drifting: 3 drifting" in out


def test_json_is_the_object_of_the_contract(call: Call, reference: str, tmp_path: Path) -> None:
    """All keys, numbers that are numbers, the interval around the effect."""
    data = as_csv(tmp_path / "d.csv", records(2_000, 3, shift=0.5))
    code, out, _ = call("check", data, "--reference", reference, "--json", "--fdr", "0.01", "--min-effect", "0.2")
    found = json.loads(out)
    assert code == 3
    keys = ["verdict", "reference_id", "fdr", "min_effect", "rows", "skipped_rows", "features"]
    assert list(found) == keys
    assert (found["verdict"], found["fdr"], found["min_effect"], found["rows"]) == ("drifting", 0.01, 0.2, 2_000)
    a = found["features"][0]
    assert list(a) == [
        "feature", "verdict", "effect", "effect_lower", "effect_upper", "tests", "explanation"
    ]  # fmt: skip
    assert (a["feature"], a["verdict"]) == ("a", "drifting")
    assert a["effect_lower"] < 0.5 < a["effect_upper"]
    assert [t["test"] for t in a["tests"]][:2] == ["any_change", "beyond_min_effect"]
    assert all(0 <= t["pvalue"] < 1e-6 for t in a["tests"][:2])


def test_a_change_within_the_minimum_effect_is_told_and_exits_0(call: Call, reference: str, tmp_path: Path) -> None:
    """Statistically sure, and small."""
    data = as_csv(tmp_path / "d.csv", records(4_000, 4, shift=0.4))
    code, out, _ = call("check", data, "--reference", reference, "--min-effect", "0.6")
    assert code == 0
    assert out.splitlines()[2].split()[:2] == ["a", "changed"]
    assert "1 changed within the minimum effect, 2 stable" in out


def test_too_few_rows_is_exit_4(call: Call, reference: str, tmp_path: Path) -> None:
    """For all columns: whatever is required."""
    data = as_csv(tmp_path / "d.csv", records(150, 5))
    code, out, _ = call("check", data, "--reference", reference, "--require", "any")
    assert code == 4
    assert "not enough data: 3 without enough rows" in out


def test_one_stream_without_rows_is_exit_4_unless_any_will_do(call: Call, tmp_path: Path) -> None:
    """The reference holds predictions, the data have none."""
    ref = str(tmp_path / "ref.json")
    assert call("reference", "build", as_jsonl(tmp_path / "r.jsonl", records(3_000, 1)), "-o", ref)[0] == 0
    data = as_csv(tmp_path / "d.csv", records(1_000, 6))
    code, out, _ = call("check", data, "--reference", ref)
    assert (code, "not enough data: 0 rows" in out) == (4, True)
    assert call("check", data, "--reference", ref, "--require", "any")[0] == 0
    assert call("check", as_jsonl(tmp_path / "d.jsonl", records(1_000, 6)), "--reference", ref)[0] == 0


def test_a_data_file_is_a_reference_too(call: Call, tmp_path: Path) -> None:
    """The verdict is that of the reference built of it."""
    ref = as_csv(tmp_path / "r.csv", records(5_000, 1))
    data = as_csv(tmp_path / "d.csv", records(2_000, 3, shift=0.5))
    assert call("check", data, "--reference", ref)[0] == 3


def test_a_column_that_lacks_is_exit_2_and_an_extra_one_a_notice(call: Call, reference: str, tmp_path: Path) -> None:
    """Bad input says which column."""
    path = tmp_path / "d.csv"
    path.write_text("a,n,more\n" + "1,2,3\n" * 300)
    code, out, err = call("check", str(path), "--reference", reference)
    assert (code, out) == (2, "")
    assert "'c'" in err
    path.write_text("a,c,n,more\n" + "1,x,2,3\n" * 300)
    assert "not tested: more" in call("check", str(path), "--reference", reference)[2]


@pytest.mark.parametrize("argv", [("--fdr", "0"), ("--fdr", "x"), ("--require", "some"), ("--min-effect", "-1")])
def test_wrong_options_are_exit_2(call: Call, reference: str, tmp_path: Path, argv: tuple[str, str]) -> None:
    """One line on stderr that names the option or its setting."""
    data = as_csv(tmp_path / "d.csv", records(300, 5))
    code, out, err = call("check", data, "--reference", reference, *argv)
    assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_a_header_without_rows_is_exit_4(call: Call, reference: str, tmp_path: Path) -> None:
    """As everywhere."""
    (tmp_path / "d.csv").write_text("a,c,n\n")
    assert call("check", str(tmp_path / "d.csv"), "--reference", reference)[0] == 4


def test_bad_rows_refuse_the_file_unless_skipped(call: Call, reference: str, tmp_path: Path) -> None:
    """And are counted."""
    path = tmp_path / "d.csv"
    as_csv(path, records(1_000, 6))
    path.write_text(path.read_text() + "1,2\n")
    assert call("check", str(path), "--reference", reference)[0] == 2
    code, out, err = call("check", str(path), "--reference", reference, "--skip-bad", "--json")
    assert (code, json.loads(out)["skipped_rows"], "1 bad row was left out" in err) == (0, 1, True)


def test_repeats_count_as_one_where_both_sides_have_times(call: Call, tmp_path: Path) -> None:
    """Each row five times over: without times a false alarm, with them none."""
    ref = str(tmp_path / "ref.json")
    timed = as_csv(tmp_path / "r.csv", records(10_000, 1), times=True)
    assert call("reference", "build", timed, "-o", ref)[0] == 0
    drawn = list(records(1_000, 8))
    repeated = [{**r, "ts": r["ts"] * 1.0 + i} for i, r in enumerate(r for r in drawn for _ in range(5))]
    code, out, _ = call("check", as_csv(tmp_path / "t.csv", repeated, times=True), "--reference", ref, "--json")
    changed = [f["tests"][0]["pvalue"] for f in json.loads(out)["features"]]
    _, out, _ = call("check", as_csv(tmp_path / "u.csv", repeated), "--reference", ref, "--json")
    naive = [f["tests"][0]["pvalue"] for f in json.loads(out)["features"]]
    assert code == 0
    assert min(naive) < 0.01 < min(changed)
