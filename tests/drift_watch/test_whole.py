"""Composite streams: the parts are tested, one stream is told (docs/statistics.md, section 9)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pilotfish_agent.drift import shapes
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.gauges import DISTANCE, EFFECT, EVIDENCE_RATIO, FEATURE_MISSING, MDE
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.watch import DriftWatch
from tests.drift_watch.world import FAST, START, TICK, batch, watch

PARTS = {"emb.cell": "cell", "emb.distance": "distance to its own centre", "emb.p1": "projection 1"}


def rows(n: int, rng: np.random.Generator, distance: float = 0.0, p1: float = 0.0) -> dict[str, object]:
    return {
        "emb.cell": rng.choice(["0", "1", "2"], n).tolist(),
        "emb.distance": rng.gamma(8.0, 1.0, n) + distance,
        "emb.p1": rng.normal(p1, 1.0, n),
        "other": rng.normal(0.0, 1.0, n),
    }


@cache
def reference() -> Reference:
    builder = ReferenceBuilder()
    builder.add(batch(rows(10_000, np.random.default_rng(3))))
    made = builder.reference(created=START, model="m", independent=True)
    features = (replace(f, part_of="emb", part=PARTS[f.name]) if f.name in PARTS else f for f in made.features)
    return replace(made, features=tuple(features))


class Run:
    def __init__(self) -> None:
        self.watch: DriftWatch = watch(FAST, reference())
        self.rng, self.now = np.random.default_rng(5), START

    def ticks(self, n: int, **how: float) -> list[Entry]:
        found: list[Entry] = []
        for _ in range(n):
            self.watch.add(batch(rows(100, self.rng, **how)), self.now + 1)
            self.now += TICK
            found += self.watch.advance(self.now)
        return found


def test_one_alarm_whatever_parts_move() -> None:
    """The first part alarms for the whole, a second one adds nothing, a worse one makes it worse; it ends with all."""
    run = Run()
    run.ticks(20)
    first = [e for e in run.ticks(40, p1=0.45) if e.level == "alarm"]
    assert [(e.kind, e.feature, e.severity) for e in first] == [("alarm", "emb", "warning")]
    assert first[0].explanation.startswith("emb: projection 1: mean up by about ")
    more = run.ticks(40, p1=0.45, distance=4.0)
    assert [(e.kind, e.feature, e.severity) for e in more if e.level == "alarm"] == [("rise", "emb", "critical")]
    assert more[-1].explanation.startswith("emb: distance to its own centre: mean up")
    assert run.watch.status().drifting == ("emb",)
    assert run.watch.alarms["warning"] + run.watch.alarms["critical"] == 1
    ended = [e for e in run.ticks(150, p1=0.45) if e.level == "alarm"]
    assert ended == [], "one part still drifts"
    assert run.watch.judge is not None
    assert [latch.entry.part for (_, level), latch in run.watch.judge.latches.items() if level] == ["projection 1"]
    assert [(e.kind, e.feature) for e in run.ticks(150) if e.level == "alarm"] == [("resolved", "emb")]
    assert run.watch.state == "stable"


def test_what_is_told_speaks_of_the_whole() -> None:
    """One result, one series a gauge, one shape, by the worst part; rows without it are missing once."""
    run = Run()
    run.ticks(20)
    run.ticks(60, distance=1.5)
    run.watch.add(batch({"other": np.zeros(7)}), run.now)
    results = {r.feature: r for r in run.watch.results()}
    assert list(results) == ["emb", "other", "@model"]
    emb = results["emb"]
    assert emb.verdict == "drifting"
    assert emb.explanation.startswith("emb: distance to its own centre: mean up")
    assert emb.effect is not None
    assert emb.effect > 0.3
    assert emb.bins[0]["words"].startswith("values above ")
    assert emb.bins[0]["observed"] > emb.bins[0]["expected"]
    series = {(s.metric, s.labels[-3]): s.value for s in run.watch.samples() if "feature" in s.metric.labels}
    for metric in (EVIDENCE_RATIO, EFFECT, DISTANCE, MDE, FEATURE_MISSING):
        assert {name for m, name in series if m is metric} >= {"emb", "other"}
        assert not [name for m, name in series if m is metric and str(name).startswith("emb.")]
    assert series[FEATURE_MISSING, "emb"] == 7
    assert series[EVIDENCE_RATIO, "emb"] == pytest.approx(emb.evidence / emb.threshold)
    found = {s.feature: s for s in shapes.shapes(run.watch)}
    assert list(found) == ["emb", "other"]
    assert found["emb"].part == "distance to its own centre"


def test_the_text_for_annotations() -> None:
    """While it drifts there is a series with the same text, and none afterwards."""

    def texts(run: Run) -> list[tuple[str | None, ...]]:
        return [s.labels[:2] for s in run.watch.samples() if s.metric.name == "pilotfish_drift_explanation_info"]

    run = Run()
    run.ticks(20)
    assert texts(run) == []
    run.ticks(30, p1=1.0)
    (told,) = texts(run)
    result = next(r for r in run.watch.results() if r.feature == "emb")
    assert told == ("emb", result.explanation)
    run.ticks(200)
    assert texts(run) == []


def test_parts_that_moved_together_are_named_by_what_they_are() -> None:
    """And another stream by its name."""
    run = Run()
    run.ticks(20)
    run.ticks(30, p1=0.8, distance=2.0)
    emb = next(r for r in run.watch.results() if r.feature == "emb")
    assert set(emb.moved_together) in ({"emb: projection 1"}, {"emb: distance to its own centre"})
