"""`pilotfish reference build` and `show`."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from pilotfish_agent.drift.reference import load
from tests.replay.conftest import START, Call, as_csv, as_jsonl, records


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A CSV of 2,000 rows with times and a prediction."""
    return as_csv(tmp_path / "data.csv", records(2_000, 1))


def test_build_writes_a_reference_and_says_so(call: Call, table: str, tmp_path: Path) -> None:
    """One line on stdout, notices on stderr, a whole file with ordinary rights."""
    path = str(tmp_path / "ref.json")
    mask = os.umask(0o027)
    code, out, err = call(
        "reference", "build", table, "-o", path, "--prediction-column", "y", "--model", "fraud", "--model-version", "7"
    )
    os.umask(mask)
    assert code == 0
    made = load(path)
    assert out.startswith(f"{path}: reference {made.id}, 2,000 rows, 3 streams: a, c, @prediction")
    assert "2,000 rows are few" in err
    assert (made.model, made.version, made.source, made.rows) == ("fraud", "7", "data.csv", 2_000)
    assert (made.begins, made.ends) == (START, START + 199.9)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["data.csv", "ref.json"]


def test_times_give_dependence(call: Call, table: str, tmp_path: Path) -> None:
    """Independent rows with times: phi is known to be 1, or little more."""
    path = str(tmp_path / "ref.json")
    assert call("reference", "build", table, "-o", path, "--prediction-column", "y", "--tick", "2s")[0] == 0
    made = load(path)
    assert {f.phi_source for f in made.features} == {"times"}
    assert max(f.phi for f in made.features) <= 1.25**3
    assert made.tick_rows == pytest.approx(20, abs=1)


def test_without_times_it_says_which_flag(call: Call, tmp_path: Path) -> None:
    """--time-column or --independent; with either the notice is gone."""
    data = as_jsonl(tmp_path / "d.jsonl", ({k: v for k, v in r.items() if k != "ts"} for r in records(6_000, 1)))
    path = str(tmp_path / "ref.json")
    _, _, err = call("reference", "build", data, "-o", path)
    assert "--time-column" in err
    assert "--independent" in err
    assert {f.phi_source for f in load(path).features} == {"unknown"}
    assert call("reference", "build", data, "-o", path, "--independent")[2] == ""
    assert {(f.phi, f.phi_source) for f in load(path).features} == {(1.0, "set")}


def test_columns_may_be_left_out_or_named(call: Call, table: str, tmp_path: Path) -> None:
    """--ignore, --categorical, --label-column, several at once."""
    path = str(tmp_path / "ref.json")
    code, out, _ = call("reference", "build", table, "-o", path, "--ignore", "a,y", "--categorical", "c")
    assert code == 0
    assert [f.name for f in load(path).features] == ["c"]
    assert "not watched: a: set by the user" in out
    assert call("reference", "build", table, "-o", path, "--label-column", "y")[0] == 0
    assert [f.name for f in load(path).features] == ["a", "c"]


def test_one_column_with_two_roles_is_exit_2(call: Call, table: str, tmp_path: Path) -> None:
    """Whichever they are; the column and both options are named."""
    path = tmp_path / "ref.json"
    roles = ("--prediction-column", "y", "--id-column", "c", "--label-column", "y")
    code, out, err = call("reference", "build", table, "-o", str(path), *roles)
    assert (code, out, path.exists()) == (2, "", False)
    assert err.splitlines() == [
        "pilotfish: one column with two roles: --prediction-column, --label-column; got 'y'; expected a column for each"
    ]


def test_the_configuration_counts(call: Call, table: str, tmp_path: Path) -> None:
    """features.ignore, features.types and model.name of --config; flags win."""
    config = tmp_path / "pilotfish.yaml"
    config.write_text("features: {ignore: [a], types: {c: categorical}}\nmodel: {name: fromfile}\n")
    path = str(tmp_path / "ref.json")
    assert call("reference", "build", table, "-o", path, "--config", str(config))[0] == 0
    made = load(path)
    assert (made.model, made.feature("a")) == ("fromfile", None)
    assert call("reference", "build", table, "-o", path, "--config", str(config), "--model", "x")[0] == 0
    assert load(path).model == "x"
    config.write_text("features: {ignroe: [a]}\n")
    code, _, err = call("reference", "build", table, "-o", path, "--config", str(config))
    assert code == 2
    assert "ignore" in err


