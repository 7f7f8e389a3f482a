"""A look at two versions as a job of the real pf-worker: what a Snapshot and the events say of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from pilotfish_agent.drift import version_looks
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.reference import Reference
from pilotfish_core.nouns import ObservationBatch, Snapshot
from tests.pipeline.rig import Rig, number

Make = Callable[..., Rig]


@cache
def reference() -> Reference:
    """Of the rig's feature."""
    builder = ReferenceBuilder()
    rows = {"x": np.random.default_rng(3).normal(0, 1, 5_000)}
    builder.add(ObservationBatch("mine", "7", "sdk", 5_000, features=rows))
    return builder.reference(created=1.0, model="mine", version="7", independent=True)


def state(snapshot: Snapshot) -> dict[str | None, float]:
    return {s.labels[1]: number(s.value) for s in snapshot.samples if s.metric.name == "pilotfish_version_state"}


def serve(rig: Rig, seconds: int, shift: float = 0.0) -> None:
    """Every ten seconds 400 rows of version 7 and 100 of version 8."""
    for _ in range(seconds // 10):
        rig.rows(n=400, version="7")
        rig.rows(n=100, version="8", shift=shift)
        rig.step(10.0)


def test_a_new_version_is_looked_at_by_the_worker(rigged: Make) -> None:
    """One event a change of the verdict; the model's own state is another matter."""
    rig = rigged(reference=reference())
    rig.settle()
    for _ in range(5):
        rig.rows(n=400, version="7")
        rig.step(10.0)
    rig.settle()
    assert state(rig.step()) == {}
    assert rig.step().status.models[0].versions is None
    serve(rig, 60, shift=0.5)
    rig.settle()
    found = rig.step().status.models[0].versions
    assert found is not None
    assert (found["baseline"], found["candidate"], found["state"], found["looks"]) == ("7", "8", "different", 1)
    assert state(rig.step()) == {"not_enough_data": 0, "same": 0, "changed": 0, "different": 1}
    assert rig.counted("version_compared") == 1
    serve(rig, 60, shift=0.5)
    rig.settle()
    again = rig.step().status.models[0].versions
    assert again is not None
    assert again["looks"] == 2
    assert rig.counted("version_compared") == 1


def test_a_look_that_fails_is_made_again(rigged: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and a minute later tried once more."""
    rig = rigged(reference=reference())
    rig.settle()
    for _ in range(5):
        rig.rows(n=400, version="7")
        rig.step(10.0)
    rig.settle()
    real, broken = version_looks.plain, [1]

    def plain(sides: tuple[version_looks.Side, ...]) -> object:
        return [{"no": "side"}] if broken and broken.pop() else real(sides)

    monkeypatch.setattr(version_looks, "plain", plain)
    serve(rig, 60)
    rig.settle()
    assert rig.counted("worker_failed") == 1
    rig.step(60.0)
    rig.settle()
    found = rig.step().status.models[0].versions
    assert found is not None
    assert (found["looks"], found["state"]) == (1, "same")
