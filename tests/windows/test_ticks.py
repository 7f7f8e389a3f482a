"""When ticks close."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.windows.ticks import Endless, Ends, Floats, RowSplitter, TickRule, TickSplitter

RULE = TickRule(10.0)


@pytest.mark.parametrize(
    ("opened", "latest", "rows", "now", "at"),
    [
        (3, 4, 20, 9.9, None),  # not yet a multiple of the tick
        (3, 4, 20, 10, 10),
        (3, 4, 20, 500, 10),  # seen late: it closed at the first multiple all the same
        (3, 14, 20, 19, None),  # the twentieth row came in the second tick
        (3, 14, 20, 21, 20),
        (3, 4, 19, 599, None),
        (3, 4, 1, 600, 600),  # ten minutes, one row
        (13, 14, 1, 609, None),
        (13, 14, 1, 610, 610),
        (3, 605, 2, 609, None),  # a row after the ten minutes: the multiple after it
        (3, 4, 0, 10_000, None),  # an empty tick never closes
    ],
)
def test_when_a_tick_closes(opened: float, latest: float, rows: int, now: float, at: float | None) -> None:
    """At a multiple of the tick with 20 rows, after ten minutes with one."""
    assert RULE.closes_at(opened, latest, rows, now) == at


def test_a_tick_longer_than_ten_minutes_is_respected() -> None:
    """A tick of an hour closes on the hour, whatever it holds."""
    rule = TickRule(3600.0)
    assert rule.closes_at(10, 10, 1, 3599) is None
    assert rule.closes_at(10, 10, 1, 3600) == 3600


def test_a_tick_ends_where_its_span_does() -> None:
    """Whatever it holds, and though the end is no multiple of the tick."""
    assert RULE.closes_at(3, 4, 1, 6.9, until=7.0) is None
    assert RULE.closes_at(3, 4, 1, 7.0, until=7.0) == 7.0
    assert RULE.closes_at(3, 4, 20, 30.0, until=25.0) == 10.0


class Sevens:
    """Spans of 7 s."""

    def until(self, moment: float) -> float:
        """The next multiple of 7."""
        return (moment // 7 + 1) * 7

    def ends(self, times: Floats) -> Floats:
        """The same of each."""
        return (times // 7 + 1) * 7


def test_boundaries() -> None:
    """A multiple is its own boundary, and the next one follows it."""
    assert (RULE.boundary(20.0), RULE.boundary(29.9), RULE.following(20.0)) == (20.0, 20.0, 30.0)


def plain(times: list[float], spans: Ends) -> tuple[list[tuple[int, float]], int]:
    """The live clock row by row: time never goes back, each moment may close the open tick."""
    closed, late, rows, opened, latest, begins, now = [], 0, 0, math.nan, math.nan, -math.inf, -math.inf
    until = math.inf
    for i, t in enumerate(times):
        now = max(now, t)
        at = RULE.closes_at(opened, latest, rows, now, until)
        if at is not None:
            closed.append((i, at))
            rows, begins = 0, at
        if not rows:
            opened, until = now, spans.until(now)
        rows, latest = rows + 1, now
        late += t < begins
    return closed, late


TIMES = st.lists(st.floats(-30.0, 100.0), max_size=80).map(lambda steps: np.maximum(np.cumsum(steps), 0.0).tolist())


@given(TIMES, st.lists(st.integers(0, 80), max_size=4), st.sampled_from([Endless(), Sevens()]))
def test_splitting_in_any_batches_is_splitting_row_by_row(times: list[float], cuts: list[int], spans: Ends) -> None:
    """Closings and late rows do not depend on how the rows come in."""
    splitter = TickSplitter(RULE, spans)
    found = []
    edges = sorted({0, len(times), *(c for c in cuts if c <= len(times))})
    for a, b in itertools.pairwise(edges):
        found += [(a + i, at) for i, at in splitter.split(np.array(times[a:b]))]
    want, late = plain(times, spans)
    assert found == want
    assert splitter.late == late


def test_the_last_tick_closes_when_it_would_have() -> None:
    """At the end of the data an open tick with enough rows closes at the next multiple."""
    splitter = TickSplitter(RULE)
    assert splitter.split(np.full(25, 101.0)) == []
    assert splitter.flush() == 110.0
    assert splitter.flush() is None
    assert splitter.split(np.array([])) == []


def test_a_short_last_tick_closes_after_ten_minutes() -> None:
    """One row is a tick, in the end."""
    splitter = TickSplitter(RULE)
    splitter.split(np.array([101.0]))
    assert splitter.flush() == 700.0


@given(st.integers(1, 50), st.lists(st.integers(0, 120), max_size=6))
def test_ticks_of_rows(size: int, batches: list[int]) -> None:
    """Every ``size`` rows a tick closes, wherever the batches end; a tick stands for a minute."""
    splitter = RowSplitter(size)
    ends, read = [], 0
    for rows in batches:
        ends += [(read + i, at) for i, at in splitter.split(rows)]
        read += rows
    assert [e for e, _ in ends] == list(range(size, read + 1, size))
    assert [at for _, at in ends] == [60.0 * k for k in range(1, len(ends) + 1)]
    assert splitter.rows == read % size
