"""Learning a reference from traffic, up to `provisional` (docs/statistics.md, section 11), and phi from traffic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.features import Config as Features
from pilotfish_agent.drift.learn import Learner
from pilotfish_agent.drift.phi import TICKS, OnlinePhi
from pilotfish_agent.drift.watch import DriftWatch
from tests.drift_watch.world import FAST, START, Runner, World, batch, give_tables


def learning(seed: int) -> Runner:
    return Runner(DriftWatch("m", None, FAST, features=Features(ignore=("y",))), World(seed))


def test_learning_then_provisional_with_rebuilds() -> None:
    """500 rows make a reference; at 1,000, 2,000 and 5,000 it is made again of all rows, evidence restarts."""
    run = learning(31)
    run.ticks(4)
    assert (run.watch.state, run.watch.words) == ("learning", "learning: 400 of 500 rows")
    assert run.watch.table_request() is None
    ids, rows = [], []
    for _ in range(60):
        run.ticks(1)
        if run.watch.table_request() is not None:
            give_tables(run.watch)
            status = run.watch.status()
            ids.append(status.reference_id)
            rows.append(status.reference_rows)
    assert rows == [500, 1000, 2000, 5000]
    assert len(set(ids)) == 4
    assert run.watch.state == "provisional"
    assert run.watch.words == "provisional: 5,000 of 5,000 rows, 0 of 24 h"
    assert "y" not in {r.feature for r in run.watch.results()}
    assert run.entries == []


def test_counters_outlive_a_rebuild() -> None:
    """Missing values counted under one reference stay counted under the next."""
    run = learning(32)
    totals = []
    for _ in range(25):
        run.ticks(1, missing=0.2)
        if run.watch.table_request() is not None:
            give_tables(run.watch)
        totals += [s.value for s in run.watch.samples() if s.metric.name.endswith("missing_total") and "x" in s.labels]
    assert totals == sorted(totals)  # type: ignore[type-var]
    assert 250 < totals[-1] < 500  # type: ignore[operator]


def test_a_servers_slow_first_calls_do_not_keep_it_learning() -> None:
    """500 rows of a warm-up, then ten times faster for good: latency alarms and is learnt from all the same."""
    made, rng, kinds, now = DriftWatch("m", None, FAST), np.random.default_rng(35), [], START
    for tick in range(60):
        slow = 1.0 if tick < 6 else 0.1
        made.add(
            replace(batch({"x": rng.normal(size=100)}), latency=(slow * rng.lognormal(sigma=0.3, size=100)).tolist()),
            now,
        )
        now += 10.0
        kinds += [(e.feature, e.kind) for e in made.advance(now)]
        if made.table_request() is not None:
            give_tables(made)
    assert ("@latency", "alarm") in kinds
    assert made.status().reference_rows == 5_000


def test_provisional_alarms_are_info_and_their_rows_are_not_learnt() -> None:
    """A shift of 2 sd alarms as info and says why; while it lasts the reference is not rebuilt."""
    run = learning(33)
    run.ticks(11)
    give_tables(run.watch)
    run.ticks(10)
    give_tables(run.watch)
    before = run.watch.learner.rows if run.watch.learner is not None else 0
    alarms = [e for e in run.ticks(60, shift=2.0) if e.kind == "alarm"]
    assert [e.feature for e in alarms] == ["x"]
    assert alarms[0].severity == "info"
    assert "; severity info: the reference is provisional (" in alarms[0].explanation
    assert run.watch.learner is not None
    assert run.watch.learner.rows <= before + 500
    assert run.watch.table_request() is None
    assert run.watch.status().severity == "info"
    assert run.watch.state == "drifting"


def unknown_phi(seed: int) -> DriftWatch:
    builder = ReferenceBuilder()
    builder.add(World(seed).batch(3000))
    made = DriftWatch("m", builder.reference(created=START), replace(FAST, dependence="auto"))
    give_tables(made)
    return made


def test_dependence_is_counted_down_and_alarms_are_info_until_it_is_known() -> None:
    """Words count ticks; an alarm says what would settle it; once phi is known to be 1 it rises to its severity."""
    run = Runner(unknown_phi(34), World(35), rows=40)
    run.ticks(50)
    assert run.watch.words == "stable; dependence: 50 of 1,600 ticks"
    alarms = [e for e in run.ticks(100, shift=0.8) if e.kind == "alarm"]
    assert [e.severity for e in alarms] == ["info"]
    assert "dependence is not known yet" in alarms[0].explanation
    assert "drift.dependence settles it" in alarms[0].explanation
    assert run.watch.phi_request() is None
    run.ticks(TICKS - 150, shift=0.8)
    request = run.watch.phi_request()
    assert request is not None
    assert set(request.names) == {"x", "y", "colour"}
    with pytest.raises(ValueError, match="at least 1"):
        run.watch.set_phi(dict.fromkeys(request.names, 0.5))
    run.watch.set_phi(dict.fromkeys(request.names, 1.0))
    assert run.watch.table_request() is None
    rises = [e for e in run.ticks(2, shift=0.8) if e.kind == "rise"]
    assert [e.feature for e in rises] == ["x"]
    assert rises[0].severity in ("warning", "critical")
    with pytest.raises(ValueError, match="no phi"):
        run.watch.set_phi({})


def test_what_was_measured_goes_on_after_a_restart() -> None:
    """The count-down and the sums of a stream that is still measured; loaded before the tables are there or after."""
    run, later = Runner(unknown_phi(34), World(35), rows=40), unknown_phi(34)
    run.ticks(50)
    first, second = run.watch.standing.measured, later.standing.measured
    assert first is not None
    assert second is not None
    ticks, measured = first.dump()
    assert ticks == {"x": 50, "y": 50, "colour": 50}
    second.load({**ticks, "gone": 9}, np.concatenate((measured, measured[:1])))
    assert second.words() == "50 of 1,600 ticks"
    assert (second.dump()[1] == measured).all()
    early = OnlinePhi(later.comparison.streams, [0, 1]) if later.comparison is not None else None
    assert early is not None
    early.load(ticks, measured)
    assert early.ticks == 50
    assert later.judge is not None
    early.start(later.judge.tables)
    kept = [list(ticks).index(name) for name in early.dump()[0]]
    assert (early.dump()[1] == measured[kept]).all()


def test_a_phi_above_one_asks_for_new_tables_and_restarts_evidence() -> None:
    """Until they are there alarms stay info; then latches open, which is said, and the alarm comes anew."""
    run = Runner(unknown_phi(36), World(37), rows=40)
    run.ticks(TICKS, shift=0.8)
    request = run.watch.phi_request()
    assert request is not None
    run.watch.set_phi(dict.fromkeys(request.names, 1.25))
    wanted = run.watch.table_request()
    assert wanted is not None
    assert {spec.phi for spec in wanted.specs} == {1.25}
    assert "tables are being built" in run.watch.held_back
    give_tables(run.watch)
    entries = run.ticks(30, shift=0.8)
    ended = [e for e in entries if e.kind == "resolved" and e.level == "alarm"]
    assert [e.explanation for e in ended] == ["x: evidence restarts, what it is compared with has changed"]
    assert [e.severity for e in entries if e.kind == "alarm"] in (["warning"], ["critical"])


def test_a_number_for_dependence_settles_it() -> None:
    """`drift.dependence: 2` is phi of every stream, and nothing is measured."""
    builder = ReferenceBuilder()
    builder.add(World(38).batch(1000))
    made = DriftWatch("m", builder.reference(created=START), replace(FAST, dependence=2.0))
    request = made.table_request()
    assert request is not None
    assert {spec.phi for spec in request.specs} == {2.0}
    assert made.standing.measured is None


def test_learning_takes_bounded_memory_whatever_names_come() -> None:
    """Names beyond `limits.features` are not learnt; very many columns end the rebuilds early."""
    made = DriftWatch("m", None, FAST, max_features=3)
    for i in range(10):
        made.add(batch({f"f{k}": np.arange(60.0) % 7 for k in range(i, i + 2)}), START + i)
    comparison = made.comparison
    assert comparison is not None
    assert [s.name for s in comparison.streams.streams] == ["f0", "f1", "f2"]
    learner = Learner("m", "auto", Features(), limit=1_000)
    rng, made_of = np.random.default_rng(1), []
    for i in range(30):
        found = learner.add(batch({f"f{k}": rng.normal(size=250) for k in range(1_000)}), START + i)
        made_of += [found.rows] if found is not None else []
    assert made_of == [500, 1_000, 2_000, 5_000]
    assert learner.rows >= 5_000


def test_a_reference_that_is_complete_collects_no_rows_after_a_restart() -> None:
    """Rows that no rebuild will ever read are not held."""
    builder = ReferenceBuilder()
    builder.add(World(1).batch(50_000))
    learner = Learner("m", "auto", Features(), builder.reference(created=START))
    assert learner.add(World(2).batch(300), START) is None
    assert learner.rows == 50_000
    assert learner.dump()[0]["frozen"]


def test_the_rows_that_complete_a_reference_are_not_tested_against_it() -> None:
    """They are part of what is normal; evidence begins with the next row."""
    made = DriftWatch("m", None, FAST)
    made.add(World(4).batch(600), START)
    assert made.comparison is not None
    assert made.comparison.counted.sum() == 0


def test_repeats_of_an_id_are_learnt_once_a_tick() -> None:
    """As they are counted afterwards: else a request that is repeated would look rarer than normal."""
    made, world = DriftWatch("m", None, FAST), World(5)
    for tick in range(7):
        rows = world.rows(100)
        rows["colour"][50:] = ["red"] * 50
        ids = [*(f"r{tick}-{i}" for i in range(50)), *["health"] * 50]
        made.add(batch(rows, ids=ids), START + 10 * tick)
    assert made.learner is not None
    assert made.learner.rows == 7 * 51
