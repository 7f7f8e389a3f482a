"""References that tell hours apart."""

from __future__ import annotations

import numpy as np
import pytest

from pilotfish_agent.drift import seasonal
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.reference import FeatureReference, Reference
from pilotfish_agent.drift.rows import Rows
from pilotfish_agent.drift.timed import level
from tests.drift_season.seasons import DAY, MONDAY, batch, columns, daily, reference, times


def stream(made: Reference, name: str) -> FeatureReference:
    """One of its streams."""
    found = made.feature(name)
    assert found is not None
    return found


def test_each_stream_gets_what_it_needs() -> None:
    """Edges by hour where rows can be ranked, tables by hour where they cannot, nothing without a pattern."""
    made = daily()
    wave, kind, few, flat = (stream(made, name) for name in ("wave", "level", "few", "flat"))
    assert made.strata["kind"] == "hour"
    assert made.strata["timezone"] == "UTC"
    assert sum(made.strata["rows"]) == made.rows == 24_000
    assert wave.stratum_edges is not None
    assert (wave.strata, wave.stratum_counts) == (24, None)
    assert kind.stratum_counts is not None
    assert kind.stratum_counts.shape == (24, 4)
    assert few.stratum_counts is not None
    assert (few.stratum_edges, few.strata) == (None, 24)
    assert (flat.strata, flat.stratum_edges, flat.stratum_counts) == (1, None, None)
    assert (kind.stratum_counts.sum(0) == kind.counts).all()
    assert Reference.from_json(made.to_json()).to_json() == made.to_json()


def test_ranks_have_the_same_masses_in_each_hour() -> None:
    """Their counts are those of one stratum, whose rows set how sure they are."""
    made, at = daily(), times(10, 24_000)
    wave = stream(made, "wave")
    x, hours = np.asarray(columns(at)["wave"]), (at % DAY // 3600).astype(int)
    rows = np.bincount(hours, minlength=24)
    assert wave.rows == 24_000
    assert rows.min() - 1 - len(wave.counts) <= wave.counts.sum() <= rows.min()
    masses = wave.counts / wave.counts.sum()
    for hour in (0, 6, 18):
        own = wave.binner(hour).counts(x[hours == hour])
        assert np.abs(own / own.sum() - masses).max() < 0.03
    assert wave.edges is not None
    assert (np.diff(wave.edges) > 0).all()


def test_a_share_of_missing_values_that_moves_needs_tables() -> None:
    """Ranks among the present values do not tell when values are missing."""
    at = times(10, 24_000)
    found = dict(columns(at))
    x = np.array(found["wave"])
    night = at % DAY < DAY / 3
    x[night & (np.random.default_rng(1).random(len(x)) < 0.1)] = np.nan
    wave = stream(reference(found | {"wave": x}, at), "wave")
    assert wave.stratum_edges is None
    assert wave.stratum_counts is not None
    missing = wave.stratum_counts[:, wave.special["missing"]] / wave.stratum_counts.sum(1)
    assert (missing[:8] > 0.05).all()
    assert (missing[8:] == 0).all()


def test_a_weekly_pattern_needs_four_weeks() -> None:
    """28 days tell weekends apart; 20 days the hours only."""
    for days, kind in ((28, "weekend_hour"), (20, "hour")):
        at = times(days, 48_000)
        weekend = (at - MONDAY) // DAY % 7 >= 5
        x = np.asarray(columns(at)["wave"]) - 1.0 * weekend
        made = reference({"x": x}, at)
        assert made.strata["kind"] == kind


def test_hours_are_those_of_the_timezone() -> None:
    """A pattern by local hours is found in local hours."""
    at = times(10, 24_000)
    made = reference(columns(at), at, timezone="Asia/Kolkata")
    assert made.strata["timezone"] == "Asia/Kolkata"
    assert made.id != daily().id
    few = stream(made, "few")
    assert few.stratum_counts is not None
    values = np.asarray(columns(at)["few"])
    assert few.binner().counts(values[(at + 5.5 * 3600) % DAY < 3600]).tolist() == few.stratum_counts[0].tolist()


@pytest.mark.parametrize(("season", "rows", "kind"), [("hour", 24_000, "hour"), ("hour", 4_000, "none")])
def test_a_season_that_is_asked_for(season: str, rows: int, kind: str) -> None:
    """Every stream has it, whether it shows or not, where each stratum has 200 rows."""
    at = times(10, rows)
    made = reference(columns(at), at, season=season)
    assert made.strata["kind"] == kind
    assert {f.strata for f in made.features} == {24 if kind == "hour" else 1}


def test_no_season_is_looked_for_where_none_is_wanted() -> None:
    """With `none` all hours are alike; without times too."""
    at = times(10, 24_000)
    assert reference(columns(at), at, season="none").strata == {"kind": "none", "rows": []}
    builder = ReferenceBuilder()
    builder.add(batch(columns(at)))
    assert builder.reference(created=0.0).strata == {"kind": "none", "rows": []}


def test_a_sample_and_all_rows_are_counted_by_hour() -> None:
    """Above the rows that are held, a second pass counts all of them."""
    at = times(10, 24_000)
    of = columns(at)
    builder = ReferenceBuilder(max_rows=20_000)
    builder.add(batch(of), at)
    made = builder.reference(created=0.0, independent=True, again=lambda: [Rows(batch(of), np.arange(len(at)), at)])
    kind = stream(made, "level")
    assert kind.stratum_counts is not None
    assert kind.stratum_counts.sum() == sum(made.strata["rows"]) == 24_000
    assert stream(made, "wave").strata == 24


def test_what_would_cost_too_much_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels are merged into `other` first; then streams are left out, by name and reason."""
    at = times(10, 24_000)
    of = columns(at)
    hour = (at % DAY // 7200).astype(int)
    two = {"hour": [f"h{h}" for h in hour], "level": of["level"], "flat": of["flat"]}
    monkeypatch.setattr(seasonal, "MODEL_CELLS", 2 * 24 * 6)
    made = reference(two, at)
    assert len(stream(made, "hour").levels or ()) == 4
    assert stream(made, "level").levels == ("day", "night")
    monkeypatch.setattr(seasonal, "MODEL_CELLS", 2 * 24 * 4)
    made = reference(two, at)
    assert [f.name for f in made.features] == ["flat"]
    assert [(i.name, i.reason) for i in made.ignored] == [("hour", seasonal.TOO_MANY), ("level", seasonal.TOO_MANY)]


def test_levelled_counts_have_no_season() -> None:
    """Counts of each stratum become those of all, sums stay."""
    masses = np.array([[70, 30], [20, 80]])
    found = level(np.array([[7, 3], [2, 8], [0, 10]]), masses, np.array([0, 1, 1]))
    assert np.allclose(found, [[4.5, 5.5], [4.5, 5.5], [2.5, 7.5]])


def test_the_season_is_no_dependence() -> None:
    """Shares that jump with the hour leave phi alone once each hour has its own table; without, they do not."""
    at = np.sort(np.random.default_rng(3).uniform(0, 10 * DAY, 60_000)) + MONDAY
    day = at % DAY // 7200 % 2 == 0
    of = {"level": np.where(np.random.default_rng(4).random(len(at)) < np.where(day, 0.9, 0.1), "a", "b").tolist()}
    phis = []
    for season in ("auto", "none"):
        builder = ReferenceBuilder(season=season)
        builder.add(batch(of), at)
        phis.append(stream(builder.reference(created=0.0), "level").phi)
    assert phis[0] < 1.3
    assert phis[1] > 5
