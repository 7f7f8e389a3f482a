"""`pilotfish replay`: what would have alarmed, when and why."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotfish_agent.commands._data import Progress
from pilotfish_agent.drift.readers import DataFile
from pilotfish_agent.drift.reference import load
from pilotfish_agent.drift.tables import build
from pilotfish_agent.drift.watch import Config, DriftWatch
from pilotfish_core.nouns import ObservationBatch
from tests.replay.conftest import START, Call, as_csv, as_jsonl, records

ROWS, AFTER = 6_000, 3_000
KEYS = ["feature", "ts", "began", "row", "evidence", "threshold", "effect", "severity", "explanation"]


@pytest.fixture
def shifted(tmp_path: Path) -> str:
    """A log whose `a` moves by one standard deviation at row 3,000."""
    return as_jsonl(tmp_path / "shifted.jsonl", records(ROWS, 2, 1.0, AFTER))


def replayed(call: Call, *argv: str) -> dict[str, Any]:
    """The report of a replay that must succeed."""
    code, out, err = call("replay", *argv, "--json")
    assert code == 0, err
    report: dict[str, Any] = json.loads(out)
    return report


def test_the_report_has_the_contracts_shape(call: Call, shifted: str, reference: str) -> None:
    """Keys, in order; every field of an alarm."""
    report = replayed(call, shifted, "--reference", reference)
    assert list(report) == [
        "reference_id", "rows", "late_rows", "ticks", "tick_seconds", "false_alarms", "alarms", "notices", "final",
        "streams",
    ]  # fmt: skip
    assert report["reference_id"] == load(reference).id
    assert (report["rows"], report["late_rows"], report["ticks"], report["tick_seconds"]) == (ROWS, 0, 60, 10.0)
    assert report["false_alarms"] == "1 per 30d"
    assert [list(a) for a in report["alarms"]] == [KEYS] * len(report["alarms"])


def test_a_shift_is_found_soon_and_by_name(call: Call, shifted: str, reference: str) -> None:
    """Not before it begins; the explanation says which stream and which way; it drifts at the end."""
    report = replayed(call, shifted, "--reference", reference)
    alarm = next(a for a in report["alarms"] if a["feature"] == "a")
    assert AFTER < alarm["row"] <= AFTER + 1_000
    assert START + AFTER / 10 < alarm["ts"] <= START + AFTER / 10 + 100
    assert abs(alarm["began"] - (START + AFTER / 10)) <= 30
    assert alarm["evidence"] >= alarm["threshold"] > 0
    assert alarm["effect"] > 0.5
    assert alarm["severity"] in ("warning", "critical")
    assert alarm["explanation"].startswith("a: ")
    assert {f["feature"]: f["verdict"] for f in report["final"]}["a"] == "drifting"
    assert all(a["row"] > AFTER for a in report["alarms"] + report["notices"])


def test_without_a_shift_nothing_alarms(call: Call, tmp_path: Path, reference: str) -> None:
    """Exit 0 all the same, and each stream has a verdict."""
    log = as_jsonl(tmp_path / "calm.jsonl", records(ROWS, 3))
    report = replayed(call, log, "--reference", reference)
    assert report["alarms"] == []
    assert {f["feature"] for f in report["final"]} >= {"a", "c", "@prediction"}
    assert "drifting" not in {f["verdict"] for f in report["final"]}


def test_csv_gzip_and_standard_input_are_one_log(
    call: Call, shifted: str, reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows in any wrapping give the same report."""
    want = replayed(call, shifted, "--reference", reference)
    table = as_csv(tmp_path / "log.csv", records(ROWS, 2, 1.0, AFTER))
    assert replayed(call, table, "--reference", reference, "--prediction-column", "y") == want
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(Path(shifted).read_bytes()))
    assert replayed(call, str(packed), "--reference", reference) == want
    with open(shifted, "rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        assert replayed(call, "-", "--reference", reference) == want


def test_a_data_file_is_a_reference(call: Call, shifted: str, tmp_path: Path) -> None:
    """It is built first, with its notices."""
    data = as_jsonl(tmp_path / "data.jsonl", records(2_000, 1))
    code, out, err = call("replay", shifted, "--reference", data, "--json", "--dependence", "1")
    assert code == 0
    assert "2,000 rows are few" in err
    assert "a" in {a["feature"] for a in json.loads(out)["alarms"]}


def test_ticks_of_rows_need_no_times(call: Call, tmp_path: Path, reference: str) -> None:
    """A tick of 100 rows stands for a minute; moments are null, rows say where."""
    log = as_jsonl(
        tmp_path / "log.jsonl", ({k: v for k, v in r.items() if k != "ts"} for r in records(ROWS + 50, 2, 1.0, AFTER))
    )
    report = replayed(call, log, "--reference", reference, "--rows-per-tick", "100")
    assert (report["ticks"], report["tick_seconds"]) == (60, 60.0)
    alarm = next(a for a in report["alarms"] if a["feature"] == "a")
    assert (alarm["ts"], alarm["began"]) == (None, None)
    assert alarm["row"] % 100 == 0
    assert AFTER < alarm["row"] <= AFTER + 1_000
    code, out, _ = call("replay", log, "--reference", reference, "--rows-per-tick", "100")
    assert code == 0
    assert f"row {alarm['row']:,}" in out


def test_ticks_of_rows_keep_times_where_there_are_some(call: Call, shifted: str, reference: str) -> None:
    """The alarm's moment is that of its last row."""
    report = replayed(call, shifted, "--reference", reference, "--rows-per-tick", "50")
    assert report["ticks"] == ROWS // 50
    alarm = report["alarms"][0]
    assert alarm["ts"] == pytest.approx(START + (alarm["row"] - 1) / 10)


def test_late_rows_count_in_the_open_tick(call: Call, tmp_path: Path, reference: str) -> None:
    """A row from before the open tick is late: counted, and said."""
    items = list(records(400, 4))
    items[300]["ts"] = START
    items[301]["ts"] = START + 29.5  # older than its neighbours, but of the open tick
    log = as_jsonl(tmp_path / "log.jsonl", iter(items))
    code, out, err = call("replay", log, "--reference", reference, "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["rows"], report["late_rows"]) == (400, 1)
    assert "1 row was older" in err


def test_rows_are_numbers_of_the_file(call: Call, tmp_path: Path, shifted: str, reference: str) -> None:
    """Bad rows that are left out keep their numbers."""
    want = replayed(call, shifted, "--reference", reference)
    lines = Path(shifted).read_text(encoding="utf-8").splitlines()
    log = tmp_path / "bad.jsonl"
    log.write_text("\n".join(["nonsense"] * 7 + lines) + "\n", encoding="utf-8")
    report = replayed(call, str(log), "--reference", reference, "--skip-bad")
    assert [a["row"] - 7 for a in report["alarms"]] == [a["row"] for a in want["alarms"]]
    assert report["rows"] == want["rows"]


def test_a_column_that_the_reference_lacks_is_a_notice(call: Call, tmp_path: Path, reference: str) -> None:
    """By name; it is not tested and not counted in the budget."""
    items = [{**r, "features": {**r["features"], "new": 1}} for r in records(500, 5)]
    log = as_jsonl(tmp_path / "log.jsonl", iter(items))
    code, out, err = call("replay", log, "--reference", reference, "--json")
    assert code == 0
    assert "not tested: new" in err
    assert {f["feature"]: f["verdict"] for f in json.loads(out)["final"]}["new"] == "not_enough_data"


def test_the_budget_moves_the_line(call: Call, shifted: str, reference: str) -> None:
    """A wider budget has a lower threshold; the report repeats its words."""
    narrow = replayed(call, shifted, "--reference", reference)
    wide = replayed(call, shifted, "--reference", reference, "--false-alarms", "30 per 30d", "--tick", "20s")
    assert wide["false_alarms"] == "30 per 30d"
    assert wide["tick_seconds"] == 20.0
    # Thirty times the alarms, half the ticks: T falls by log 60.
    assert narrow["alarms"][0]["threshold"] - wide["alarms"][0]["threshold"] == pytest.approx(math.log(60))


def test_the_report_for_people(call: Call, shifted: str, reference: str) -> None:
    """One line a transition, what drifts at the end; no colour, no bar in a pipe."""
    code, out, err = call("replay", shifted, "--reference", reference)
    assert code == 0
    assert "6,000 rows, 60 ticks of 10 s" in out
    assert "at the end: drifting: " in out
    assert "\x1b" not in out
    assert "\r" not in err


def test_replay_is_what_the_agent_would_have_done(call: Call, shifted: str, reference: str) -> None:
    """Rows handed over a second at a time, with a clock that ticks: the same alarms with the same evidence."""
    made = load(reference)
    watch = DriftWatch("demo", made, Config())
    request = watch.table_request()
    assert request is not None
    watch.set_tables(build(request.specs, request.budget_ticks, request.streams))
    found = []
    for part in DataFile(shifted):
        assert part.times is not None
        for second in np.unique(np.floor(part.times)):
            rows = np.flatnonzero(np.floor(part.times) == second)
            found += watch.advance(float(second))
            watch.add(sliced(part.batch, rows), float(part.times[rows[0]]))
    found += watch.advance(START + ROWS / 10 + 10)
    report = replayed(call, shifted, "--reference", reference)
    live = [(e.feature, e.ts, e.row) for e in found if e.kind == "alarm"]
    assert live == [(a["feature"], a["ts"], a["row"]) for a in report["alarms"]]
    evidence = [e.evidence for e in found if e.kind == "alarm"]
    assert evidence == pytest.approx([a["evidence"] for a in report["alarms"]])


def sliced(batch: ObservationBatch, rows: np.ndarray) -> ObservationBatch:
    """Some rows of a batch."""
    features = {k: [v[i] for i in rows] if isinstance(v, list) else v[rows] for k, v in batch.features.items()}
    assert isinstance(batch.prediction, list)
    return ObservationBatch(
        batch.model, batch.version, "sdk", len(rows), features, prediction=[batch.prediction[i] for i in rows]
    )


def test_unknown_dependence_holds_alarms_back(call: Call, shifted: str, tmp_path: Path) -> None:
    """Without times and without --independent, alarms are info until 1,600 ticks have measured it."""
    data = as_jsonl(tmp_path / "data.jsonl", ({k: v for k, v in r.items() if k != "ts"} for r in records(2_000, 1)))
    report = replayed(call, shifted, "--reference", data)
    assert {a["severity"] for a in report["alarms"]} == {"info"}


def test_measured_dependence_frees_them(call: Call, tmp_path: Path) -> None:
    """After 1,600 ticks phi is known, and a later shift is a warning or worse."""
    data = as_jsonl(tmp_path / "data.jsonl", ({k: v for k, v in r.items() if k != "ts"} for r in records(2_000, 1)))
    log = as_jsonl(tmp_path / "long.jsonl", records(40_000, 6, 1.0, 36_000))
    report = replayed(call, log, "--reference", data, "--rows-per-tick", "20")
    assert {a["severity"] for a in report["alarms"] if a["feature"] == "a"} <= {"warning", "critical"}
    assert any(a["feature"] == "a" for a in report["alarms"])


def test_tables_are_kept(call: Call, shifted: str, reference: str, cache: Path) -> None:
    """The second replay reads them; a cache that cannot be written is no error."""
    want = replayed(call, shifted, "--reference", reference)
    files = {f: f.stat().st_mtime_ns for f in (cache / "pilotfish" / "tables").iterdir()}
    assert files
    assert replayed(call, shifted, "--reference", reference) == want
    assert {f: f.stat().st_mtime_ns for f in (cache / "pilotfish" / "tables").iterdir()} == files


def test_a_cache_that_cannot_be_written_is_no_error(
    call: Call, shifted: str, reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It only costs the next call the time to build."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert replayed(call, shifted, "--reference", reference)["alarms"]


class Terminal(io.StringIO):
    """Stands in for a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_progress_shows_on_a_terminal_only() -> None:
    """A bar with the share and the words, drawn at most ten times a second, taken away at the end."""
    now = [0.0]
    screen, pipe = Terminal(), io.StringIO()
    for out in (screen, pipe):
        bar = Progress("replaying", out, 200, clock=lambda: now[0])
        for done in (50, 60, 200):
            bar.to(done, f"{done} rows")
            now[0] += 0.06
        bar.done()
    text = screen.getvalue()
    assert "25% 50 rows" in text
    assert "60 rows" not in text
    assert "100% 200 rows" in text
    assert text.endswith("\r")
    assert pipe.getvalue() == ""
    unknown = Terminal()
    Progress("reading", unknown, 0).to(5, "5 rows")
    assert unknown.getvalue().strip() == "reading 5 rows"


def test_replaying_takes_memory_that_does_not_grow(call: Call, tmp_path: Path, reference: str) -> None:
    """Nothing of a batch outlives it: the objects held do not depend on the log's length."""
    import tracemalloc

    peaks = []
    for rows in (20_000, 40_000):  # both are more than the blocks that a file is read in
        log = as_jsonl(tmp_path / f"log{rows}.jsonl", records(rows, 7))
        tracemalloc.start()
        replayed(call, log, "--reference", reference)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        os.unlink(log)
    assert peaks[1] < 1.3 * peaks[0]


def test_a_log_may_begin_with_predictions_alone(call: Call, tmp_path: Path, reference: str) -> None:
    """Columns are missing when no record has them, not when the first ones do not."""
    alone = [{"ts": START, "prediction": "yes"}] * 3
    log = as_jsonl(tmp_path / "log.jsonl", iter([*alone, *records(500, 5)]))
    assert replayed(call, log, "--reference", reference)["rows"] == 503
    only = as_jsonl(tmp_path / "only.jsonl", iter(alone))
    code, _, err = call("replay", only, "--reference", reference)
    assert code == 2
    assert "lack: 'a', 'c'" in err


def test_rows_are_numbers_of_the_file_at_every_batch_end(call: Call, tmp_path: Path, reference: str) -> None:
    """Also where the tick closes with the first row of a batch, or with the end of the file."""
    items = list(records(5_100, 8, 3.0, 4_900))
    lines = [json.dumps(r) for r in items[:5_000]]
    log = tmp_path / "bad.jsonl"
    log.write_text("\n".join(["nonsense"] * 7 + lines) + "\n", encoding="utf-8")
    report = replayed(call, str(log), "--reference", reference, "--skip-bad")
    assert {a["row"] for a in report["alarms"]} == {5_007}
    log.write_text("\n".join(["nonsense"] * 5_000 + lines[4_000:]) + "\n", encoding="utf-8")
    late = replayed(call, str(log), "--reference", reference, "--skip-bad")
    assert {a["row"] for a in late["alarms"]} == {6_000}


def test_limits_of_the_configuration_hold(call: Call, tmp_path: Path, shifted: str, reference: str) -> None:
    """`limits.features` decides what is tested, as in the agent."""
    config = tmp_path / "pilotfish.yaml"
    config.write_text("limits: {features: 1}\n", encoding="utf-8")
    report = replayed(call, shifted, "--reference", reference, "--config", str(config))
    assert [f["feature"] for f in report["final"]] == ["a", "@prediction", "@model"]


def test_ignored_columns_are_not_tested(call: Call, tmp_path: Path, shifted: str, reference: str) -> None:
    """By flag or by `features.ignore`, in the log or not: they are no stream, and no notice either."""
    config = tmp_path / "pilotfish.yaml"
    config.write_text("features: {ignore: [a]}\n", encoding="utf-8")
    for how in (["--ignore", "a"], ["--config", str(config)]):
        report = replayed(call, shifted, "--reference", reference, *how)
        assert [f["feature"] for f in report["final"]] == ["c", "@prediction", "@model"]
        assert report["alarms"] == []
