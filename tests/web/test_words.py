"""The budget in words: what is counted, over which time, against what is allowed in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pilotfish_agent.web import words
from pilotfish_core.metrics import Metric, Sample
from pilotfish_core.nouns import Snapshot
from tests.standard import AT, standard_snapshot

ALARMS = Metric("pilotfish_drift_alarms_total", "counter", "Crossings.", ("severity", "model"))
DAY = 86_400.0


def counted(*, days: float, budget: str = "1 per 30d", models: int = 1, **alarms: float) -> Snapshot:
    usual = standard_snapshot()
    status = replace(
        usual.status,
        budget={"false_alarms": budget},
        started=AT - days * DAY,
        models=tuple(replace(usual.status.models[0], model=f"m{i}") for i in range(models)),
    )
    return replace(usual, status=status, samples=tuple(Sample(ALARMS, (s, "m0"), n) for s, n in alarms.items()))


def test_alarms_that_page_are_counted_and_notices_are_not() -> None:
    """The budget is about alarms; before the first period is over it is that of one period."""
    found = words.spent(counted(days=3, info=7, warning=1, critical=0))
    assert found is not None
    assert (found.alarms, found.allowed, found.share) == (1, 1, 1)
    counted_line, rule, true = found.lines()
    assert counted_line == "1 alarm in 3 d"
    assert "The budget is 1 per 30d" in rule
    assert "10 % of that time has passed" in rule
    assert true == "An alarm that is true spends nothing."


def test_after_the_first_period_the_budget_grows_with_the_time() -> None:
    """Counters go on since the start, so what they are held against does too."""
    found = words.spent(counted(days=90, budget="2 per 30d", warning=3))
    assert found is not None
    assert found.allowed == pytest.approx(6)
    assert found.share == pytest.approx(0.5)
    assert "6 may have come by now" in found.lines()[1]


def test_each_model_has_a_budget_of_its_own() -> None:
    """Two models may give twice as many."""
    found = words.spent(counted(days=1, models=2))
    assert found is not None
    assert found.allowed == 2
    assert "for each of 2 models" in found.lines()[1]
    assert found.lines()[2] == "Nothing is spent."


@pytest.mark.parametrize("text", [None, "", "none", "1 per fortnight"])
def test_a_budget_that_nobody_can_read_is_not_shown(text: str | None) -> None:
    """No number is better than an invented one."""
    usual = standard_snapshot()
    budget = {} if text is None else {"false_alarms": text}
    assert words.spent(replace(usual, status=replace(usual.status, budget=budget))) is None


def test_learning_in_progress_is_said_in_words() -> None:
    """How far it is, and what follows from it for alarms."""
    usual = standard_snapshot()
    said = "provisional: 3,120 of 5,000 rows, 9 of 24 h"
    model = replace(usual.status.models[0], state="provisional", severity="none", drifting=(), words=said)
    found = words.headline(replace(usual, status=replace(usual.status, models=(model,))))
    assert "3,120 of 5,000 rows, 9 of 24 h" in found.lead
    assert "only informative" in found.lead
