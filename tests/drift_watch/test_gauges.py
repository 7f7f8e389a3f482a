"""The metrics of drift and predictions: names, labels, values."""

from __future__ import annotations

from array import array
from dataclasses import replace

import numpy as np
import pytest

from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.report import RECOUNT
from pilotfish_agent.drift.watch import METRICS, DriftWatch
from pilotfish_core.metrics import Distribution, Sample
from pilotfish_core.nouns import ObservationBatch
from tests.drift_watch.world import FAST, START, TICK, Runner, World, batch, give_tables, reference, watch

Series = dict[tuple[str, tuple[str | None, ...]], float | Distribution]


def series(samples: tuple[Sample, ...]) -> Series:
    found = {(s.metric.name.removeprefix("pilotfish_"), s.labels): s.value for s in samples}
    assert len(found) == len(samples), "a series stands there twice"
    return found


def of(samples: Series, name: str) -> dict[tuple[str | None, ...], float | Distribution]:
    """The series of one metric by their own labels; those of the model are the last two."""
    return {labels[:-2]: value for (metric, labels), value in samples.items() if metric == name}


def test_every_sample_is_declared_and_labelled() -> None:
    """Label values fit the declaration; model and version come last; an unknown version is absent."""
    run = Runner(watch(), World(21))
    run.ticks(5)
    declared = {m.name for m in METRICS}
    for sample in run.watch.samples():
        assert sample.metric.name in declared
        assert len(sample.labels) == len(sample.metric.labels)
        assert sample.labels[-2:] == ("m", None)
    run.watch.add(batch(World(1).rows(5), version="7"), run.now)
    assert {s.labels[-2:] for s in run.watch.samples()} == {("m", "7")}
    assert {s.labels[-2:] for s in run.watch.samples("other", "8")} == {("other", "8")}


def test_distances_that_are_asked_for() -> None:
    """Each by its name, where it says something: KS has no order of levels; none where none is asked for."""
    for wanted in (("psi", "ks_binned", "hellinger", "total_variation"), ()):
        run = Runner(watch(replace(FAST, distances=wanted)), World(22))
        run.ticks(30)
        got = of(series(run.watch.samples()), "drift_distance")
        assert {name for name, _ in got} == set(wanted)
        assert ("ks_binned", "colour") not in got
        assert all(isinstance(v, float) and 0 <= v < 0.2 for v in got.values())


def test_gauges_of_stable_data() -> None:
    """Every family of the contract is there with plausible numbers."""
    run = Runner(watch(), World(22))
    run.ticks(100)
    got = series(run.watch.samples())
    ratio = of(got, "drift_evidence_ratio")
    assert set(ratio) == {("x",), ("y",), ("colour",), ("@model",)}
    assert all(isinstance(v, float) and 0 <= v < 1 for v in ratio.values())
    assert set(of(got, "drift_effect")) == {("x",), ("y",), ("colour",)}
    assert all(isinstance(v, float) and v < 0.12 for v in of(got, "drift_effect").values())
    assert all(isinstance(v, float) and v < 0.005 for v in of(got, "drift_distance").values())
    assert set(of(got, "drift_distance")) == {("js", "x"), ("js", "y"), ("js", "colour")}
    mde = of(got, "drift_minimum_detectable_effect")
    assert set(mde) == {("x",), ("y",)}
    assert mde["x",] == pytest.approx(0.2, abs=0.06)
    assert of(got, "drift_state") == {
        (s,): float(s == "stable") for s in ("drifting", "learning", "not_enough_data", "provisional", "stable")
    }
    assert of(got, "drift_alert_severity") == {
        (s,): float(s == "none") for s in ("none", "info", "warning", "critical")
    }
    assert of(got, "drift_features_drifting") == {(): 0.0}
    assert of(got, "drift_evidence_threshold_nats")[()] == pytest.approx(np.log(2 * 259_200 * 3))
    assert of(got, "drift_reference_rows") == {(): 10_000.0}
    assert of(got, "drift_last_run_timestamp_seconds") == {(): run.now}
    assert of(got, "reference_info") == {(reference().id,): 1.0}
    assert of(got, "drift_alarms_total") == {("info",): 0.0, ("warning",): 0.0, ("critical",): 0.0}
    weight = sum(np.exp(-0.01) ** k * 100 for k in range(100))
    assert of(got, "drift_window_rows")[()] == pytest.approx(weight, abs=1)


def test_gauges_of_a_drift() -> None:
    """Evidence ratio above 1, the effect of the rows since it began, severity and counter at the transition."""
    run = Runner(watch(), World(23))
    run.ticks(50)
    run.ticks(60, shift=0.6)
    got = series(run.watch.samples())
    assert of(got, "drift_evidence_ratio")["x",] > 1  # type: ignore[operator]
    assert of(got, "drift_evidence_ratio")["@model",] < 1, "x is told by itself"  # type: ignore[operator]
    assert of(got, "drift_effect")["x",] == pytest.approx(0.62, abs=0.08)
    assert of(got, "drift_distance")["js", "x"] == pytest.approx(0.02, abs=0.015)
    assert of(got, "drift_state")["drifting",] == 1
    assert of(got, "drift_features_drifting")[()] == 1
    counts = of(got, "drift_alarms_total")
    assert counts["warning",] + counts["critical",] == 1  # type: ignore[operator]


