"""What `replay` says a line a stream, and the picture of the evidence over time."""

from __future__ import annotations

import itertools
import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.commands import _svg
from pilotfish_agent.drift.trace import MOST, Trace
from tests.drift_watch.world import Runner, World, watch
from tests.replay.conftest import START, Call, as_jsonl, records

SVG = "{http://www.w3.org/2000/svg}"
ROWS, AFTER = 6_000, 3_000


@pytest.fixture
def shifted(tmp_path: Path) -> str:
    """A log whose `a` moves by one standard deviation at row 3,000."""
    return as_jsonl(tmp_path / "shifted.jsonl", records(ROWS, 2, 1.0, AFTER))


def drawn(path: Path) -> ET.Element:
    return ET.fromstring(path.read_text(encoding="utf-8"))


def of_class(root: ET.Element, name: str) -> list[ET.Element]:
    return [e for e in root.iter() if name in e.get("class", "").split()]


def test_the_summary_names_each_stream_the_alarmed_one_first(call: Call, shifted: str, reference: str) -> None:
    """Evidence, effect, alarms, notices, when it began, verdict; as JSON and as a table."""
    code, out, _ = call("replay", shifted, "--reference", reference, "--json")
    assert code == 0
    report = json.loads(out)
    first = report["streams"][0]
    assert list(first) == [
        "feature", "verdict", "evidence", "threshold", "effect", "alarms", "notices", "began",
    ]  # fmt: skip
    assert (first["feature"], first["verdict"], first["alarms"]) == ("a", "drifting", 1)
    alarm = report["alarms"][0]
    assert (first["effect"], first["began"]) == (alarm["effect"], alarm["began"])
    assert first["evidence"] >= alarm["evidence"]
    assert {s["feature"] for s in report["streams"]} == {"a", "c", "@prediction", "@model"}
    assert all(0 <= s["evidence"] < s["threshold"] for s in report["streams"][1:])
    _, text, _ = call("replay", shifted, "--reference", reference)
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("STREAM"))
    assert lines[at].split() == ["STREAM", "EVIDENCE", "OF", "EFFECT", "ALARMS", "NOTICES", "BEGAN", "AT", "THE", "END"]
    assert lines[at + 1].split()[0] == "a"
    assert lines[at + 1].endswith("drifting")


def test_the_picture_shows_a_band_a_stream_with_its_alarm(
    call: Call, shifted: str, reference: str, tmp_path: Path
) -> None:
    """Where it lies, when it began, how long it lasted, and the explanation under the pointer."""
    path = tmp_path / "evidence.svg"
    code, out, err = call("replay", shifted, "--reference", reference, "--svg", str(path))
    assert (code, err) == (0, "")
    assert "1 alarm" in out
    root = drawn(path)
    assert root.tag == f"{SVG}svg"
    assert len(of_class(root, "band")) == 4
    # The first of the marks are those of the legend.
    alarm, began, span = (of_class(root, name)[-1] for name in ("alarm", "began", "drift"))
    assert float(began.get("d", "M0").split(",")[0][1:]) < float(alarm.get("cx", "0"))
    assert float(span.get("x", "0")) == pytest.approx(float(alarm.get("cx", "0")), abs=0.1)
    titles = [e.text or "" for e in root.iter(f"{SVG}title")]
    assert any(title.startswith("a: mean up") for title in titles)
    assert "prefers-color-scheme:dark" in path.read_text()


def test_a_log_without_times_is_drawn_over_its_rows(call: Call, reference: str, tmp_path: Path) -> None:
    """The axis says so."""
    log = as_jsonl(
        tmp_path / "log.jsonl", ({k: v for k, v in r.items() if k != "ts"} for r in records(ROWS, 2, 1.0, AFTER))
    )
    path = tmp_path / "evidence.svg"
    assert call("replay", log, "--reference", reference, "--rows-per-tick", "100", "--svg", str(path))[0] == 0
    texts = [e.text for e in drawn(path).iter(f"{SVG}text")]
    assert "rows" in texts
    assert "3,000" in texts


def test_a_log_of_one_tick_has_a_picture_too(call: Call, reference: str, tmp_path: Path) -> None:
    """Nothing to divide by."""
    log = as_jsonl(tmp_path / "short.jsonl", records(30, 2))
    path = tmp_path / "short.svg"
    assert call("replay", log, "--reference", reference, "--svg", str(path))[0] == 0
    assert "nan" not in path.read_text().lower()
    assert len(of_class(drawn(path), "band")) == 4


