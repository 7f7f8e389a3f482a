"""What the engine keeps to, whatever the streams: grouping, merging, empty ticks, saturation, checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.since import Since
from pilotfish_agent.drift.tables import TableSpec, build
from tests.drift_math import golden
from tests.drift_math.golden import close

SEEDS = st.integers(0, 2**32 - 1)
SHIFTS = st.sampled_from((0.0, 0.05, 0.5))
NEAR = 1e-10


@settings(max_examples=25, deadline=None)
@given(SEEDS, SHIFTS)
def test_streams_together_equal_streams_alone(seed: int, shift: float) -> None:
    """Streams of different kind, bins, alternatives and phi do not touch each other."""
    tables = golden.assorted()
    together, alone = Engine(tables, np.float64), [Engine([table], np.float64) for table in tables]
    for tick in golden.draw(tables, seed, 12, shift):
        both = together.step(tick)
        assert close(both, np.concatenate([one.step([c]) for one, c in zip(alone, tick, strict=True)], 1), NEAR)
        for f, one in enumerate(alone):
            assert close(together.since(f), one.since(0), 0)
            assert together.dump(f)["since_tick"][0] == one.dump(0)["since_tick"][0]
            for level in (0, 1):
                assert together.began(f, level) == one.began(0, level)
                assert together.best(f, level) == one.best(0, level)


@settings(max_examples=25, deadline=None)
@given(SEEDS, SHIFTS, st.sampled_from((1, 100)))
def test_half_the_bytes_give_the_same_evidence(seed: int, shift: float, size: int) -> None:
    """float32, which runs live, is within 1e-4 of float64 until it saturates, and nearly so in large ticks."""
    tables = golden.assorted()
    live, exact = Engine(tables), Engine(tables, np.float64)
    saturated = np.zeros((2, len(tables)), np.bool_)
    for tick in golden.draw(tables, seed, 30, shift):
        found, wanted = live.step([c * size for c in tick]), exact.step([c * size for c in tick])
        saturated |= wanted > 60
        kept = ~saturated & (wanted > 0)
        assert close(found[kept], wanted[kept], 1e-4 * size**0.5)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(2, 4))
def test_counts_add(seed: int, senders: int) -> None:
    """Counts of several senders, added, are the counts of one."""
    tables = golden.assorted()
    whole, parts = Engine(tables), Engine(tables)
    rng = np.random.default_rng(seed)
    for tick in golden.draw(tables, seed, 6):
        split = [rng.multinomial(c, np.full(senders, 1 / senders)) for c in tick]
        assert all((s.sum(1) == c).all() for s, c in zip(split, tick, strict=True))
        merged = [sum(s[:, i] for i in range(senders)) for s in split]
        assert close(parts.step([np.asarray(m) for m in merged]), whole.step(tick), 0)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 5))
def test_empty_ticks_change_nothing(seed: int, empty: int) -> None:
    """A tick without rows leaves evidence and since-counts as they are."""
    tables = golden.assorted()
    engine, other = Engine(tables), Engine(tables)
    nothing = [np.zeros(len(t.pi)) for t in tables]
    scores = None
    for tick in golden.draw(tables, seed, 6, 0.05):
        scores = engine.step(tick)
        assert close(other.step(tick), scores, 0)
        for _ in range(empty):
            assert close(other.step(nothing), scores, 1e-12)
    for f in range(len(tables)):
        assert close(engine.since(f), other.since(f), 0)
        assert engine.best(f, 1) == other.best(f, 1)


def test_evidence_saturates_quietly() -> None:
    """Years of a huge shift, then back: finite scores, no warning, and the beginning is still known."""
    tables = golden.assorted()
    engine = Engine(tables)
    shifted = golden.draw(tables, 1, 40, 5.0)
    for tick in shifted * 3:
        scores = engine.step([c * 1000 for c in tick])
    assert np.isfinite(scores).all()
    assert scores.max() < 70
    assert engine.began(0, 1) <= 3
    for tick in golden.draw(tables, 2, 5):
        assert np.isfinite(engine.step(tick)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_winner_of_a_sudden_change_is_known(dtype: type[np.float32 | np.float64]) -> None:
    """One tick takes many alternatives to the limit: the one that says it best is named, and so it stays."""
    table = golden.numeric()
    tilted = table.pi * np.exp(1.6 * table.scores[0])
    tick = [np.round(2_000 * tilted / tilted.sum())]
    engine = Engine([table], dtype)
    engine.step([np.round(100 * table.pi)])
    for _ in range(3):
        engine.step(tick)
        assert (engine.best(0, 0), engine.best(0, 1)) == ("loc+1.6", "loc+1.6")
        assert engine.began(0, 1) == 1
    later = Engine([table], dtype)
    later.take(engine.tick, {0: engine.dump(0)})
    assert later.best(0, 1) == "loc+1.6"


def test_changes_of_long_ago_are_dated() -> None:
    """Sixteen bits hold the ticks of days; what began before them is at least that old."""
    since = Since(np.full((2, 1), 1.0, np.float32), 1, 1e30)
    live, now = np.array([[1.0], [0.0]], np.float32), np.ones((2, 1), np.float32)
    grows = np.full((2, 1), 1.5, np.float32)
    for tick in (3, 70_000, 70_001):
        since.step(now, grows / 2 if tick == 3 else grows, live, tick)
    assert since.began(0, 0) == 70_000
    later = Since(np.full((2, 1), 1.0, np.float32), 1, 1e30)
    later.reset(slice(None), 70_002)
    for f in (0, 1):
        later.load(f, np.array([0]), since.dump(f, np.array([0]), 1))
    for tick, wanted in ((70_002, 70_000), (130_000, 97_232), (200_000, 167_232)):
        for one in (since, later):
            one.step(now, grows, live, tick)
            one.reset(1, tick)
            assert one.began(0, 0) == wanted
            assert one.began(1, 0) == tick


@settings(max_examples=15, deadline=None)
@given(SEEDS, SHIFTS, st.integers(0, 10))
def test_restored_runs_on(seed: int, shift: float, stop: int) -> None:
    """A second engine that starts from the state of the first gives the same scores ever after."""
    tables = golden.assorted()
    ticks = golden.draw(tables, seed, 12, shift)
    engine, later = Engine(tables), Engine(tables)
    for tick in ticks[:stop]:
        engine.step(tick)
    later.take(engine.tick, {f: engine.dump(f) for f in range(len(tables))})
    for tick in ticks[stop:]:
        assert close(later.step(tick), engine.step(tick), 0)
    for f in range(len(tables)):
        assert later.began(f, 0) == engine.began(f, 0)
        assert later.dump(f)["since_tick"][0] == engine.dump(f)["since_tick"][0]
        assert close(later.since(f), engine.since(f), 0)


@settings(max_examples=15, deadline=None)
@given(SEEDS, SHIFTS)
def test_a_stream_goes_on_beside_others(seed: int, shift: float) -> None:
    """The state of a stream does not depend on what stands beside it; streams without one start anew."""
    tables = golden.assorted()
    ticks = golden.draw(tables, seed, 8, shift)
    engine = Engine(tables, np.float64)
    for tick in ticks[:5]:
        engine.step(tick)
    kept = (4, 2, 0)
    later, fresh = Engine([tables[f] for f in (*kept, 1)], np.float64), Engine([tables[1]], np.float64)
    later.take(engine.tick, {i: engine.dump(f) for i, f in enumerate(kept)})
    for tick in ticks[5:]:
        found, wanted = later.step([tick[f] for f in (*kept, 1)]), engine.step(tick)
        assert close(found[:, :3], wanted[:, kept], NEAR)
        assert close(found[:, 3], fresh.step([tick[1]])[:, 0], NEAR)
    for i, f in enumerate(kept):
        assert later.best(i, 0) == engine.best(f, 0)
        assert later.began(i, 1) == engine.began(f, 1)


def test_a_state_is_a_copy() -> None:
    """What a checkpoint holds does not move on with the engine."""
    tables = golden.assorted()
    engine = Engine(tables)
    first, *rest = golden.draw(tables, 3, 5)
    engine.step(first)
    for f in range(len(tables)):
        state = engine.dump(f)
        before = {name: np.array(value) for name, value in state.items()}
        for tick in rest:
            engine.step(tick)
        assert all((state[name] == before[name]).all() for name in before)


@pytest.mark.parametrize("wrong", [{}, {"evidence": np.zeros(3)}])
def test_a_foreign_state_is_refused(wrong: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]) -> None:
    """A state of another stream raises."""
    engine = Engine([golden.numeric()])
    engine.step([golden.ticks()[0]])
    other = Engine([golden.categorical()]).dump(0) if not wrong else engine.dump(0) | wrong
    with pytest.raises(ValueError, match="another stream"):
        Engine([golden.numeric()]).take(1, {0: other})


def test_special_bins_must_be_last() -> None:
    """Groups of bins are runs; tables of another layout are refused."""
    spec = TableSpec("x", "numeric", np.array([12.0, 300, 400, 500]), (0,))
    with pytest.raises(ValueError, match="must be the last"):
        Engine(build([spec], golden.BUDGET))


def test_counts_as_one_vector() -> None:
    """A list of streams and one vector of all bins are the same tick."""
    tables = golden.assorted()
    engine, other = Engine(tables), Engine(tables)
    for tick in golden.draw(tables, 11, 5, 0.05):
        assert close(engine.step(tick), other.step(np.concatenate(tick)), 0)
    with pytest.raises(ValueError, match="broadcast"):
        engine.step(np.zeros(3))


def test_reset_of_one_stream_leaves_the_others() -> None:
    """Evidence of one stream starts anew."""
    tables = golden.assorted()
    engine, other, fresh = (Engine(some, np.float64) for some in (tables, tables, [tables[2]]))
    ticks = golden.draw(tables, 4, 8, 0.05)
    for tick in ticks[:5]:
        engine.step(tick)
        other.step(tick)
    engine.reset(2)
    for tick in ticks[5:]:
        found, kept = engine.step(tick), other.step(tick)
        assert close(found[:, 2], fresh.step([tick[2]])[:, 0], NEAR)
        assert close(np.delete(found, 2, 1), np.delete(kept, 2, 1), 0)
    engine.reset()
    alike = Engine(tables, np.float64)
    assert close(engine.step(ticks[0]), alike.step(ticks[0]), 0)


def test_a_shift_is_found_and_dated() -> None:
    """Ten shifted ticks after twenty clean ones: evidence over the line, begun at the shift, counts since then."""
    table = golden.numeric()
    rng = np.random.default_rng(5)
    tilted = table.pi * np.exp(0.8 * table.scores[0])
    engine = Engine([table])
    for t in range(30):
        counts = rng.multinomial(100, table.pi if t < 20 else tilted / tilted.sum())
        scores = engine.step([counts])
    assert (scores[:, 0] > table.log_threshold).all()
    assert abs(engine.began(0, 1) - 20) <= 1
    assert abs(engine.dump(0)["since_tick"][0] - 20) <= 1
    assert engine.best(0, 1).startswith(("loc+", "locscale+"))
    assert engine.since(0).sum() == pytest.approx(1000, abs=101)


def test_clean_rows_stay_under_the_line() -> None:
    """A thousand clean ticks at a budget of one alarm in 43,200 ticks over 100 streams."""
    table = golden.numeric()
    rng = np.random.default_rng(6)
    engine = Engine([table])
    highest = max(engine.step([rng.multinomial(100, table.pi)])[0, 0] for _ in range(1000))
    assert highest < table.log_threshold
