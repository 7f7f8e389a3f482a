"""The resolving rule and the dependence measure beyond their golden vectors."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.drift.dependence import BLOCKS, LEAST, Phi, Sums
from pilotfish_agent.drift.resolve import Resolve
from tests.drift_math import golden

LEVELS = ("red", "green", "blue")
COUNTS = np.array([500, 300, 150, 50, 0])


def fed(phi: Phi, repeats: int, ticks: int = 400, seed: int = 3) -> Phi:
    """Ticks of 100 rows, each drawn row ``repeats`` times."""
    rng = np.random.default_rng(seed)
    for _ in range(ticks):
        phi.add(repeats * rng.multinomial(100 // repeats, COUNTS / COUNTS.sum()))
    return phi


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.sampled_from((0, 1)))
def test_a_restored_rule_runs_on(seed: int, stop: int, level: int) -> None:
    """The state of a rule is all that it knows of the past."""
    table, rng = golden.numeric(), np.random.default_rng(seed)
    ticks = rng.multinomial(200, table.pi, size=25).astype(np.float64)
    rule, later = Resolve(table, 500, level), Resolve(table, 500, level)
    for tick in ticks[:stop]:
        rule.add(tick)
    later.restore(rule.state())
    assert [later.add(t) for t in ticks[stop:]] == [rule.add(t) for t in ticks[stop:]]
    assert golden.close(later.effects, rule.effects, 0)


def test_a_rule_refuses_the_counts_of_another_stream() -> None:
    """Other bins, another stream."""
    with pytest.raises(ValueError, match="5"):
        Resolve(golden.numeric(), 500, 1).restore(Resolve(golden.categorical(), 500, 1).state())


@pytest.mark.parametrize("level", [0, 1])
def test_no_rows_resolve_nothing(level: int) -> None:
    """Silence is no proof that the stream is back."""
    table = golden.numeric()
    rule = Resolve(table, 500, level)
    assert not any(rule.add(np.zeros(len(table.pi))) for _ in range(100))


def test_a_shift_that_stays_never_resolves_and_a_return_does() -> None:
    """Half a standard deviation for 200 ticks, then the reference again."""
    table, rng = golden.numeric(), np.random.default_rng(4)
    tilted = table.pi * np.exp(0.5 * table.scores[0])
    rules = [Resolve(table, 500, level) for level in (0, 1)]
    for tick in rng.multinomial(100, tilted / tilted.sum(), size=200).astype(np.float64):
        assert not any(rule.add(tick) for rule in rules)
    back = [[rule.add(tick) for rule in rules] for tick in rng.multinomial(100, table.counts / 1212, size=300) * 1.0]
    assert np.array(back).any(axis=0).all()


def test_phi_of_levels() -> None:
    """1 for independent rows, about the number of repeats otherwise, never below, a power of 1.25."""
    single = fed(Phi("colour", COUNTS, numeric=False, levels=LEVELS), 1).value()
    fivefold = fed(Phi("colour", COUNTS, numeric=False, levels=LEVELS), 5).value()
    assert single == 1.0
    assert 4 < fivefold < 12
    assert np.log(fivefold) / np.log(1.25) == pytest.approx(round(np.log(fivefold) / np.log(1.25)))


def test_the_contrasts_of_levels_are_of_their_names() -> None:
    """The most frequent level, and +-1 by the lowest bit of SHA-256(stream, NUL, level), centred."""
    phi = Phi("colour", COUNTS, numeric=False, levels=LEVELS)
    words = [*LEVELS, "other", "missing"]
    bits = [hashlib.sha256(f"colour\0{word}".encode()).digest()[-1] & 1 for word in words]
    wanted = np.array([[1.0, 0, 0, 0, 0], [1.0 if bit else -1.0 for bit in bits]])
    shifted = phi._directions - phi._directions[:, -1:]
    assert golden.close(shifted, wanted - wanted[:, -1:], 1e-12)


def test_too_few_differences_say_nothing() -> None:
    """Below 24 differences even wild ones leave phi at 1."""
    wild = np.full((len(BLOCKS), 2), 1e6)
    assert Sums(wild, np.full(len(BLOCKS), LEAST - 1)).value() == 1.0
    assert Sums(wild, np.full(len(BLOCKS), LEAST)).value() > 1e4


def test_empty_ticks_are_ticks_without_a_mean() -> None:
    """A block without rows compares with nothing, and warns of nothing."""
    phi = Phi("colour", COUNTS, numeric=False, levels=LEVELS)
    for _ in range(130):
        phi.add(np.zeros(5))
    assert phi.sums.differences.sum() == 0
    assert fed(phi, 1).value() == 1.0


def test_a_measurement_goes_on_where_it_stopped() -> None:
    """In the middle of blocks, by the name of the stream, before and after the tables are there."""
    whole, stopped = (Phi("colour", COUNTS, numeric=False, levels=LEVELS) for _ in range(2))
    fed(whole, 2, ticks=100, seed=5)
    fed(stopped, 2, ticks=100, seed=5)
    later = Phi("colour", COUNTS, numeric=False, levels=LEVELS)
    later.load(stopped.dump())
    assert fed(later, 2, seed=6).value() == fed(whole, 2, seed=6).value()
    assert (later.sums.squares == whole.sums.squares).all()
    with pytest.raises(ValueError, match="expected"):
        later.load(stopped.dump()[:3])
