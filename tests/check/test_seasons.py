"""A batch against a reference that tells hours apart, and against composites: what `Check` makes of rows."""

from __future__ import annotations

import numpy as np
import pytest

from pilotfish_agent.drift.check import Check, Checked, Options
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.rows import Rows
from pilotfish_core.errors import UsageError
from tests.drift_season.seasons import DAY, Floats, batch, columns, daily, reference, times


def checked(made: Reference, at: Floats | None, **how: float) -> Checked:
    """Of rows at these times; without them where there are none."""
    moments = times(1, 2_000, 20) if at is None else at
    one = Check(made, Options())
    one.add(Rows(batch(columns(moments, 5, **how)), np.arange(1, len(moments) + 1), at))
    return one.checked()


def verdicts(found: Checked) -> dict[str, str]:
    return {s.stream.name: s.verdict for s in found.streams}


def test_an_afternoon_is_compared_with_afternoons() -> None:
    """Four hours of a daily wave are no drift against the same hours, and would be against all."""
    at = times(20, 24_000, 20)
    four = at[(at % DAY > 4 * 3600) & (at % DAY < 8 * 3600)]
    assert len(four) > 3_000
    assert set(verdicts(checked(daily(), four)).values()) == {"stable"}
    blind = Reference.from_json(daily_without_hours().to_json())
    assert verdicts(checked(blind, four))["wave"] == "drifting"


def daily_without_hours() -> Reference:
    at = times(10, 24_000)
    return reference(columns(at), at, season="none")


def test_what_moved_beyond_the_hours_is_found() -> None:
    """A shift of half a standard deviation, and a level that nobody has seen."""
    found = verdicts(checked(daily(), times(2, 4_000, 20), shift=0.5, rare=0.04))
    assert [name for name, verdict in found.items() if verdict == "drifting"] == ["wave", "level"]


def test_rows_without_times_have_no_hour() -> None:
    """Exit 2 with what to do."""
    with pytest.raises(UsageError, match="tells hours apart"):
        checked(daily(), None)
