"""The watch on streams whose truth is known: silence, alarms with the right name, latches, severities, resolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.phi import TICKS
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_agent.windows.ticks import RowSplitter, TickRule, TickSplitter
from pilotfish_core.config import budget
from pilotfish_core.nouns import ObservationBatch
from tests.drift_watch.world import FAST, START, TICK, Runner, World, batch, give_tables, reference, watch


def kinds(entries: list[Entry], kind: str = "alarm") -> list[str]:
    return [e.feature for e in entries if e.kind == kind]


def test_stable_data_stay_silent() -> None:
    """40,000 rows like the reference: no entry, state stable, evidence below the line."""
    run = Runner(watch(), World(7))
    assert run.ticks(400) == []
    assert run.watch.state == "stable"
    assert run.watch.status().severity == "none"
    for result in run.watch.results():
        assert result.verdict == "stable"
        assert 0 <= result.evidence < result.threshold


def test_a_shift_alarms_once_with_name_direction_and_start() -> None:
    """A mean that moves by .5 sd: one alarm on `x`, up, began at the shift to within a tick, latched from then on."""
    run = Runner(watch(), World(8))
    run.ticks(50)
    shifted = run.now
    entries = [e for e in run.ticks(60, shift=0.5) if e.kind == "alarm"]
    assert [e.feature for e in entries] == ["x"]
    alarm = entries[0]
    assert alarm.ts <= shifted + 6 * TICK
    assert abs(alarm.began - shifted) <= 2 * TICK
    assert alarm.row == 100 * round((alarm.ts - START) / TICK)
    assert alarm.evidence >= alarm.threshold
    assert alarm.effect is not None
    assert 0.4 < alarm.effect < 1.2  # high: it was chosen for being large
    assert alarm.explanation.startswith("x: mean up by about ")
    assert "(budget 1 per 30d); most moved: values above " in alarm.explanation
    assert run.watch.state == "drifting"
    assert run.watch.status().drifting == ("x",)
    result = next(r for r in run.watch.results() if r.feature == "x")
    assert (result.verdict, result.began, result.explanation) == ("drifting", alarm.began, alarm.explanation)
    assert result.since_rows == pytest.approx(6_000, abs=300)
    assert result.effect == pytest.approx(0.52, abs=0.06)


@pytest.mark.parametrize(
    ("how", "feature", "words"),
    [
        ({"missing": 0.1}, "x", "missing 0 % -> "),
        ({"red": 0.5}, "colour", "'red' 19.9 % -> "),
        ({"scale": 2.0}, "x", "x: "),
    ],
)
def test_other_shifts_are_named(how: dict[str, float], feature: str, words: str) -> None:
    """Missing values, a class that grows, a spread: the alarm names the stream and what moved."""
    run = Runner(watch(), World(9))
    run.ticks(20)
    alarms = [e for e in run.ticks(40, **how) if e.kind == "alarm"]
    assert [e.feature for e in alarms] == [feature]
    assert words in alarms[0].explanation


def test_below_the_minimum_effect_only_a_notice() -> None:
    """A shift of .07 sd that stays 300,000 rows: a notice of severity info, the state stays stable, nothing to page."""
    run = Runner(watch(), World(10), rows=1000)
    entries = run.ticks(300, shift=0.07)
    assert kinds(entries) == []
    assert kinds(entries, "notice") == ["x"]
    assert {e.severity for e in entries} == {"info"}
    assert run.watch.state == "stable"
    assert run.watch.status().severity == "info"
    assert next(r for r in run.watch.results() if r.feature == "x").verdict == "changed"


def test_resolves_after_the_return_and_alarms_again_on_a_new_shift() -> None:
    """Back to the reference: resolved within 10,000 rows, stable again; a second shift is a new alarm."""
    run = Runner(watch(), World(11))
    run.ticks(30)
    run.ticks(50, shift=0.6)
    back = run.now
    entries = run.ticks(120)
    alarm = [e for e in entries if e.kind == "resolved" and e.level == "alarm"]
    assert [e.feature for e in alarm] == ["x"]
    assert alarm[0].ts <= back + 100 * TICK
    assert alarm[0].severity == "none"
    assert "x: back to the reference, " in alarm[0].explanation
    assert kinds(entries) == []
    assert run.watch.state == "stable"
    assert kinds(run.ticks(30, shift=0.6)) == ["x"]
    assert run.watch.alarms["warning"] + run.watch.alarms["critical"] == 2


def test_a_notice_does_not_resolve_before_its_alarm() -> None:
    """While the alarm of a stream is latched its notice stays, whatever the order of the rules."""
    run = Runner(watch(), World(12))
    run.ticks(20)
    run.ticks(50, shift=0.5)
    entries = [e for e in run.ticks(400) if e.kind == "resolved" and e.feature == "x"]
    assert [e.level for e in entries][:1] == ["alarm"]


def test_severity_rises_once_and_never_falls() -> None:
    """A shift of .3 sd warns; at 1.5 sd the alarm becomes critical and stays so when it shrinks again."""
    run = Runner(watch(replace(FAST, critical_effect=0.8)), World(13))
    run.ticks(20)
    first = [e for e in run.ticks(60, shift=0.3) if e.kind == "alarm"]
    assert [e.severity for e in first] == ["warning"]
    rises = [e for e in run.ticks(60, shift=1.5) if e.kind == "rise"]
    assert [(e.feature, e.severity) for e in rises] == [("x", "critical")]
    assert kinds(run.ticks(60, shift=0.3), "rise") == []
    assert run.watch.status().severity == "critical"
    assert run.watch.alarms == {"info": run.watch.alarms["info"], "warning": 1, "critical": 0}


def test_states_in_order() -> None:
    """Tables missing, then too few rows: not_enough_data, in words; then stable."""
    made = DriftWatch("m", reference(), FAST)
    run = Runner(made, World(14))
    run.ticks(3)
    assert (made.state, made.words) == ("not_enough_data", "not_enough_data; building tables")
    assert {r.reason for r in made.results()} == {"building tables"}
    give_tables(made)
    assert made.table_request() is None
    assert made.state == "stable"
    fresh = Runner(watch(), World(15))
    fresh.ticks(1)
    assert (fresh.watch.state, fresh.watch.words) == ("not_enough_data", "not_enough_data; 100 of 200 rows")
    fresh.ticks(1)
    assert fresh.watch.words == "stable"


def test_ticks_before_the_tables_are_kept() -> None:
    """A shift while tables are built alarms as soon as they are there, with the time of its own tick."""
    made = DriftWatch("m", reference(), FAST)
    run = Runner(made, World(16))
    run.ticks(30, shift=0.6)
    give_tables(made)
    alarms = [e for e in made.advance(run.now) if e.kind == "alarm"]
    assert [e.feature for e in alarms] == ["x"]
    assert alarms[0].ts < START + 10 * TICK


def test_foreign_tables_are_refused() -> None:
    """Tables nobody asked for, or of another reference, are an error of the caller."""
    made, other = watch(), DriftWatch("m", reference(2), FAST)
    with pytest.raises(ValueError, match="not requested"):
        made.set_tables(made.judge.tables if made.judge is not None else [])
    with pytest.raises(ValueError, match="not requested"):
        other.set_tables(made.judge.tables if made.judge is not None else [])


def test_streams_the_reference_lacks() -> None:
    """One notice, reason not_in_reference, not counted in F."""
    made = watch()
    before = made.threshold
    rows = World(17).rows(50)
    for _ in range(3):
        made.add(batch({**rows, "new": np.zeros(50)}, prediction=np.zeros(50)), START)
    assert [n for n in made.notices if "new" in n] == ["new is not in the reference: not tested (not_in_reference)"]
    assert [n for n in made.notices if "@prediction" in n] != []
    reasons = {r.feature: r.reason for r in made.results()}
    assert reasons["new"] == reasons["@prediction"] == "not_in_reference"
    assert made.threshold == before


def test_the_limit_of_features() -> None:
    """Features beyond `limits.features` are not tested, which is said."""
    made = DriftWatch("m", reference(), FAST, max_features=2)
    assert len(made.table_request().specs) == 2  # type: ignore[union-attr]
    assert any("limits.features is 2: 1 features are not tested" in n for n in made.notices)


def counted(made: DriftWatch, feature: str) -> np.ndarray:
    """All counts of a stream so far."""
    made.standing.counters()
    assert made.comparison is not None
    streams = made.comparison.streams
    return np.asarray(streams.part(made.comparison.counted, streams.index[feature]))


def test_repeats_of_an_id_within_a_tick_count_once() -> None:
    """The same id twice in a tick is one row; in the next tick it counts again; rows without an id always count."""
    made = watch()
    rows = {"x": np.zeros(4), "y": np.zeros(4), "colour": ["red"] * 4}
    made.add(batch(rows, ids=["a", "a", None, None]), START)
    made.add(batch(rows, ids=["a", "b", None, "b"]), START + 1)
    assert counted(made, "x").sum() == 3 + 2
    made.advance(START + 700)
    made.add(batch(rows, ids=["a", "b", "c", "d"]), START + 700)
    assert counted(made, "x").sum() == 5 + 4


def test_a_record_without_features_leaves_features_alone_and_one_that_lacks_one_counts_missing() -> None:
    """Missing is a bin of its own; a prediction without features says nothing of features."""
    made = watch()
    made.add(batch({}, rows=30, prediction=np.zeros(30)), START)
    assert counted(made, "x").sum() == 0
    made.add(batch({"x": np.array([0.0, np.nan])}), START)
    assert counted(made, "x")[-3] == 1
    assert counted(made, "y").tolist()[-3:] == [2, 0, 0]
    assert counted(made, "colour")[-1] == 2


def test_captured_rows_in_other_words_say_nothing_of_the_streams() -> None:
    """Before an SDK's first row its traffic may be seen with names of its own: nothing is missing in it then."""
    made = watch()
    made.add(batch({"input_0": np.zeros(5), "input_1": np.zeros(5)}, source="capture"), START)
    assert [counted(made, name).sum() for name in ("x", "y", "colour")] == [0, 0, 0]
    made.add(batch({"x": np.zeros(2)}, source="capture"), START)
    assert [counted(made, name).sum() for name in ("x", "y", "colour")] == [2, 2, 2]
    made.add(batch({"input_0": np.zeros(5)}), START)  # the SDK speaks for the model: its renamed column is a finding
    assert counted(made, "x").sum() == 7


