"""The watch on streams whose truth is known: silence, alarms with the right name, latches, severities, resolution."""

from __future__ import annotations

import numpy as np
import pytest

from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_core.config import budget
from tests.drift_watch.world import FAST, START, TICK, Runner, World, batch, reference, watch


def test_stable_data_stay_silent() -> None:
    """40,000 rows like the reference: no entry, state stable, evidence below the line."""
    run = Runner(watch(), World(7))
    assert run.ticks(400) == []
    assert run.watch.state == "stable"
    assert run.watch.status().severity == "none"
    for result in run.watch.results(run.now):
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
    assert alarm.evidence >= alarm.threshold
    assert alarm.effect_lower is not None
    assert 0.3 < alarm.effect_lower < 0.6 < alarm.effect_upper
    assert "mean up by about 0." in alarm.explanation
    assert run.watch.state == "drifting"
    assert run.watch.status().drifting == ("x",)
