"""Ticks, evidence and effects under a reference that tells hours apart."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pilotfish_agent.drift import tested
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.strata import HOUR, of_reference
from pilotfish_agent.drift.tables import build, load, save
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_agent.windows.ticks import RowSplitter, TickRule, TickSplitter
from tests.drift_season.seasons import DAY, MONDAY, Floats, batch, columns, daily, reference, times
from tests.drift_watch.world import FAST, watch

LIVE_DAYS, LIVE_ROWS = 2, 12_000


def made() -> DriftWatch:
    """A watch under the reference of ten days."""
    return watch(FAST, daily())


def run(watched: DriftWatch, at: Floats, **how: float) -> list[Entry]:
    """Many ticks at once, as `replay` does."""
    splitter = TickSplitter(TickRule(FAST.tick), of_reference(daily().strata))
    entries = []
    of = columns(at, 5, **how)
    for part in np.array_split(np.arange(len(at)), 7):
        piece = {n: np.asarray(c, object)[part].tolist() if isinstance(c, list) else c[part] for n, c in of.items()}
        entries += watched.run(batch(piece), splitter.split(at[part]), at[part])
    return entries


def live() -> Floats:
    """Two days after the reference."""
    return times(LIVE_DAYS, LIVE_ROWS, 14, seed=9)


def alarms(entries: Sequence[Entry]) -> set[str]:
    """Streams that alarmed."""
    return {e.feature for e in entries if e.kind == "alarm"}


def test_a_usual_day_is_no_drift() -> None:
    """The numbers and levels go up and down with the hour, and nothing is said; effects are small."""
    watched = made()
    assert alarms(run(watched, live())) == set()
    effects = {r.feature: r.effect for r in watched.results()}
    assert all((effects[name] or 0.0) < 0.1 for name in ("wave", "level", "few", "flat"))


def test_without_strata_a_usual_day_is_one() -> None:
    """The same rows against one stratum for all: that is what strata are for."""
    at = times(10, 24_000)
    flat = reference(columns(at), at, season="none")
    watched, now = watch(FAST, flat), live()
    splitter = TickSplitter(TickRule(FAST.tick))
    assert {"wave", "level"} <= alarms(watched.run(batch(columns(now, 5)), splitter.split(now), now))


@pytest.mark.parametrize(("how", "who"), [({"shift": 0.5}, "wave"), ({"rare": 0.04}, "level")])
def test_a_shift_is_found(how: dict[str, float], who: str) -> None:
    """Of a stream that is ranked, and of one that has tables; and no other stream alarms."""
    watched = made()
    entries = run(watched, live(), **how)
    assert alarms(entries) == {who}
    alarm = next(e for e in entries if e.kind == "alarm")
    assert alarm.began < live()[0] + DAY / 4
    assert alarm.effect is not None
    assert 0.2 < alarm.effect < 2


def test_rows_that_arrive_and_rows_of_a_log_are_counted_alike() -> None:
    """Batch by batch by the clock, and many ticks at once: the same evidence."""
    at = live()[:3_000]
    of = columns(at, 5)
    one, many = made(), made()
    for start in range(0, len(at), 25):
        some = slice(start, start + 25)
        one.add(batch({n: c[some] for n, c in of.items()}), float(at[start]))
    moments = np.repeat(at[::25], 25)
    splitter = TickSplitter(TickRule(FAST.tick), of_reference(daily().strata))
    many.run(batch(of), splitter.split(moments), moments)
    assert one.judge is not None
    assert many.judge is not None
    assert one.clock.ticks == many.clock.ticks > 50
    assert np.array_equal(one.judge.scores, many.judge.scores)


def test_no_tick_lies_in_two_hours() -> None:
    """A tick ends with its hour, whatever it holds; live and in a log, by time and by rows."""
    watched = made()
    for minute in np.arange(0, 180, 7.0):
        now = MONDAY + 60 * minute
        watched.add(batch(columns(np.full(3, now))), now)
        assert watched.clock.stratum == int(minute // 60)
    assert watched.judge is not None
    at = MONDAY + np.arange(0, 3 * 3600, 5.0)
    hours = of_reference(daily().strata)
    for closes in (TickSplitter(TickRule(7.0), hours).split(at), RowSplitter(500).split(len(at), hours.ends(at))):
        cuts = [0, *(i for i, _ in closes), len(at)]
        told = [set(hours.of(at[a:b]).tolist()) for a, b in itertools.pairwise(cuts)]
        assert all(len(t) <= 1 for t in told)
        assert len(closes) > 2


def test_the_budget_of_ticks_longer_than_an_hour() -> None:
    """They close each hour where hours are told apart, so the budget is one of hours."""
    ticks = []
    for tick in (HOUR / 60, HOUR, 6.0 * HOUR):
        request = DriftWatch("m", daily(), replace(FAST, tick=tick)).table_request()
        assert request is not None
        ticks.append(request.budget_ticks)
    assert ticks == [43_200, 720, 720]


def test_a_log_without_times_is_refused() -> None:
    """Nobody can say which hour its rows belong to."""
    with pytest.raises(ValueError, match="times"):
        made().run(batch(columns(live()[:10])), [], None)


def test_evidence_goes_on_after_a_restart() -> None:
    """A checkpoint holds for references with strata too."""
    at = live()
    one = made()
    run(one, at[:2_000])
    again = DriftWatch("m", daily(), FAST)
    assert again.restore(one.checkpoint())
    request = again.table_request()
    assert request is not None
    assert one.judge is not None
    again.set_tables(one.judge.tables)
    assert again.judge is not None
    assert np.allclose(again.judge.scores, one.judge.scores, atol=1e-3)


def test_tables_by_stratum_survive_their_cache(tmp_path: str) -> None:
    """They are those of the file, and say so when they are not."""
    watched = DriftWatch("m", daily(), FAST)
    request = watched.table_request()
    assert request is not None
    specs = [s for s in request.specs if s.name == "level"]
    tables = build(specs, request.budget_ticks, 4)
    path = f"{tmp_path}/tables.npz"
    save(path, specs, request.budget_ticks, tables)
    found = load(path, specs, request.budget_ticks, 4)
    assert found is not None
    own, again = tables[0].by_stratum(24), found[0].by_stratum(24)
    assert len(own) == 24
    for a, b in zip(own, again, strict=True):
        assert np.array_equal(a.log_ratios, b.log_ratios)
        assert np.array_equal(a.penalties, b.penalties)
        for name, row, pooled in zip(a.names, a.log_ratios, tables[0].log_ratios, strict=False):
            alike = name.startswith(("cat2", "cat3"))  # other and missing: never seen, in no hour
            assert np.array_equal(row, pooled) == alike
            assert alike or (a.pi * np.exp(row)).sum() == pytest.approx(1)


def test_binners_of_many_strata_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest make room; all are right."""
    streams = tested.tested(daily(), 10)
    wanted = [streams.binners(h) for h in range(24)]
    monkeypatch.setattr(tested, "MOST_BINNERS", 3 * len(streams.streams))
    few = tested.tested(daily(), 10)
    x = np.linspace(-3, 3, 50)
    for hour in (*range(24), *range(24)):
        assert few.binners(hour)[0].ids(x).tolist() == wanted[hour][0].ids(x).tolist()
        assert few.binners(hour)[1] is few.binners(0)[1]
    assert len(few._binners) <= 4