def test_late_and_early_clocks() -> None:
    """A clock that steps back adds to the open tick; nothing is lost and nothing closes twice."""
    made = watch()
    rows = World(18).rows(50)
    made.add(batch(rows), START + 100)
    made.add(batch(rows), START + 50)
    assert made.advance(START) == []
    assert made.clock.ticks == 0
    made.advance(START + 110)
    assert made.clock.ticks == 1
    assert made.clock.rows == 100


def replayed(seed: int, size: int) -> tuple[DriftWatch, list[Entry]]:
    """The same 8,000 rows with times through `run`, in batches of ``size``; a shift in the middle."""
    world = World(seed)
    parts = [world.rows(4000), world.rows(4000, shift=0.7)]
    x, y = (np.concatenate([p[k] for p in parts]) for k in ("x", "y"))
    colour = parts[0]["colour"] + parts[1]["colour"]
    times = START + np.arange(8000) / 7.0
    made, splitter, entries = watch(), TickSplitter(TickRule(TICK)), []
    for a in range(0, 8000, size):
        part = slice(a, a + size)
        one = batch({"x": x[part], "y": y[part], "colour": colour[part]})
        entries += made.run(one, splitter.split(times[part]), times[part])
    return made, entries + made.finish(float(times[-1]))


def test_replay_is_the_same_for_any_batch_size_and_as_live() -> None:
    """`run` in batches of 37 or 5,000 rows and `add` row by row give the same entries."""
    _, small = replayed(19, 37)
    made, large = replayed(19, 5000)
    assert small == large
    assert kinds(large) == ["x"]
    world = World(19)
    parts = [world.rows(4000), world.rows(4000, shift=0.7)]
    live, entries = watch(), []
    for p, rows in enumerate(parts):
        for a in range(0, 4000, 10):
            part = slice(a, a + 10)
            now = START + (4000 * p + a) / 7.0
            live.add(batch({k: v[part] for k, v in rows.items()}), now)
            entries += live.advance(now)
    assert kinds(entries) == ["x"]
    assert abs(entries[-1].ts - large[-1].ts) <= TICK
    assert live.clock.rows == made.clock.rows == 8000


