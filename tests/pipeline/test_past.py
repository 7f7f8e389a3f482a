"""Alerts that the agent tells by itself, and the history over a kill and a damaged file."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import signal
from dataclasses import replace

from pilotfish_agent.drift.gauges import SEVERITY
from pilotfish_agent.pipeline.alerts import Alerts
from pilotfish_agent.pipeline.targets import TARGET_UP
from pilotfish_agent.probe._runner import SUCCESS
from pilotfish_agent.state import files
from pilotfish_agent.state.history import History
from pilotfish_core.metrics import Sample
from tests.pipeline.rig import Rig
from tests.standard import DRIFT, standard_snapshot

AT = 1_700_000_000.0


def severity(word: str) -> list[Sample]:
    """Of one model."""
    return [Sample(SEVERITY, (s, "digits", None), float(s == word)) for s in ("none", "info", "warning", "critical")]


def test_drift_fires_at_once_and_names_its_streams() -> None:
    """The rule's own words, filled; info is no alert."""
    alerts = Alerts("here")
    (alert,) = alerts.update(severity("warning"), AT, lambda: DRIFT)
    assert alert["labels"] == {
        "alertname": "PilotfishDriftWarning", "severity": "warning", "instance": "here", "model": "digits"
    }  # fmt: skip
    assert alert["state"] == "firing"
    assert alert["startsAt"] == "2023-11-14T22:13:20.000Z"
    description = alert["annotations"]["description"]
    assert f"threshold: pixel_07. {DRIFT[1].explanation}. The agent's page" in description, "as on the page, in the log"
    assert "{{" not in "".join(alert["annotations"].values())
    assert alerts.update(severity("info"), AT + 1, lambda: DRIFT) == ()


def test_what_must_hold_is_pending_until_it_has() -> None:
    """Down for a minute, failing for two; what is well again begins anew."""
    alerts = Alerts("here")
    bad = [Sample(TARGET_UP, ("digits",), 0.0), Sample(SUCCESS, ("canary",), 0.0)]
    states = {
        seconds: {a["labels"]["alertname"]: a["state"] for a in alerts.update(bad, AT + seconds, tuple)}
        for seconds in (0, 59, 60, 119, 120)
    }
    down = {s: found["PilotfishTargetDown"] for s, found in states.items()}
    assert down == {0: "pending", 59: "pending", 60: "firing", 119: "firing", 120: "firing"}
    assert [states[s]["PilotfishProbeFailing"] for s in (119, 120)] == ["pending", "firing"]
    assert alerts.update([Sample(TARGET_UP, ("digits",), 1.0)], AT + 130, tuple) == ()
    assert {a["state"] for a in alerts.update(bad, AT + 140, tuple)} == {"pending"}


def test_a_clock_set_back_does_not_move_an_alert_into_the_future() -> None:
    """It began no later than now."""
    alerts = Alerts("here")
    alerts.update(severity("critical"), AT, tuple)
    (alert,) = alerts.update(severity("critical"), AT - 3600, tuple)
    assert alert["startsAt"] == "2023-11-14T21:13:20.000Z"


def test_the_history_goes_on_after_a_restart(tmp_path: pathlib.Path) -> None:
    """Saved at the end, there again at the start, with what is known of the time between: nothing."""
    first = Rig(tmp_path)
    for _ in range(4):
        first.step(10)
    first.pipeline.finish()
    listed, length = first.history.series(), len(first.history.past(None, 3600).at)
    assert listed
    second = Rig(tmp_path)
    assert second.history.series() == listed
    assert len(second.history.past(None, 3600).at) == length
    second.pipeline.finish()


def test_a_damaged_history_is_moved_aside(tmp_path: pathlib.Path) -> None:
    """One event; the agent goes on without, and the file is kept for who wants to look."""
    path = tmp_path / "history.ckpt"
    path.write_bytes(b"PFSTATE1 and then something else")
    rig = Rig(tmp_path)
    assert rig.counted("state_unreadable") == 1
    assert rig.history.series() == []
    assert (tmp_path / "history.ckpt.unreadable").exists()
    rig.step()
    assert rig.history.series()
    rig.pipeline.finish()


def _saving(path: str) -> None:
    history = History()
    for number in range(10_000):
        history.add(replace(standard_snapshot(), at=AT + 10 * number))
        files.write_atomic(path, *history.checkpoint())


def test_a_kill_while_saving_leaves_a_whole_history(tmp_path: pathlib.Path) -> None:
    """Killed at any moment: the file is the old one or the new one."""
    path = str(tmp_path / "history.ckpt")
    for wait in (0.0, 0.013, 0.031):
        process = multiprocessing.get_context("fork").Process(target=_saving, args=(path,))
        process.start()
        while not os.path.exists(path):
            process.join(0.01)
        process.join(wait)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        content = files.read_checked(path)
        assert content is not None
        history = History()
        history.restore(content)
        assert history.series()
