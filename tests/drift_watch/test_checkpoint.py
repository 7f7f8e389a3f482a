"""A checkpoint continues where the last closed tick ended, and what does not fit is refused as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_core.config import budget
from tests.drift_watch.world import FAST, Runner, World, give_tables, reference, watch


def near(a: float | None, b: float | None) -> None:
    assert (a is None) == (b is None)
    assert (a or 0.0) == pytest.approx(b or 0.0, rel=1e-3, abs=1e-4)


def alike(a: list[Entry], b: list[Entry]) -> None:
    """The same transitions; rows are counted from the start of a run, float32 rounds the evidence."""
    assert [(e.kind, e.level, e.feature, e.ts, e.severity) for e in a] == [
        (e.kind, e.level, e.feature, e.ts, e.severity) for e in b
    ]
    for one, other in zip(a, b, strict=True):
        assert one.evidence == pytest.approx(other.evidence, rel=1e-4)
        assert one.began == other.began
        near(one.effect, other.effect)


@pytest.mark.parametrize("when", [10, 33, 60, 100, 130])
def test_restored_equals_run_on(when: int) -> None:
    """Cut at any time, before, at, during and after a drift, the restored watch sees what the other sees."""

    def feed(run: Runner, start: int, stop: int) -> None:
        for tick in range(start, stop):
            run.ticks(1, shift=0.6 if 30 <= tick < 70 else 0.0)

    whole = Runner(watch(), World(51))
    feed(whole, 0, when)
    content = whole.watch.checkpoint()
    seen = len(whole.entries)
    next_run = DriftWatch("m", reference(), FAST)
    assert next_run.restore(content)
    give_tables(next_run)
    cut = Runner(next_run, World(0))
    cut.now = whole.now
    state = whole.world.rng.bit_generator.state
    feed(whole, when, 200)
    cut.world.rng.bit_generator.state = state
    feed(cut, when, 200)
    alike(cut.entries, whole.entries[seen:])
    assert cut.watch.state == whole.watch.state
    for one, other in zip(cut.watch.results(), whole.watch.results(), strict=True):
        assert one.verdict == other.verdict
        assert one.evidence == pytest.approx(other.evidence, rel=1e-4, abs=1e-4)
        near(one.effect, other.effect)
        assert (one.began, one.since_rows) == (other.began, other.since_rows)


def test_counters_start_at_zero() -> None:
    """Prometheus counters are not restored: a reset is honest, an older value is not."""
    run = Runner(watch(), World(52))
    run.ticks(40, shift=0.8)
    made = DriftWatch("m", reference(), FAST)
    assert made.restore(run.watch.checkpoint())
    give_tables(made)
    assert made.state == "drifting"
    assert made.alarms == {"info": 0, "warning": 0, "critical": 0}
    assert made.clock.rows == 0


def test_size() -> None:
    """At most 2.5 KB a numeric stream of 36 bins."""
    run = Runner(watch(), World(53))
    run.ticks(300)
    assert len(run.watch.checkpoint()) < 3 * 2500 + 3000  # and the newest 512 tick times


def checkpoint() -> bytes:
    run = Runner(watch(), World(54))
    run.ticks(20, shift=0.8)
    return run.watch.checkpoint()


CONTENT = checkpoint()


def test_what_differs_is_refused() -> None:
    """Another reference, budget, tick, number of streams, minimum effect, dependence, model or kind of reference."""
    others = {
        "reference": DriftWatch("m", reference(2), FAST),
        "budget": DriftWatch("m", reference(), replace(FAST, false_alarms=budget("2 per 30d"))),
        "tick": DriftWatch("m", reference(), replace(FAST, tick=2.0)),
        "replicas": DriftWatch("m", reference(), replace(FAST, replicas=2)),
        "F": DriftWatch("m", reference(), FAST, max_features=2),
        "min_effect": DriftWatch("m", reference(), replace(FAST, min_effect=0.2)),
        "dependence": DriftWatch("m", reference(), replace(FAST, dependence=2.0)),
        "model": DriftWatch("other", reference(), FAST),
        "learning": DriftWatch("m", None, FAST),
    }
    assert [name for name, made in others.items() if made.restore(CONTENT)] == []
    assert all(made.state in ("not_enough_data", "learning") for made in others.values())
    late = DriftWatch("m", reference(), FAST)
    late.add(World(1).batch(10), 0.0)
    assert not late.restore(CONTENT)
    assert not watch().restore(CONTENT)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_damage_is_refused(place: int, change: int) -> None:
    """Truncated anywhere, or one byte changed."""
    made = DriftWatch("m", reference(), FAST)
    damaged = bytearray(CONTENT)
    damaged[place] ^= change
    assert not made.restore(bytes(damaged))
    assert not made.restore(CONTENT[:place])


def test_learning_goes_on_after_a_restart() -> None:
    """The provisional reference is in the checkpoint; the next rebuild waits until more rows than it holds came."""
    run = Runner(DriftWatch("m", None, FAST), World(55))
    for _ in range(21):
        run.ticks(1)
        if run.watch.table_request() is not None:
            give_tables(run.watch)
    made = DriftWatch("m", None, FAST)
    assert made.restore(run.watch.checkpoint())
    assert made.status().reference_id == run.watch.status().reference_id
    assert made.status().reference_rows == 2000
    give_tables(made)
    assert made.state == "provisional"
    assert made.words.startswith("provisional: 2,100 of 5,000 rows")
    again = Runner(made, run.world)
    again.now = run.now
    again.ticks(49)
    assert made.table_request() is None
    again.ticks(1)
    assert made.table_request() is not None


def test_nothing_to_save() -> None:
    """Before there is evidence a checkpoint is empty, and not taken up."""
    made = DriftWatch("m", reference(), FAST)
    assert not DriftWatch("m", reference(), FAST).restore(made.checkpoint())


def test_evidence_survives_an_end_while_tables_are_built() -> None:
    """A second restart before the tables are there finds the checkpoint of the first one, latch and all."""
    run = Runner(watch(), World(56))
    alarms = [e for e in run.ticks(20, shift=1.0) if e.kind == "alarm"]
    assert [e.feature for e in alarms] == ["x"]
    second = DriftWatch("m", reference(), FAST)
    assert second.restore(run.watch.checkpoint())
    third = DriftWatch("m", reference(), FAST)
    assert third.restore(second.checkpoint())
    give_tables(third)
    assert third.state == "drifting"
    assert "alarm" not in [e.kind for e in Runner(third, run.world).ticks(2, shift=1.0)]


def test_a_learnt_reference_survives_an_end_while_the_next_one_is_built() -> None:
    """Tables of a rebuild are under way: the reference in force is saved with its evidence."""
    run = Runner(DriftWatch("m", None, FAST), World(57))
    run.ticks(5)
    give_tables(run.watch)
    run.ticks(5)
    assert run.watch.standing.building
    made = DriftWatch("m", None, FAST)
    assert made.restore(run.watch.checkpoint())
    assert made.status().reference_rows == 500