def many(n: int, rng: np.random.Generator, shift: float) -> dict[str, np.ndarray]:
    return {f"f{i}": rng.normal(shift, 1.0, n) for i in range(20)}


def test_many_small_shifts_are_the_models() -> None:
    """Twenty streams that all move a little: `@model` crosses its line, names five, has no effect, and resolves."""
    rng, builder = np.random.default_rng(61), ReferenceBuilder()
    builder.add(batch(many(10_000, rng, 0.0)))
    made = watch(FAST, builder.reference(created=START, independent=True))
    entries, now = [], START
    for tick in range(800):
        made.add(batch(many(100, rng, 0.17 if 20 <= tick < 200 else 0.0)), now)
        now += TICK
        entries += made.advance(now)
    own = [e for e in entries if e.feature == "@model" and e.kind in ("notice", "alarm")]
    assert own
    assert all(e.effect is None and e.evidence >= e.threshold for e in own)
    assert own[0].threshold == pytest.approx(made.threshold - np.log(20))
    assert own[0].explanation.startswith("@model: several streams changed, none of them over its own line: f")
    assert own[0].explanation.split(", began")[0].count(", f") == 4
    ended = [e for e in entries if e.feature == "@model" and e.kind == "resolved"]
    assert len(ended) == len(own)
    assert made.state == "stable"
    model = next(r for r in made.results() if r.feature == "@model")
    assert (model.verdict, model.effect) == ("stable", None)