def test_skipped_rows_stand_in_the_reference(call: Call, table: str, tmp_path: Path) -> None:
    """And in a notice."""
    with open(table, "a", encoding="utf-8") as file:
        file.write("1,2\n")
    path = str(tmp_path / "ref.json")
    code, _, err = call("reference", "build", table, "-o", path, "--skip-bad")
    assert code == 0
    assert "1 bad row was left out" in err
    assert load(path).skipped_rows == 1


@pytest.mark.parametrize("place", ["", "none/ref.json"])
def test_a_place_that_cannot_be_written_is_said_before_reading(
    call: Call, table: str, tmp_path: Path, place: str
) -> None:
    """A folder, or a folder that is not there: exit 2."""
    code, out, err = call("reference", "build", table, "-o", str(tmp_path / place))
    assert (code, out) == (2, "")
    assert "cannot write the reference" in err


def test_show_prints_what_is_in_it(call: Call, reference: str) -> None:
    """Rows, streams, what is ignored, the smallest shift that would be found."""
    code, out, _ = call("reference", "show", reference)
    assert code == 0
    assert "2,000 rows" in out
    assert "DETECTABLE SHIFT" in out
    assert any(line.startswith("a ") and line.endswith(" sd") for line in out.splitlines())
    code, out, _ = call("reference", "show", reference, "--json")
    shown = json.loads(out)
    assert (code, shown["id"]) == (0, load(reference).id)
    a = next(f for f in shown["features"] if f["name"] == "a")
    assert 0.1 < a["minimum_detectable_effect"] < 0.6
    assert a["phi_source"] == "set"
    assert next(f for f in shown["features"] if f["name"] == "c")["minimum_detectable_effect"] is None


def test_a_larger_budget_sees_smaller_shifts(call: Call, reference: str) -> None:
    """The detectable shift is that of the budget asked for."""
    found = []
    for budget in ("1 per 30d", "1000 per 30d"):
        shown = json.loads(call("reference", "show", reference, "--json", "--false-alarms", budget)[1])
        assert shown["false_alarms"] == budget
        found.append(next(f["minimum_detectable_effect"] for f in shown["features"] if f["name"] == "a"))
    assert found[1] < found[0]


def test_show_refuses_what_is_no_reference(call: Call, table: str) -> None:
    """Exit 2 and what to do."""
    code, _, err = call("reference", "show", table)
    assert code == 2
    assert "reference build" in err


def test_too_few_ticks_tell_nothing_of_dependence(call: Call, tmp_path: Path) -> None:
    """One moment for all rows, or 24 ticks: nothing was measured, so phi is not known, and the notice says so."""
    path = str(tmp_path / "ref.json")
    for items in (({**r, "ts": START} for r in records(2_000, 1)), records(2_400, 1)):
        data = as_jsonl(tmp_path / "d.jsonl", items)
        code, _, err = call("reference", "build", data, "-o", path)
        assert code == 0
        assert {(f.phi, f.phi_source) for f in load(path).features} == {(1.0, "unknown")}
        assert "times in at least 26 ticks" in err
    data = as_jsonl(tmp_path / "d.jsonl", records(2_600, 1))
    assert call("reference", "build", data, "-o", path)[0] == 0
    assert {f.phi_source for f in load(path).features} == {"times"}


def test_repeats_of_an_id_count_once_a_tick(call: Call, tmp_path: Path) -> None:
    """As in replay and in the agent; without times an id counts each time, there being no ticks."""
    path = str(tmp_path / "ref.json")
    items = [{**r, "id": "health" if i % 2 else f"r{i}"} for i, r in enumerate(records(4_000, 1))]
    assert call("reference", "build", as_jsonl(tmp_path / "d.jsonl", iter(items)), "-o", path)[0] == 0
    made = load(path)
    assert made.rows == 2_000 + 40
    assert {f.rows for f in made.features} == {2_040}
    items = [{k: v for k, v in r.items() if k != "ts"} for r in items]
    assert call("reference", "build", as_jsonl(tmp_path / "d.jsonl", iter(items)), "-o", path)[0] == 0
    assert load(path).rows == 4_000
