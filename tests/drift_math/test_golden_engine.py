"""Golden vectors of what runs tick by tick: evidence, what happened since, the resolving rule."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.judge import log_sum
from pilotfish_agent.drift.resolve import Resolve
from tests.drift_math import golden
from tests.drift_math.golden import close

PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-4)])


@PRECISIONS
def test_evidence_of_both_levels(dtype: type[np.float32 | np.float64], tolerance: float) -> None:
    """Scores tick by tick, and the winner at the end."""
    wanted, engine = golden.vectors()["engine"], Engine([golden.numeric()], dtype)
    scores = [engine.step([tick])[:, 0] for tick in golden.ticks()]
    assert close(scores, wanted["scores"], tolerance)
    assert engine.best(0, 0) == wanted["best"]


@PRECISIONS
def test_evidence_with_dependence(dtype: type[np.float32 | np.float64], tolerance: float) -> None:
    """Counts, and the reference's, are divided by phi."""
    wanted = golden.vectors()["engine_phi"]
    engine = Engine([golden.numeric(wanted["phi"])], dtype)
    assert close([engine.step([tick])[0, 0] for tick in golden.ticks()], wanted["scores"], tolerance)


@PRECISIONS
def test_evidence_of_levels(dtype: type[np.float32 | np.float64], tolerance: float) -> None:
    """A categorical stream."""
    wanted, engine = golden.vectors()["engine_cat"], Engine([golden.categorical()], dtype)
    assert close([engine.step([np.array(tick)])[0, 0] for tick in wanted["counts"]], wanted["scores"], tolerance)


def test_evidence_of_the_model() -> None:
    """Log of the mean of exp(S) over streams."""
    wanted = golden.vectors()["fleet"]
    scores = np.array(wanted["scores"])
    assert close(log_sum(scores) - math.log(len(scores)), wanted["value"])


@PRECISIONS
def test_since_and_began(dtype: type[np.float32 | np.float64], tolerance: float) -> None:
    """Counts since something is going on, their first tick, and the tick at which the winner's change began."""
    engine = Engine([golden.numeric()], dtype)
    for number, (tick, wanted) in enumerate(zip(golden.ticks(), golden.vectors()["after"]["ticks"], strict=True)):
        engine.step([tick])
        assert close(engine.since(0), wanted["since"], tolerance), number
        assert engine.dump(0)["since_tick"][0] == wanted["since_tick"], number
        assert engine.began(0, 0) == wanted["began"], number


@pytest.mark.parametrize(("key", "level"), [("resolve_notice", 0), ("resolve_alarm", 1)])
def test_resolve(key: str, level: int) -> None:
    """The ticks at which a latched numeric stream counts as back, its effects, rows and limit."""
    wanted, ticks, table = golden.vectors()[key], golden.ticks(), golden.numeric()
    rule = Resolve(table, wanted["run"], level)
    bins = len(table.pi)
    back = [
        rule.add(ticks[t % 4] if t < 10 else np.floor(table.counts / 12) + (t % 2) * (np.arange(bins) < bins - 2))
        for t in range(60)
    ]
    _same_rule(rule, back, wanted)


def test_resolve_levels() -> None:
    """The same for a categorical stream, with its longer memory."""
    wanted, counts = golden.vectors()["resolve_cat"], golden.vectors()["engine_cat"]["counts"]
    rule = Resolve(golden.categorical(), wanted["run"], 1)
    _same_rule(rule, [rule.add(np.array(counts[t % 4])) for t in range(40)], wanted)


def _same_rule(rule: Resolve, back: list[bool], wanted: dict[str, object]) -> None:
    assert [t for t, one in enumerate(back) if one] == wanted["ends"]
    assert close(rule.effects, wanted["d_last"])
    assert close(rule.effective, wanted["n_eff_last"])
    assert close(rule.rows, wanted["h"])
    assert close(rule.limit, wanted["limit"])