def test_a_log_without_times() -> None:
    """Ticks of a fixed number of rows: the text counts rows and invents no time."""
    world, made, splitter, entries = World(63), watch(), RowSplitter(100), []
    for part in range(40):
        rows = world.rows(250, shift=0.6 if part >= 20 else 0.0)
        entries += made.run(batch(rows), splitter.split(250))
    alarm = next(e for e in entries if e.kind == "alarm")
    assert ", began " in alarm.explanation
    assert " rows ago, evidence " in alarm.explanation
    assert "1970" not in alarm.explanation
    assert 5000 < alarm.row <= 5600
    assert alarm.row % 100 == 0
    assert made.clock.ticks == 100


def test_false_alarms_stay_within_a_tight_budget() -> None:
    """One alarm per 100 ticks allowed: in 1,500 ticks of stable data at most the 99 % Poisson limit of 15."""
    run = Runner(watch(replace(FAST, false_alarms=budget("1 per 1000s"))), World(64))
    crossings = [e for e in run.ticks(1500) if e.kind in ("alarm", "notice")]
    assert len(crossings) <= 25
    assert kinds(crossings) == []


def test_the_score_is_mentioned() -> None:
    """Beside a drifting feature the text says whether `@score` moved too."""
    rng, builder = np.random.default_rng(62), ReferenceBuilder()

    def rows(n: int, shift: float, sure: float) -> ObservationBatch:
        p = rng.beta(sure, 2.0, n)
        return batch({"x": rng.normal(shift, 1, n)}, probabilities=np.stack([p, 1 - p], 1).ravel(), n_classes=2)

    builder.add(rows(5000, 0.0, 5.0))
    for sure, words in ((5.0, "; @score has not moved"), (1.0, "; @score moved too")):
        made, entries = watch(FAST, builder.reference(created=START, independent=True)), []
        for tick in range(60):
            shift = 0.35 if tick >= 20 else 0.0
            made.add(rows(100, shift, sure if tick >= 20 else 5.0), START + TICK * tick)
            entries += made.advance(START + TICK * (tick + 1))
        text = next(e.explanation for e in entries if e.kind == "alarm" and e.feature == "x")
        assert text.endswith(words)


