"""`pilotfish reload`, SIGHUP and `reference accept`, on a real agent beside a real model."""

from __future__ import annotations

import json
import pathlib
import signal
import socket
import subprocess
import sys
from typing import Any

import numpy as np

from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_core.nouns import ObservationBatch
from tests.agent.live import SCRIPT, Live, until

ROWS = 3_000


def reference(path: pathlib.Path, *, age: float = 40.0, colour: str = "abc") -> str:
    """Writes what the toy model of `tests.agent.live` sends; its id."""
    rng = np.random.default_rng(1)
    builder = ReferenceBuilder()
    features = {"age": rng.normal(age, 10, ROWS), "color": rng.choice(list(colour), ROWS).tolist()}
    prediction = rng.choice(["yes", "no"], ROWS).tolist()
    builder.add(ObservationBatch("toy", None, "sdk", ROWS, features=features, prediction=prediction))
    made = builder.reference(created=1.0, model="toy", independent=True)
    path.write_text(made.to_json())
    return made.id


def pilotfish(live: Live, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the agent's user."""
    return subprocess.run([SCRIPT, *words], env=live.env, capture_output=True, text=True, timeout=120)


def request(live: Live, line: bytes) -> dict[str, Any]:
    """What control.sock answers to a line."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(live.root / "run/toy/control.sock"))
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        return dict(json.loads(connection.makefile("rb").readline()))


def judged(live: Live) -> bool:
    """Whether there is evidence."""
    return live.model().get("state") in {"stable", "drifting"}


def test_reload_takes_all_or_nothing(live: Live) -> None:
    """Under `run`: a new reference, another budget; a bad file keeps what is in force and says so everywhere."""
    config, ref = live.root / "pilotfish.yaml", live.root / "ref.json"
    first = reference(ref)
    config.write_text("drift: {tick: 1s, dependence: 1}\nmodels: [{match: 'to*', reference: ref.json}]\n")
    live.start("--config", str(config))
    until(lambda: judged(live), "evidence")
    assert live.model()["reference_id"] == first
    done = pilotfish(live, "reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "toy: read anew; nothing that concerns evidence has changed\n"

    second = reference(ref, colour="abcd")
    done = pilotfish(live, "reload")
    told = f"toy: toy: reference {first} -> {second}: evidence of 1 of 3 streams restarts (color)\n"
    assert (done.returncode, done.stdout) == (0, told)
    until(lambda: live.model().get("reference_id") == second, "the new reference in force")

    read_at = live.metric("pilotfish_config_last_reload_success_timestamp_seconds")
    config.write_text(
        "drift: {tick: 1s, dependence: 1, min_efect: .2}\nmodels: [{match: 'to*', reference: ref.json}]\n"
    )
    done = pilotfish(live, "reload")
    assert done.returncode == 2
    assert done.stderr.startswith(f"pilotfish: {config}:1: unknown key `drift.min_efect`")
    until(lambda: live.metric("pilotfish_config_last_reload_successful") == 0.0, "the metric to say so")
    assert live.metric("pilotfish_config_last_reload_success_timestamp_seconds") == read_at
    assert any(n.startswith("reload failed: ") for n in live.status()["notices"])
    assert live.model()["reference_id"] == second

    config.write_text(
        "drift: {tick: 1s, dependence: 1, false_alarms: 1 per 7d}\nlabels: {team: risk}\nsample: {interval: 3s}\n"
    )
    done = pilotfish(live, "reload")
    assert "no reference is given any more: a new one is learnt" in done.stdout
    assert "sample has changed: restart the agent for it" in done.stdout
    until(lambda: live.metric("pilotfish_config_last_reload_successful{team=") == 1.0, "the label and the success")
    assert live.status()["budget"]["false_alarms"] == "1 per 7d"
    assert live.metric("pilotfish_config_last_reload_success_timestamp_seconds") != read_at


def test_sighup_reloads_and_control_sock_is_for_its_user(live: Live) -> None:
    """Under `attach`; what is no request is refused, one line each way."""
    ref = live.root / "ref.json"
    first = reference(ref)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as model:
        try:
            live.attach("--pid", str(model.pid), "--model", "toy", "--reference", str(ref))
            until(lambda: live.model().get("reference_id") == first, "the reference")
            second = reference(ref, age=50)
            assert live.process is not None
            live.process.send_signal(signal.SIGHUP)
            until(lambda: live.model().get("reference_id") == second, "the new reference")
            ref.write_text("{}")
            live.process.send_signal(signal.SIGHUP)
            until(lambda: "reload_failed" in live.log, "the refusal in the log")
            assert live.model()["reference_id"] == second

            path = live.root / "run/toy/control.sock"
            assert path.stat().st_mode & 0o777 == 0o600
            for line in (b"", b"nonsense\n", b"[]\n", b'{"do": "explode"}\n', b"x" * 100_000):
                answer = request(live, line)
                assert (answer["ok"], answer["code"]) == (False, 2), line
            assert request(live, b'{"do": "accept", "model": "nobody"}\n')["code"] == 2
        finally:
            model.kill()
    live.stop()
    assert not (live.root / "run/toy/control.sock").exists()


def test_accept_makes_the_shift_the_new_normal(live: Live) -> None:
    """The alarm ends, the reference changes for the shifted stream alone, and a restarted agent remembers it."""
    ref = live.root / "ref.json"
    first = reference(ref)
    live.start("--reference", str(ref), PILOTFISH_DRIFT_TICK="1s")
    until(lambda: judged(live), "evidence")
    assert pilotfish(live, "reference", "accept").returncode == 2, "nothing to accept yet"
    (live.root / "shift").touch()
    until(lambda: live.model().get("state") == "drifting", "the alarm")
    until(lambda: pilotfish(live, "reference", "accept").returncode == 0, "500 rows since the change")
    until(lambda: live.model().get("reference_id") not in (None, first), "the accepted reference")
    until(lambda: live.model().get("state") == "stable", "calm")
    accepted = live.model()["reference_id"]
    pid = live.status()["processes"]["agent"]
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    until(lambda: live.status().get("processes", {}).get("agent") not in (None, pid), "the next agent")
    until(lambda: judged(live), "its evidence")
    assert (live.model()["state"], live.model()["reference_id"]) == ("stable", accepted)
