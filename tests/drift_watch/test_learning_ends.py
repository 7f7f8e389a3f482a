"""When a learnt reference becomes final (docs/statistics.md, section 11): on simulated days, tables built in place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pilotfish_agent.drift import tables
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.watch import DriftWatch
from tests.drift_watch.world import FAST, START, batch

DAY = 86_400
MINUTES = replace(FAST, tick=60.0)


class Days:
    """A model of 20 rows a minute whose mean follows the hour by ``wave`` sd."""

    def __init__(self, seed: int, wave: float = 0.0) -> None:
        self.rng, self.wave, self.now = np.random.default_rng(seed), wave, START
        self.watch = DriftWatch("m", None, MINUTES)
        self.entries: list[Entry] = []

    def run(self, days: float, shift: float = 0.0) -> None:
        """Lets time pass."""
        for _ in range(int(days * 1440)):
            angle = 2 * np.pi * (self.now % DAY) / DAY
            rows = {"x": self.rng.normal(shift + self.wave * np.sin(angle), 1, 20)}
            self.watch.add(batch(rows), self.now + 1)
            self.now += 60
            self.entries += self.watch.advance(self.now)
            request = self.watch.table_request()
            if request is not None:
                self.watch.set_tables(tables.build(request.specs, request.budget_ticks, request.streams))


def test_a_day_of_steady_rows_makes_a_final_reference_over_restarts_too() -> None:
    """Counts survive the restart, rows do not; then it is 24 h, all rows count, and the next run has it as well."""
    days = Days(1)
    days.run(0.75)
    content, rows = days.watch.checkpoint(), days.watch.status().reference_rows
    days.watch = DriftWatch("m", None, MINUTES)
    assert days.watch.restore(content)
    days.run(0.2)
    assert days.watch.words == "provisional: 5,000 of 5,000 rows, 22 of 24 h"
    days.run(0.1)
    status = days.watch.status()
    assert (status.state, days.watch.held_back, days.watch.learner) == ("stable", "", None)
    assert rows < 20_001
    assert 28_000 < status.reference_rows < 29_500
    assert days.entries == []
    again = DriftWatch("m", None, MINUTES)
    assert again.restore(days.watch.checkpoint())
    assert (again.learner, again.status().reference_id) == (None, status.reference_id)


def test_a_change_is_not_learnt() -> None:
    """A shift that stays keeps the reference provisional, whatever the hours; accepting it ends that."""
    days = Days(2)
    days.run(0.5)
    days.run(1, shift=0.8)
    assert days.watch.state == "drifting"
    assert days.watch.held_back.startswith("the reference is provisional")
    assert days.watch.words.endswith(" h, waits until the drift ends or is accepted")
    assert {e.severity for e in days.entries if e.kind == "alarm"} == {"info"}
    before = days.watch.status().reference_id
    words = days.watch.accept(days.now)
    assert words.startswith(f"reference {before} -> ")
    after = days.watch.standing.target
    assert after is not None
    ended = f"learning has ended: reference {after.id} of {after.rows:,} rows is final"
    assert words.endswith(f": what x looks like now is the new normal; {ended}")
    days.run(0.2, shift=0.8)
    assert (days.watch.state, days.watch.held_back) == ("stable", "")


@pytest.mark.slow
def test_a_pattern_by_the_hour_is_learnt_in_four_days() -> None:
    """Until then it alarms as info and words say how long it takes; then each hour has its own table; all is calm."""
    days = Days(3, wave=0.5)
    days.run(1.3)
    assert "provisional: it changes by hour of day: 1.3 of 4 days, waits until" in days.watch.words
    days.run(3.5)
    assert days.watch.learner is None
    made = days.watch.status()
    assert days.watch.standing.target is not None
    assert days.watch.standing.target.strata["kind"] == "hour"
    alarms = len([e for e in days.entries if e.kind == "alarm" and e.severity != "info"])
    days.run(3)
    assert len([e for e in days.entries if e.kind == "alarm" and e.severity != "info"]) == alarms == 0
    assert days.watch.status().reference_id == made.reference_id