def test_a_picture_that_cannot_be_written_is_said_before_the_log_is_read(
    call: Call, shifted: str, reference: str, tmp_path: Path
) -> None:
    """Exit 2, one line, no half a file."""
    code, out, err = call("replay", shifted, "--reference", reference, "--svg", str(tmp_path / "no" / "x.svg"))
    assert (code, out) == (2, "")
    assert "cannot write the picture" in err
    assert call("replay", shifted, "--reference", reference, "--svg", str(tmp_path))[0] == 2
    assert os.listdir(tmp_path) == ["shifted.jsonl"]


# -- the trace


def test_the_largest_evidence_is_never_lost_and_memory_is_bounded() -> None:
    """Ten thousand ticks with one peak: it is there, at its place, among at most 2 x MOST points."""
    run = Runner(watch(), World(3))
    assert run.watch.comparison is not None
    trace = run.watch.trace = Trace(run.watch.comparison.streams.streams)
    run.ticks(40)
    judge = run.watch.judge
    assert judge is not None
    for tick in range(10_000):
        judge.scores[:] = 0.0
        judge.scores[1, 0] = 30.0 if tick == 7_777 else 0.1
        trace.add(run.now + tick, 4_000 + tick, judge)
    assert len(trace.times) <= 2 * MOST
    peak = trace.course(trace.names[0])
    assert trace.largest(trace.names[0]) == pytest.approx(30.0 / judge.threshold)
    assert trace.times[int(peak.argmax())] == pytest.approx(run.now + 7_777, abs=40)
    assert (np.diff(trace.times) > 0).all()
    assert (np.diff(trace.rows) > 0).all()


def test_a_budget_of_more_than_an_alarm_a_tick_counts_as_one_a_tick(call: Call, shifted: str, reference: str) -> None:
    """The line would be below 0 nats else, and JSON has no number for the evidence of what always alarms."""
    loose, tick = (
        json.loads(call("replay", shifted, "--reference", reference, "--json", "--false-alarms", budget)[1])["streams"]
        for budget in ("100000 per 1d", "1 per 10s")
    )
    assert [s["threshold"] for s in loose] == [s["threshold"] for s in tick]
    assert all(s["threshold"] > 0 and s["evidence"] >= 0 for s in loose)


def test_the_evidence_of_the_model_leaves_out_what_alarmed_by_itself() -> None:
    """Else the model would stand over its line without an alarm of its own."""
    run = Runner(watch(), World(4))
    assert run.watch.comparison is not None
    trace = run.watch.trace = Trace(run.watch.comparison.streams.streams)
    run.ticks(30)
    run.ticks(60, shift=1.0)
    assert any(entry.kind == "alarm" and entry.feature == "x" for entry in run.entries)
    assert trace.largest("x") > 1
    assert trace.largest("@model") <= 1 or any(entry.feature == "@model" for entry in run.entries)


# -- the little of SVG


@given(st.text())
def test_any_name_makes_well_formed_xml(name: str) -> None:
    """Names are foreign: control characters, quotes, angle brackets, lone surrogates."""
    text = _svg.element("text", _svg.text_of(name), class_=name)
    ET.fromstring(text.encode("utf-8", "strict"))


@given(st.floats(0, 4e9), st.floats(1, 3e9), st.integers(2, 12))
def test_moments_are_round_few_and_inside(low: float, length: float, most: int) -> None:
    """Ascending, at most one more than asked, never outside; the date stands where it is new."""
    found = _svg.moments(low, low + length, most)
    assert len(found) <= most + 1
    slack = length * 1e-9  # of float division
    assert all(low - slack <= at <= low + length + slack for at, _ in found)
    assert all(a < b for (a, _), (b, _) in itertools.pairwise(found))


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 12))
def test_steps_are_round_few_and_inside(low: float, length: float, most: int) -> None:
    """As above, for rows."""
    found = _svg.round_steps(low, low + length, most)
    slack = length * 1e-6 + 1e-6
    assert len(found) <= most + 1
    assert all(low - slack <= at <= low + length + slack for at in found)


def test_a_day_is_named_once() -> None:
    """Hours after it go without."""
    words = [w for _, w in _svg.moments(START, START + 6 * 3600, 6)]
    assert words[0].startswith("Nov 14, ")
    assert words[1].count(":") == 1


def test_level_stretches_are_two_points() -> None:
    """A calm stream of a thousand ticks is a short path."""
    line = _svg.path([(float(x), 5.0) for x in range(1000)])
    assert line == "M0,5L999,5"
    assert _svg.path([(0.0, 5.0), (1.0, 5.0), (2.0, 7.0), (3.0, 5.0)]) == "M0,5L1,5L2,7L3,5"
    assert _svg.path([]) == ""
