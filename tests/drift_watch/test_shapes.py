"""The spread of a stream over its bins: true to the rows, of the window or of what came since the change."""

from __future__ import annotations

import numpy as np
import pytest

from pilotfish_agent.drift.shapes import shapes
from pilotfish_agent.drift.watch import Config, DriftWatch
from pilotfish_core.nouns import Shape
from tests.drift_watch.world import Runner, World, watch


def by_name(of: DriftWatch) -> dict[str, Shape]:
    return {s.feature: s for s in shapes(of)}


def test_there_is_none_while_there_is_no_reference() -> None:
    """Learning: nothing to compare with yet."""
    assert shapes(DriftWatch("m", None, Config())) == ()


def test_quiet_data_look_like_the_reference() -> None:
    """Shares sum to one, and the window's are the reference's to within what 20,000 rows can say."""
    run = Runner(watch(), World(7))
    run.ticks(200)
    found = by_name(run.watch)
    assert found.keys() == {r.feature for r in run.watch.results()} - {"@model"}
    for shape in found.values():
        assert np.sum(shape.reference) == pytest.approx(1)
        assert shape.current is not None
        assert np.sum(shape.current) == pytest.approx(1)
        assert np.abs(np.asarray(shape.current) - shape.reference).max() < 0.03
        assert shape.began is None
        assert (shape.edges is None) != (shape.levels is None)


def test_too_few_rows_are_no_present() -> None:
    """One tick of 100 rows: a reference, and nothing to hold against it."""
    run = Runner(watch(), World(7))
    run.ticks(1)
    assert all(shape.current is None and shape.rows <= 100 for shape in shapes(run.watch))


def test_a_stream_that_drifts_shows_the_rows_since_its_change() -> None:
    """Not the window's, where rows of before the change are still most."""
    run = Runner(watch(), World(9))
    run.ticks(150)
    began = run.now
    run.ticks(40, red=0.5)
    found = by_name(run.watch)["colour"]
    assert found.levels is not None
    assert found.began == pytest.approx(began, abs=30)
    red = found.levels.index("red")
    assert found.reference[red] == pytest.approx(0.2, abs=0.02)
    assert found.current is not None
    window = run.watch.comparison
    assert window is not None
    part = window.streams.part(window.window.counts, window.streams.index["colour"])
    assert found.current[red] > 0.45
    assert part[red] / part.sum() < 0.4
    assert by_name(run.watch)["x"].began is None
