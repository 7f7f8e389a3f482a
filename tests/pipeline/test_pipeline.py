"""One step: rows in, a Snapshot out."""

import math
import pathlib
import subprocess
from collections.abc import Callable

import pytest

from pilotfish_agent.drift import worker
from pilotfish_agent.pipeline import attribution
from pilotfish_core.nouns import Snapshot
from tests.pipeline.rig import Rig, number

Make = Callable[..., Rig]


def values(snapshot: Snapshot, name: str) -> dict[tuple[str | None, ...], object]:
    return {s.labels: s.value for s in snapshot.samples if s.metric.name == name}


def test_a_snapshot_comes_with_the_first_step_and_then_each_interval(rigged: Make) -> None:
    """Not more often than sample.interval, and one, not ten, after a pause."""
    rig = rigged()
    first = rig.step(0.0)
    assert first.status.target["up"] is True
    assert rig.step(0.5) is first
    second = rig.step(0.5)
    assert second is not first
    third = rig.step(30.0)
    assert rig.step(0.0) is third
    assert rig.step(0.5) is third


def test_the_next_step_is_due_with_the_next_sample(rigged: Make) -> None:
    """Each step wakes threads, which costs more than what it does: no more of them than there is work for."""
    rig = rigged()
    rig.step(0.0)
    assert rig.pipeline.rest() == pytest.approx(1.0)
    rig.clock.advance(0.75)
    assert rig.pipeline.rest() == pytest.approx(0.25)
    rig.clock.advance(5.0)
    assert rig.pipeline.rest() == 0.0


def test_rows_without_a_model_name_belong_to_the_agents_own(rigged: Make) -> None:
    """`Monitor()` without a name takes the agent's."""
    rig = rigged()
    rig.rows(model="")
    snapshot = rig.step()
    assert [m.model for m in snapshot.status.models] == ["mine"]
    assert values(snapshot, "pilotfish_requests_total") == {("me", "mine", None, "sdk", "predict", "none"): 50.0}


def test_models_and_versions_are_bounded(rigged: Make) -> None:
    """Names that never end share one label."""
    rig = rigged()
    for i in range(attribution.MAX_MODELS + 5):
        rig.rows(model=f"m{i}")
    for i in range(attribution.MAX_VERSIONS + 5):
        rig.rows(model="m0", version=f"v{i}")
    snapshot = rig.step()
    requests = values(snapshot, "pilotfish_requests_total")
    assert len({labels[1] for labels in requests}) == attribution.MAX_MODELS + 1
    versions = {labels[2] for labels in requests if labels[1] == "m0"}
    assert attribution.OTHER in versions
    assert len(versions - {None}) <= attribution.MAX_VERSIONS + 1
    sent = attribution.MAX_MODELS + 5 + attribution.MAX_VERSIONS + 5
    assert sum(map(number, requests.values())) == 50.0 * sent


def test_learning_builds_tables_in_a_worker_and_alarms_on_a_shift(rigged: Make) -> None:
    """From nothing to a provisional reference to an alarm that is told once, all by rows and time."""
    rig = rigged(tick=1.0)
    for _ in range(12):
        rig.rows()
        rig.step()
    rig.settle()
    for _ in range(20):
        rig.rows()
        snapshot = rig.step()
    assert snapshot.status.models[0].state == "provisional"
    rig.settle()
    for _ in range(20):
        rig.rows(shift=1.5)
        snapshot = rig.step()
    assert snapshot.status.models[0].drifting == ("x",)
    assert snapshot.status.models[0].severity == "info", "a provisional reference never pages"
    assert rig.counted("drift_alarm") == 1.0


def test_state_goes_on_after_a_restart(rigged: Make, tmp_path: pathlib.Path) -> None:
    """A second agent over the same folder goes on where the first stopped; a damaged file is moved aside."""
    rig = rigged(tick=1.0)
    for _ in range(15):
        rig.rows()
        rig.step()
    rig.settle()
    rig.pipeline.finish()
    kept = list(tmp_path.glob("model-*.ckpt"))
    assert len(kept) == 1
    again = rigged(tick=1.0)
    again.rows(n=1)
    again.step()
    again.settle()
    assert again.step().status.models[0].reference_rows >= 500
    again.pipeline.finish()
    kept[0].write_bytes(b"garbage")
    third = rigged(tick=1.0)
    third.rows(n=1)
    assert third.step().status.models[0].state == "learning"
    assert third.counted("state_unreadable") == 1.0
    assert list(tmp_path.glob("*.unreadable"))


def test_a_failed_job_is_told_and_tried_again(rigged: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent goes on without verdicts, and asks again after a minute."""
    monkeypatch.setattr(worker, "_START", "import sys; sys.exit('no memory for tables')")
    rig = rigged(tick=1.0)
    for _ in range(12):
        rig.rows()
        rig.step()
    rig.settle()
    assert rig.counted("worker_failed") == 1.0
    rig.step(30.0)
    assert rig.counted("worker_failed") == 1.0
    monkeypatch.undo()
    rig.step(31.0)
    rig.settle()
    assert rig.step().status.models[0].state in {"not_enough_data", "provisional"}
    assert "building" not in rig.step().status.models[0].words
    rig.pipeline.finish()


def test_an_unwritable_state_folder_is_told_and_costs_nothing_else(rigged: Make, tmp_path: pathlib.Path) -> None:
    """State goes to memory only."""
    rig = rigged(tmp_path / "missing")
    rig.rows()
    rig.step(61.0)
    rig.step(61.0)
    assert rig.counted("state_unwritable") >= 1.0


def test_no_job_outlives_the_pipeline(rigged: Make) -> None:
    """`finish` ends a running worker."""
    rig = rigged(tick=1.0)
    for _ in range(11):
        rig.rows()
        snapshot = rig.step()
    pid = snapshot.status.processes["worker"]
    rig.pipeline.finish()
    if pid is not None:
        assert subprocess.run(["ps", "-p", str(pid)], capture_output=True).returncode == 1


def test_a_start_of_the_process_is_known_to_its_models(rigged: Make) -> None:
    """To one that was there and to one that comes later, once each."""
    rig = rigged()
    rig.rows()
    for _ in range(3):
        rig.step()
    rig.rows("other")
    rig.step()
    for model in rig.pipeline._models.values():
        assert [h.words for h in model.watch.standing.happenings.between(0.0, 1e18)] == ["me started"]


def test_models_share_one_budget_where_that_is_asked_for(rigged: Make) -> None:
    """Each has a part of it, a new model makes the parts smaller, and a restart knows how many there were."""
    rig = rigged(budget_scope="agent", replicas=2)
    rig.rows("a", 600)
    rig.step()
    rig.settle()
    alone = rig.drift_threshold("a")
    rig.rows("b", 600)
    rig.step()
    rig.settle()
    assert rig.drift_threshold("a") == pytest.approx(alone + math.log(2))
    assert rig.counted("evidence_restarts") == 1
    assert rig.step().status.budget == {
        "false_alarms": "1 per 30d",
        "implied_total": "1 per 30d over 2 replicas",
        "scope": "agent",
    }
    rig.pipeline.finish()
    again = rigged(budget_scope="agent", replicas=2)
    again.rows("a", 10)
    again.step()
    again.settle()
    assert again.drift_threshold("a") == pytest.approx(alone + math.log(2))
