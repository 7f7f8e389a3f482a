"""Reload and accept: which evidence goes on, which restarts (docs/statistics.md, section 11)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.features import Config as Features
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_core.config import budget
from pilotfish_core.errors import DataError
from tests.drift_watch.world import FAST, START, Runner, World, give_tables, reference, watch


def with_other_colours() -> Reference:
    """The same but for three more rows of one stream."""
    base = reference()
    features = [
        replace(f, counts=f.counts + np.eye(len(f.counts), dtype=int)[0] * 3) if f.name == "colour" else f
        for f in base.features
    ]
    return replace(base, features=tuple(features))


def test_evidence_of_what_a_new_reference_leaves_alone_goes_on() -> None:
    """Scores of kept streams are those of a run without the reload, bit by bit; a latch stays; one stream restarts."""
    one, other = Runner(watch(), World(1)), Runner(watch(), World(1))
    for run in (one, other):
        run.ticks(15, shift=1.0)
    assert other.watch.reload(with_other_colours(), FAST) == (
        f"reference {reference().id} -> {with_other_colours().id}: evidence of 1 of 3 streams restarts (colour)"
    )
    assert other.watch.state == "drifting", "what is in force stays until the new tables are there"
    give_tables(other.watch)
    for run in (one, other):
        run.ticks(5, shift=1.0)
    a, b = one.watch.judge, other.watch.judge
    assert a is not None
    assert b is not None
    kept = [f for f, s in enumerate(reference().features) if s.name != "colour"]
    np.testing.assert_array_equal(a.scores[:, kept], b.scores[:, kept])
    assert b.drifting() == ["x"]
    assert [e.kind for e in other.entries if e.feature == "x" and e.level == "alarm"] == ["alarm"]
    rows = {r.feature: r.since_rows for r in other.watch.results() if r.feature == "x"}
    assert rows == {r.feature: r.since_rows for r in one.watch.results() if r.feature == "x"}


def test_the_same_file_again_changes_nothing() -> None:
    """Nor does another severity, a notice of no stream."""
    run = Runner(watch(), World(2))
    run.ticks(3)
    again = Reference.from_json(reference().to_json())
    assert run.watch.reload(again, replace(FAST, critical_effect=0.7)) == ""
    assert run.watch.table_request() is None
    asked = run.watch.reload(with_other_colours(), FAST), run.watch.table_request()
    assert run.watch.reload(with_other_colours(), FAST) == ""
    assert run.watch.table_request() is asked[1]
    words = run.watch.reload(again, FAST)
    assert words == f"reference {again.id} stays in force: all evidence goes on"
    assert run.watch.table_request() is None


@pytest.mark.parametrize(
    "config",
    [replace(FAST, false_alarms=budget("1 per 7d")), replace(FAST, replicas=3), replace(FAST, tick=5.0)],
)
def test_another_budget_restarts_all(config: object) -> None:
    """What is latched is released with words, and alarms anew under the new budget."""
    run = Runner(watch(), World(3))
    run.ticks(15, shift=1.0)
    assert run.watch.reload(reference(), config) == "the terms have changed: all evidence restarts"  # type: ignore[arg-type]
    give_tables(run.watch)
    entries = run.ticks(15, shift=1.0)
    ended = [e.explanation for e in entries if e.kind == "resolved" and e.level == "alarm"]
    assert ended == ["x: evidence restarts, what it is compared with has changed"]
    assert [e.feature for e in entries if e.kind == "alarm"] == ["x"]


def test_dependence_that_is_set_is_known_at_once_and_measured_when_it_is_not() -> None:
    """Alarms that were held back for it rise; `auto` measures again. Evidence goes on: so far it was taken for 1."""
    builder, auto = ReferenceBuilder(), replace(FAST, dependence="auto")
    builder.add(World(3).batch(5_000))
    base = builder.reference(created=START)
    run = Runner(watch(auto, base), World(8))
    assert {e.severity for e in run.ticks(20, shift=1.0) if e.kind == "alarm"} == {"info"}
    assert run.watch.held_back.startswith("dependence is not known yet")
    assert run.watch.reload(base, auto) == ""
    assert run.watch.reload(base, FAST) == "dependence is known from now on: alarms do not wait for it"
    assert (run.watch.held_back, run.watch.table_request()) == ("", None)
    assert "dependence" not in run.watch.words
    assert [(e.kind, e.severity) for e in run.ticks(3, shift=1.0)] == [("rise", "critical")]
    assert run.watch.reload(base, auto) == "dependence is measured from now on: alarms are info for 1,600 ticks"
    run.ticks(3)
    assert run.watch.held_back.startswith("dependence is not known yet (3 of")
    assert run.watch.reload(base, replace(FAST, dependence=4.0)) == "the terms have changed: all evidence restarts"
    assert run.watch.held_back == "tables are being built"
    give_tables(run.watch)
    assert run.watch.held_back == ""


def test_a_stream_that_is_ignored_changes_the_number_of_streams() -> None:
    """F is in the threshold of each, so all evidence restarts, and that is said."""
    run = Runner(watch(), World(4))
    run.ticks(3)
    words = run.watch.reload(reference(), FAST, features=Features(ignore=("y",)))
    assert words == "the terms have changed: all evidence restarts"
    give_tables(run.watch)
    assert {r.feature for r in run.watch.results()} == {"x", "colour", "@model"}


def test_accept_needs_an_alarm_and_rows() -> None:
    """Each refusal says what is missing."""
    run = Runner(watch(), World(5))
    run.ticks(3)
    with pytest.raises(DataError, match="nothing to accept"):
        run.watch.accept(run.now)
    while not run.ticks(1, shift=3.0):
        pass
    with pytest.raises(
        DataError, match=r"too few rows since the alarm of x; got \d+; expected at least 500; accept again"
    ):
        run.watch.accept(run.now)
    with pytest.raises(DataError, match="too few rows; got 0; expected at least 500; accept again after 500 more"):
        DriftWatch("m", None, FAST).accept(0.0)


def test_an_alarm_that_has_just_begun_does_not_hold_up_the_others() -> None:
    """What has enough rows is accepted; the other one is named, stays latched, and can be accepted later."""
    run = Runner(watch(), World(6))
    run.ticks(30, shift=1.0)
    while ("colour", "alarm") not in [(e.feature, e.kind) for e in run.ticks(1, shift=1.0, red=0.5)]:
        pass
    run.ticks(2, shift=1.0, red=0.5)
    words = run.watch.accept(run.now)
    assert words.endswith(
        ": what x looks like now is the new normal; left out, too few rows since the alarm: colour (300 more)"
    )
    give_tables(run.watch)
    assert run.watch.judge is not None
    assert run.watch.judge.drifting() == ["colour"]
    with pytest.raises(DataError, match=r"too few rows since the alarm of colour; got 200; .*after 300 more"):
        run.watch.accept(run.now)
    run.ticks(4, shift=1.0, red=0.5)
    assert run.watch.accept(run.now).endswith("what colour looks like now is the new normal")


def test_what_is_accepted_is_normal_from_then_on_and_back_is_not() -> None:
    """The alarm ends, stays away, comes when the data go back; streams that had not moved go on; a restart keeps it."""
    run = Runner(watch(), World(6))
    run.ticks(30, shift=1.0)
    assert run.watch.judge is not None
    calm = run.watch.judge.scores[:, 2].copy()
    words = run.watch.accept(run.now)
    give_tables(run.watch)
    accepted = run.watch.status().reference_id
    assert words == f"reference {reference().id} -> {accepted}: what x looks like now is the new normal"
    np.testing.assert_array_equal(run.watch.judge.scores[:, 2], calm)
    assert [e for e in run.ticks(100, shift=1.0) if e.kind == "alarm"] == []
    assert run.watch.state == "stable"
    fresh = DriftWatch("m", reference(), FAST)
    assert fresh.restore(run.watch.checkpoint())
    assert fresh.status().reference_id == accepted
    assert fresh.reload(reference(), FAST) == "", "the file that was replaced is read again"
    assert fresh.reload(with_other_colours(), FAST) != "", "another file wins"
    other = DriftWatch("m", with_other_colours(), FAST)
    assert other.restore(run.watch.checkpoint()), "evidence of the streams that are alike"
    assert other.status().reference_id == with_other_colours().id
    assert "x" in [e.feature for e in run.ticks(60, shift=0.0) if e.kind == "alarm"]