def test_samples_are_computed_once_a_tick() -> None:
    """Asked again without news the same gauges are handed out; a row moves the counters a few questions later."""
    run = Runner(watch(), World(24))
    run.ticks(3)
    first, second = run.watch.samples(), run.watch.samples()
    assert all(a is b for a, b in zip(first, second, strict=True))
    before = of(series(first), "feature_missing_total")
    run.watch.add(batch({"x": np.array([np.nan])}), run.now)
    asked = [of(series(run.watch.samples()), "feature_missing_total") for _ in range(RECOUNT)]
    assert asked[0] == before, "one row of hundreds"
    assert asked[-1] == {stream: count + 1 for stream, count in before.items()}  # type: ignore[operator]
    run.watch.add(batch({"x": np.array([np.nan])}), run.now)
    run.watch.recount()
    assert of(series(run.watch.samples()), "feature_missing_total")["x",] == asked[-1]["x",] + 1  # type: ignore[operator]


def test_nothing_before_there_is_something() -> None:
    """Absent is not 0: without tables no evidence, without rows no effect, without a reference only the state."""
    made = DriftWatch("m", reference(), FAST)
    names = {s.metric.name.removeprefix("pilotfish_") for s in made.samples()}
    assert not names & {"drift_evidence_ratio", "drift_effect", "drift_distance", "drift_last_run_timestamp_seconds"}
    bare = DriftWatch("m", None, FAST)
    assert {s.metric.name.removeprefix("pilotfish_") for s in bare.samples()} == {
        "drift_state",
        "drift_alert_severity",
        "drift_alarms_total",
    }


def predictions(world: World, n: int) -> ObservationBatch:
    p = world.rng.dirichlet([4.0, 2.0, 1.0], n)
    return ObservationBatch(
        "m", None, "sdk", n, {"x": world.rng.normal(size=n)}, probabilities=array("d", p.ravel().tolist()), n_classes=3
    )


def test_classes_and_scores() -> None:
    """Probabilities feed the class counter and the score histogram; classes the reference lacks are `other`."""
    world, builder = World(25), ReferenceBuilder()
    builder.add(predictions(world, 3000))
    made = DriftWatch("m", builder.reference(created=START, independent=True), FAST)
    give_tables(made)
    made.add(predictions(world, 1000), START)
    made.add(
        ObservationBatch("m", None, "sdk", 2, probabilities=[0, 0, 0, 1, 0, 0, 1, 0], n_classes=4),
        START,
    )
    got = series(made.samples())
    classes = of(got, "predictions_total")
    assert set(classes) == {("0",), ("1",), ("2",), ("other",)}
    assert sum(classes.values()) == 1002  # type: ignore[arg-type]
    assert classes["other",] == 1
    scores = of(got, "prediction_score")[()]
    assert isinstance(scores, Distribution)
    assert sum(scores.counts) == 1002
    assert scores.counts[-2] >= 2  # the two scores of 1
    assert scores.total == pytest.approx(sum(scores.counts) * 0.66, rel=0.1)
    made.advance(START + TICK)
    assert series(made.samples())["prediction_score", ("m", None)] == scores


def test_values() -> None:
    """Predicted values: no class label, a histogram whose edges are quantiles of the reference."""
    world, builder = World(26), ReferenceBuilder()
    builder.add(batch({"x": world.rng.normal(size=2000)}, prediction=world.rng.normal(size=2000)))
    made = DriftWatch("m", builder.reference(created=START, independent=True), FAST)
    made.add(batch({}, rows=4, prediction=np.array([-50.0, 0.0, 50.0, np.nan])), START)
    got = series(made.samples())
    assert of(got, "predictions_total") == {(None,): 3.0}
    values = of(got, "prediction_value")[()]
    assert isinstance(values, Distribution)
    assert values.counts[0] == 1
    assert values.counts[-1] == 1
    assert sum(values.counts) == 3
    metric = next(s.metric for s in made.samples() if s.metric.name == "pilotfish_prediction_value")
    assert len(metric.buckets) == 10
    assert metric.buckets[0] == pytest.approx(-2.3, abs=0.3)


def test_classes_without_a_reference() -> None:
    """While learning, classes are `other` and values have no class: nothing unlisted leaves the process."""
    made = DriftWatch("m", None, FAST)
    made.add(batch({"a": np.zeros(2)}, prediction=["secret", None]), START)
    made.add(batch({"a": np.zeros(2)}, prediction=np.array([1.0, np.nan])), START)
    assert of(series(made.samples()), "predictions_total") == {("other",): 1.0, (None,): 1.0}


def test_private_names_are_not_shown() -> None:
    """A feature the reference lacks is named in notices and results, unless its name looks like private data."""
    made = watch()
    made.add(batch({"new": np.zeros(3), "ola@example.org": np.zeros(3)}), START)
    assert "new" in [r.feature for r in made.results()]
    assert "example.org" not in str([*made.results(), *made.notices])
