"""Which stratum a moment belongs to, and which strata a stream needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.drift import strata
from pilotfish_agent.drift.layout import Floats, Ints
from pilotfish_agent.drift.strata import ALL, COUNTS, HOUR, Kind, Strata, chosen, make, narrowed, trial

ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Asia/Kathmandu")
MOMENTS = st.floats(1e9, 2.5e9)
KINDS = st.sampled_from(list(COUNTS))


def epoch(text: str, zone: str = "UTC") -> float:
    """Epoch seconds of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone) if zone != "UTC" else UTC).timestamp()


@pytest.mark.parametrize(
    ("kind", "text", "zone", "stratum"),
    [
        ("none", "2024-03-02T17:30", "UTC", 0),
        ("hour", "2024-03-02T17:30", "UTC", 17),
        ("weekend_hour", "2024-03-01T17:30", "UTC", 17),  # a Friday
        ("weekend_hour", "2024-03-02T17:30", "UTC", 41),
        ("hour_of_week", "2024-03-04T00:00", "UTC", 0),  # a Monday
        ("hour_of_week", "2024-03-03T23:59:59", "UTC", 167),
        ("hour", "2024-07-01T00:10", "Europe/Berlin", 0),
        ("hour", "2024-07-01T00:10", "Asia/Kolkata", 0),
    ],
)
def test_the_stratum_of_a_moment(kind: str, text: str, zone: str, stratum: int) -> None:
    """Hours and days are those of the timezone; weeks begin on Monday."""
    assert make(kind, zone).at(epoch(text, zone)) == stratum


def test_an_hour_that_comes_twice() -> None:
    """When clocks go back the hour is there twice, one stratum after the other; when they go ahead one is left out."""
    told = make("hour", "Europe/Berlin")
    back = epoch("2024-10-27T00:30")  # 02:30, for the first time
    assert [told.at(back + h * HOUR) for h in (0, 1, 2)] == [2, 2, 3]
    assert told.until(back) == back + 1800
    ahead = epoch("2024-03-31T00:30")
    assert [told.at(ahead + h * HOUR) for h in (0, 1)] == [1, 3]


@given(MOMENTS, KINDS, st.sampled_from(ZONES))
def test_a_stratum_is_constant_until_it_ends(moment: float, kind: Kind, zone: str) -> None:
    """And the end is a full hour of the local clock, at most an hour away."""
    told = make(kind, zone)
    end = told.until(moment)
    if kind == "none":
        assert end == np.inf
        return
    assert moment < end <= moment + HOUR
    assert told.at(np.nextafter(end, 0)) == told.at(moment)
    assert datetime.fromtimestamp(end, told.zone).minute == 0


@given(st.lists(MOMENTS, max_size=30), KINDS, st.sampled_from(ZONES))
def test_many_moments_are_told_as_one(moments: list[float], kind: Kind, zone: str) -> None:
    """The columns agree with the scalars."""
    told, times = make(kind, zone), np.array(moments)
    assert told.of(times).tolist() == [told.at(t) for t in moments]
    assert told.ends(times).tolist() == [told.until(t) for t in moments]


@given(MOMENTS, st.sampled_from(ZONES))
def test_kinds_nest(moment: float, zone: str) -> None:
    """The stratum of a poorer kind follows from that of a richer one."""
    at = {COUNTS[kind]: make(kind, zone).at(moment) for kind in COUNTS}
    for rich, stratum in at.items():
        for poor, wanted in at.items():
            if poor <= rich:
                assert narrowed(stratum, rich, poor) == wanted
                assert narrowed(np.array([stratum]), rich, poor).tolist() == [wanted]


def test_foreign_times_are_harmless() -> None:
    """Infinite, missing and far-off times belong to some stratum."""
    told = make("hour_of_week", "Europe/Berlin")
    found = told.of(np.array([np.nan, np.inf, -np.inf, 1e300, -5.0]))
    assert ((found >= 0) & (found < ALL)).all()
    assert len(told.ends(np.array([np.nan, 1e300]))) == 2


@pytest.mark.parametrize(("kind", "zone"), [("moon", "UTC"), (None, "UTC"), ("hour", "Mars/Olympus"), ("hour", 7)])
def test_what_is_no_strata_is_refused(kind: object, zone: object) -> None:
    """The error names what was given."""
    with pytest.raises(ValueError, match=r"moon|None|Olympus|7"):
        make(kind, zone)


def counted(pattern: Floats, rows: int, seed: int) -> tuple[Ints, Ints]:
    """Counts (168, 2) of two halves of a stream of two bins whose first has the share ``pattern`` (168,)."""
    rng = np.random.default_rng(seed)
    first = rng.binomial(rows, pattern, (2, ALL))
    both = np.stack((first, rows - first), axis=2)
    return both[0], both[1]


HOURS = np.arange(ALL) % 24
PATTERNS: dict[Kind, Floats] = {
    "none": np.full(ALL, 0.5),
    "hour": 0.5 + 0.2 * np.sin(2 * np.pi * HOURS / 24),
    "weekend_hour": np.where(np.arange(ALL) >= 120, 0.3, 0.5 + 0.2 * np.sin(2 * np.pi * HOURS / 24)),
    "hour_of_week": 0.5 + 0.2 * np.sin(2 * np.pi * np.arange(ALL) / ALL),
}


@pytest.mark.parametrize("kind", list(COUNTS))
def test_the_kind_that_counts_call_for(kind: Kind) -> None:
    """The pattern decides, for twenty seeds, and never one that is not there."""
    for seed in range(20):
        assert chosen(*counted(PATTERNS[kind], 40, seed)) == kind


def test_few_rows_an_hour_are_enough_for_a_strong_pattern() -> None:
    """Hours lean on one another: six rows a stratum and half show a swing of shares from .3 to .7."""
    assert chosen(*counted(PATTERNS["hour"], 6, 1)) == "hour"
    assert chosen(*counted(PATTERNS["hour"], 6, 1), least=200) == "none"


def test_how_long_a_record_must_be() -> None:
    """Four days for a pattern by hour, four weeks for one by week."""
    monday = epoch("2024-03-04T00:00")

    def candidates(days: float) -> tuple[Kind, ...] | None:
        found = trial(monday + np.arange(0, days * 86_400, 600.0), Strata())
        return None if found is None else found.candidates

    assert candidates(3.5) is None
    assert candidates(4) == ("hour",)
    assert candidates(27) == ("hour",)
    assert candidates(28) == strata.WEEKLY
    assert trial(np.zeros(0), Strata()) is None


def test_the_halves_are_alternate_weeks() -> None:
    """Each half has every hour of the week alike."""
    monday = datetime(2024, 3, 4, tzinfo=UTC)
    times = np.array([(monday + timedelta(hours=h)).timestamp() for h in range(28 * 24)])
    found = trial(times, Strata())
    assert found is not None
    for half in (found.fit, ~found.fit):
        assert (np.bincount(found.hours[half], minlength=ALL) == 2).all()
