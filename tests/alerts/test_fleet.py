"""Drift over all replicas: the bin counters of real agents, and the recording rules over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotfish_agent.drift.fleet import TOPK, VALUES, Bins, folded
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.reference import FeatureReference, Reference, positions
from pilotfish_agent.drift.tested import tested as streams_of
from pilotfish_agent.drift.watch import DriftWatch
from tests.alerts.replicas import (
    DISTANCES,
    Replica,
    asked,
    batch,
    distances,
    draw,
    expected,
    folded_share,
    furthest,
    reference,
)
from tests.drift_watch.world import Runner, World, watch
from tests.system import needs

REFERENCE = reference(1)
LAST = 61
Lines = list[dict[str, str]]


def played(rows: int, replicas: int = 2) -> tuple[Lines, list[list[Mapping[str, Any]]]]:
    """Series of an hour and a minute, and the rows behind them."""
    rng, every = np.random.default_rng(2), [Replica(REFERENCE) for _ in range(replicas)]
    minutes: list[list[Mapping[str, Any]]] = []
    for minute in range(LAST + 1):
        minutes.append([draw(rng, rows, 0.3 if minute > 20 else 0.0) for _ in every])
        for replica, part in zip(every, minutes[-1], strict=True):
            replica.take(part)
            replica.scrape()
    return [line for i, one in enumerate(every) for line in one.lines(f"r{i}")], minutes


@needs("promtool", package="prometheus")
def test_the_rules_say_what_numpy_says(tmp_path: Path) -> None:
    """Every distance of every feature, to 1e-9; KS for numbers only."""
    lines, minutes = played(20)
    found = asked(tmp_path, lines, LAST)
    wanted = expected(REFERENCE, minutes, LAST)
    assert furthest(found, wanted) < 1e-9
    assert ("level", "ks1h") not in found
    assert found["even", "psi1h"] > 0.05


@needs("promtool", package="prometheus")
def test_replicas_with_another_reference_are_not_mixed_in(tmp_path: Path) -> None:
    """Its bins are others: a group of its own, and the first one stays what it was."""
    lines, minutes = played(20)
    other = Replica(reference(9))
    for minute in minutes:
        other.take(minute[0])
        other.scrape()
    lines += other.lines("x")
    wanted = expected(other.reference, [minute[:1] for minute in minutes], LAST)
    assert furthest(asked(tmp_path, lines, LAST, of=REFERENCE.id), expected(REFERENCE, minutes, LAST)) < 1e-9
    assert furthest(asked(tmp_path, lines, LAST, of=other.reference.id), wanted) < 1e-9


@needs("promtool", package="prometheus")
def test_few_rows_have_no_distance(tmp_path: Path) -> None:
    """Chance alone would look like drift: below `fleet_minimum_rows` nothing is said."""
    lines, _ = played(4)
    assert asked(tmp_path, lines, LAST) == {}
    assert {name for _, name in asked(tmp_path, lines, LAST, {"fleet_minimum_rows": "100"})} == set(DISTANCES)


@needs("promtool", package="prometheus")
def test_a_feature_that_is_missing_throughout_has_no_ks_and_breaks_nothing(tmp_path: Path) -> None:
    """PSI and Jensen-Shannon see the missing values; there are no numbers to compare."""
    replica = Replica(REFERENCE)
    rng = np.random.default_rng(3)
    minutes: list[list[Mapping[str, Any]]] = []
    for _ in range(LAST + 1):
        part = draw(rng, 30) | {"even": np.full(30, np.nan)}
        minutes.append([part])
        replica.take(part)
        replica.scrape()
    found = asked(tmp_path, replica.lines("r0"), LAST)
    assert ("even", "ks1h") not in found
    assert furthest(found, expected(REFERENCE, minutes, LAST)) < 1e-9


@pytest.mark.parametrize("stream", REFERENCE.features, ids=lambda s: s.name)
def test_folding_loses_no_row_and_keeps_the_order(stream: FeatureReference) -> None:
    """Few bins with names of their own; every bin goes somewhere; numbers in ascending order, the special ones last."""
    bins = folded(stream)
    assert len(bins.names) == len(set(bins.names)) <= 13
    assert len(bins.place) == len(stream.counts)
    assert set(bins.place.tolist()) == set(range(len(bins.names)))
    shares = np.bincount(bins.place, stream.counts) / stream.counts.sum()
    assert shares.sum() == pytest.approx(1)
    if stream.edges is not None:
        assert (np.diff(bins.place[: len(stream.edges) + 1]) >= 0).all()
        assert bins.names[-3:] == ("missing", "+inf", "-inf")
    assert max(distances(stream, folded_share(stream)).values()) < 1e-12


def test_levels_that_are_called_as_ours_count_as_other() -> None:
    """No two series have one name, and no category looks like a bin of numbers."""
    levels = ("NO", "other", "missing", "3: (odd", "SE")
    made = FeatureReference("c", "categorical", 700, np.arange(7) * 10 + 100, levels=levels)
    assert folded(made).names == ("NO", "SE", "other", "missing")
    assert folded(made).place.tolist() == [0, 2, 2, 2, 1, 2, 3]


def test_with_edges_of_strata_the_bins_are_ranks() -> None:
    """Each hour has edges of its own: what is common is the share of the reference below."""
    counts = np.array([100, 100, 100, 100, 0, 0, 0])
    edges = np.array([1.0, 2.0, 3.0])
    made = FeatureReference(
        "x", "numeric", 400, counts, edges=edges, special=positions(3), stratum_edges=np.stack([edges, edges + 1])
    )
    assert folded(made).names[:4] == (
        "0: <= rank 25%",
        "1: (rank 25%, rank 50%]",
        "2: (rank 50%, rank 75%]",
        "3: > rank 75%",
    )


def wide(features: int) -> Reference:
    """Many numeric streams, a prediction, and one with a table for each hour."""
    counts = np.array([100, 100, 0, 0, 0])
    named = [f"f{i:03}" for i in range(features)]
    streams = [FeatureReference(n, "numeric", 200, counts, np.array([0.0]), special=positions(1)) for n in named]
    streams.append(FeatureReference("@score", "numeric", 200, counts, np.array([0.5]), special=positions(1)))
    hourly = np.array([[100, 0, 50], [0, 100, 50]])
    streams.append(FeatureReference("hour", "categorical", 300, hourly.sum(0), levels=("a",), stratum_counts=hourly))
    return Reference(created=0.0, model="m", version=None, rows=200, features=tuple(streams))


def test_topk_shows_fifty_streams_and_those_that_drift_among_them() -> None:
    """Predictions first, then the order of the reference; a stream that drifts takes a place and keeps it."""
    streams = streams_of(wide(80), 1000)
    bins = Bins(streams, "topk")
    assert len(bins.shown) == TOPK
    assert streams.index["@score"] in bins.shown
    assert streams.index["f070"] not in bins.shown
    bins.drifting({streams.index["f070"]})
    bins.drifting(set())
    assert len(bins.shown) == TOPK
    assert streams.index["f070"] in bins.shown
    assert streams.index["@score"] in bins.shown
    assert streams.index["f048"] not in bins.shown


def test_a_stream_with_tables_by_the_hour_has_no_counters() -> None:
    """An hour of it against all hours of the reference would look like drift."""
    streams = streams_of(wide(2), 1000)
    assert Bins(streams, "all").shown == (0, 1, 2)
    assert Bins(streams, "off").shown == ()


def test_counters_follow_the_ticks_and_are_off_by_default() -> None:
    """Rows count when their tick closes; without `drift.bins` there is no series at all."""
    replica = Replica(REFERENCE)
    replica.take(draw(np.random.default_rng(4), 100))
    total = sum(s.value for s in replica.watch.samples() if s.metric is VALUES and s.labels[0] == "even")  # type: ignore[misc]
    assert total == 100
    assert all(s.metric is not VALUES for s in watch().samples())


def test_a_reference_that_is_still_learnt_has_none() -> None:
    """It is no other replica's, and it changes all the time."""
    learning = DriftWatch("m", None, Config(bins="all"))
    for second in range(20):
        learning.add(batch(draw(np.random.default_rng(second), 100)), second * 10.0)
        learning.advance(second * 10.0 + 9.9)
    assert learning.comparison is not None
    assert all(s.metric is not VALUES for s in learning.samples())


def test_the_drifting_stream_of_a_real_watch_gets_its_place() -> None:
    """The latch leads to the counters: with room for all, nothing changes but the order of coming."""
    run = Runner(watch(Config(bins="topk", dependence=1.0)), World(5))
    run.ticks(60, shift=1.0)
    features = {s.labels[0] for s in run.watch.samples() if s.metric is VALUES}
    assert features == {"x", "y", "colour"}
