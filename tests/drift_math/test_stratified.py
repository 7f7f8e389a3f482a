"""Streams that have a table of their own in each stratum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.tables import StreamTables, TableSpec, build
from tests.drift_math import golden
from tests.drift_math.golden import close

DAY = np.array([[400.0, 300, 200, 50, 50, 0, 0], [100.0, 200, 300, 250, 150, 0, 0]])


def strata() -> tuple[StreamTables, ...]:
    """Four hours, of which two are alike."""
    day, night = build([TableSpec("c", "categorical", counts) for counts in DAY], golden.BUDGET)
    return (day, night, night, day)


def other() -> tuple[StreamTables, ...]:
    """A numeric stream that cannot be ranked, by day and by night."""
    counts, special = golden.reference()
    few = counts.copy()
    few[: len(counts) // 2] = np.round(few[: len(counts) // 2] * 0.5)
    first, second = build([TableSpec("x", "numeric", c, special) for c in (counts, few)], golden.BUDGET)
    assert first.names == second.names
    return (first, second, second, first)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_evidence_is_one_over_all_strata(seed: int) -> None:
    """Each tick gains what the table of its stratum gives, whatever streams stand beside."""
    rng, plain = np.random.default_rng(seed), golden.numeric()
    both = (strata(), other())
    engine = Engine([both[0], plain, both[1]], np.float64)
    alone = Engine([plain], np.float64)
    logs = [np.full((2, len(own[0].log_ratios)), -np.inf) for own in both]
    for _ in range(10):
        s = int(rng.integers(4))
        ticks = [rng.multinomial(int(rng.integers(100)), own[s].pi) for own in both]
        beside = rng.multinomial(50, plain.pi)
        found = engine.step([ticks[0], beside, ticks[1]], s)
        assert close(found[:, 1], alone.step([beside])[:, 0], 1e-10)
        for f, own, tick, held in zip((0, 2), both, ticks, logs, strict=True):
            table, first = own[s], own[0]
            if tick.sum():
                held[:] = np.logaddexp(held, 0) + table.log_ratios @ tick - tick.sum() * table.penalties
            weights = first.log_weights[: len(first.log_ratios)]
            wanted = np.logaddexp.reduce(held + weights - np.logaddexp.reduce(weights), axis=1)
            assert close(found[:, f], wanted, 1e-10)


def test_a_daily_pattern_is_no_evidence_and_a_shift_in_one_stratum_is() -> None:
    """Without strata the pattern itself alarms."""
    rng, own = np.random.default_rng(3), strata()
    pooled = build([TableSpec("c", "categorical", DAY.sum(0))], golden.BUDGET)
    engine, careless = Engine([own]), Engine(pooled)
    line = own[0].log_threshold
    worst = [-np.inf, -np.inf]
    for tick in range(400):
        s = tick // 10 % 4
        counts = [rng.multinomial(50, DAY[int(s in (1, 2))] / 1000)]
        worst = [max(w, e[0, 0]) for w, e in zip(worst, (engine.step(counts, s), careless.step(counts)), strict=True)]
    assert worst[0] < line < worst[1]
    for _ in range(8):
        scores = engine.step([rng.multinomial(50, DAY[0] / 1000)], 1)
    assert (scores[:, 0] > line).all()
    assert engine.best(0, 1).startswith("cat")


def test_what_is_counted_since_then_is_without_the_season() -> None:
    """Since-counts take levelled counts where they are given."""
    engine, plain = Engine([strata(), golden.numeric()]), golden.numeric()
    shifted = np.array([0.0, 0, 0, 50, 0, 0, 0])
    for _ in range(5):
        engine.step([shifted, np.round(100 * plain.pi)], 0, [shifted - 2, np.round(100 * plain.pi)])
    assert close(engine.since(0), 5 * (shifted - 2))


def test_a_stratified_state_goes_on() -> None:
    """One stream's state, out of one engine into another."""
    rng, own = np.random.default_rng(3), strata()
    engine, later = Engine([own]), Engine([golden.numeric(), own])
    for s in (0, 1, 2):
        engine.step([rng.multinomial(50, own[0].pi)], s)
    later.take(engine.tick, {1: engine.dump(0)})
    tick = rng.multinomial(50, own[0].pi)
    assert close(later.step([golden.ticks()[0], tick], 3)[:, 1], engine.step([tick], 3)[:, 0], 1e-6)
    with pytest.raises(ValueError, match="another stream"):
        later.take(engine.tick, {0: engine.dump(0)})