def test_replay_counts_a_repeated_id_once_a_tick_wherever_batches_end() -> None:
    """A tick that goes on in the next batch remembers its ids, also when an earlier tick closed in the first batch."""
    rows, ids = World(71).rows(300), [f"r{i % 70}" for i in range(300)]
    seen = []
    for size in (300, 250):
        made, splitter = watch(), RowSplitter(100)
        for at in range(0, 300, size):
            part = {name: column[at : at + size] for name, column in rows.items()}
            some = batch(part, ids=ids[at : at + size])
            made.run(some, splitter.split(some.rows))
        assert made.comparison is not None
        seen.append(made.comparison.counted.tolist())
    assert seen[0] == seen[1]


def test_a_tick_of_rows_without_ids_forgets_the_ids_before_it() -> None:
    """Ids are remembered for one tick, even where the batch that closes it names none."""
    made, splitter, world = watch(), RowSplitter(100), World(72)
    for rows, ids in ((50, [f"r{i}" for i in range(50)]), (70, None), (50, [f"r{i}" for i in range(50)])):
        made.run(batch(world.rows(rows), ids=ids), splitter.split(rows))
    assert made.comparison is not None
    assert made.comparison.streams.part(made.comparison.counted, 0).sum() == 170


def test_the_end_of_the_models_alarm_restarts_all_evidence() -> None:
    """What the streams that were not named had gathered must not raise `@model` again in the same tick."""
    rng, builder = np.random.default_rng(61), ReferenceBuilder()
    builder.add(batch(many(10_000, rng, 0.0)))
    made = watch(FAST, builder.reference(created=START, independent=True))
    now, ended = START, 0
    for tick in range(400):
        made.add(batch(many(100, rng, 0.17 if 20 <= tick < 120 else 0.0)), now)
        now += TICK
        entries = made.advance(now)
        assert made.judge is not None
        if any(e.feature == "@model" and e.kind == "resolved" for e in entries):
            ended += 1
            latched = {f for f, _ in made.judge.latches}
            free = [f for f in range(20) if f not in latched]
            assert free
            assert np.isneginf(made.judge.scores[:, free]).all()
    assert ended


def test_a_risen_alarm_no_longer_says_why_it_was_info() -> None:
    """Once dependence is known the severity is warning or more, and the text gives no reason for info."""
    builder = ReferenceBuilder()
    builder.add(World(3).batch(5000))
    made = DriftWatch("m", builder.reference(created=START), replace(FAST, dependence="auto"))
    give_tables(made)
    run = Runner(made, World(73))
    alarm = next(e for e in run.ticks(60, shift=1.0) if e.kind == "alarm")
    assert alarm.severity == "info"
    assert "; severity info: dependence" in alarm.explanation
    assert made.standing.measured is not None
    ticks, measured = made.standing.measured.dump()
    made.standing.measured.load(dict.fromkeys(ticks, TICKS), measured)
    asked = made.phi_request()
    assert asked is not None
    made.set_phi(dict.fromkeys(asked.names, 1.0))
    rise = next(e for e in run.ticks(3, shift=1.0) if e.kind == "rise")
    assert rise.severity == "critical"
    shown = next(r for r in made.results() if r.feature == "x").explanation
    for text in (rise.explanation, shown):
        assert text.startswith("x: mean up")
        assert "info" not in text
