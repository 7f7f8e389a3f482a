"""`pilotfish run` end to end: the real agent beside a real process."""

import csv
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys

import pytest

from tests.agent.live import Live, until


def reference(path: pathlib.Path, rows: int = 6_000) -> str:
    draw = random.Random(7)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["age", "color", "answer"])
        out.writerows(
            [f"{draw.gauss(40, 10):.9g}", draw.choice("abc"), draw.choice(["yes", "no"])] for _ in range(rows)
        )
    return str(path)


def test_hardware_requests_and_predictions_are_on_the_page(live: Live) -> None:
    """The three signals of one process, in Prometheus terms."""
    live.start()
    until(lambda: live.metric(r"pilotfish_observations_total\{source=\"sdk\"\}"), "rows")
    assert live.metric("pilotfish_process_cpu_seconds_total") is not None
    assert live.metric("pilotfish_process_resident_memory_bytes") or 0 > 1 << 20
    assert live.metric(r"pilotfish_target_up") == 1.0
    assert live.metric(r'pilotfish_requests_total\{[^}]*model="toy",model_version="7"') or 0 > 0
    assert live.get("/-/ready") == "ready\n"
    status = live.status()
    assert status["target"]["up"] is True
    assert live.process is not None
    assert status["target"]["pid"] == live.process.pid
    assert {"agent", "guard"} <= set(status["processes"])


def test_a_shift_alarms_and_names_the_stream(live: Live) -> None:
    """Clean rows give no alarm, shifted ones do, with the stream and the direction in the explanation."""
    data = reference(live.root / "data.csv")
    ref = str(live.root / "ref.json")
    built = ["reference", "build", data, "-o", ref, "--prediction-column", "answer", "--independent"]
    subprocess.run([sys.executable, "-m", "pilotfish_agent", *built], check=True, capture_output=True, env=live.env)
    live.start("--reference", ref, PILOTFISH_DRIFT_TICK="1s")
    until(lambda: live.model().get("state") == "stable", "the clean phase")
    assert not [d for d in live.status()["drift"] if d["severity"] in {"warning", "critical"}]
    (live.root / "shift").touch()
    found = until(lambda: [d for d in live.status()["drift"] if d["severity"] in {"warning", "critical"}], "an alarm")
    assert found[0]["feature"] == "age"
    assert "mean up" in found[0]["explanation"]
    assert live.metric(r'pilotfish_drift_state\{[^}]*state="drifting"') == 1.0
    assert "drift_alarm" in live.log


def test_evidence_survives_a_killed_agent(live: Live) -> None:
    """kill -9 of the agent: the model goes on, a new agent takes up state and counts its restart."""
    live.start()
    until(lambda: live.metric("pilotfish_observations_total"), "rows")
    first = live.status()["processes"]["agent"]
    os.kill(first, signal.SIGKILL)
    until(lambda: live.status().get("processes", {}).get("agent", first) != first, "a new agent")
    assert live.process is not None
    assert live.process.poll() is None
    assert live.metric(r'pilotfish_component_restarts_total\{component="agent"\}') == 1.0
    until(lambda: live.metric("pilotfish_observations_total"), "rows at the new agent")


def test_the_exit_code_is_the_models_and_nothing_of_ours_stays(live: Live) -> None:
    """When the model ends its exit code comes through, its end is recorded, and the agent is gone."""
    live.start()
    until(lambda: live.metric("pilotfish_observations_total"), "rows")
    pids = live.status()["processes"]
    (live.root / "leave").touch()
    assert live.process is not None
    assert live.process.wait(30) == 3
    until(lambda: not any(os.path.exists(f"/proc/{pids[name]}") for name in ("agent", "guard")), "ours to leave")
    last = json.loads((live.root / "state/toy/last_exit.json").read_text())
    assert last["pid"] == live.process.pid


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--config", "{root}/bad.yaml"), "drift.tick"),
        (("--reference", "{root}/none.json"), "--reference"),
        (("--capture", "all"), "--capture"),
        (("--intake-group", "nobody-has-this"), "--intake-group"),
    ],
)
def test_bad_input_never_stops_the_model(live: Live, options: tuple[str, ...], words: str) -> None:
    """One line on stderr, the agent runs on what is good."""
    (live.root / "bad.yaml").write_text("drift: {tick: soon}\n")
    live.start(*(o.format(root=live.root) for o in options))
    until(lambda: live.metric("pilotfish_observations_total"), "rows")
    lines = [line for line in live.err.splitlines() if words in line]
    assert len(lines) == 1, live.err
    assert live.metric("pilotfish_config_last_reload_successful") == 0.0
    assert any(words in notice for notice in live.status()["notices"])


def test_a_taken_port_is_told_and_monitoring_goes_on(live: Live) -> None:
    """The line names the address; the agent listens as soon as the port is free."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        live.start("--listen", f"127.0.0.1:{port}")
        until(lambda: f"127.0.0.1:{port}" in live.err, "the line")
        assert "retrying" in live.err
    assert live.address() == f"127.0.0.1:{port}"
    until(lambda: live.metric("pilotfish_observations_total"), "rows")


def test_an_address_file_that_cannot_be_written_is_no_end(live: Live) -> None:
    """The start line has the address all the same."""
    blocked = live.root / "run/toy/address/full"
    blocked.mkdir(0o700, parents=True)
    live.start()
    until(lambda: "metrics on http://127.0.0.1:" in live.err, "the start line")
    assert "address" in live.err.splitlines()[0]
    blocked.rmdir()
    blocked.parent.rmdir()


def test_a_data_file_serves_as_reference(live: Live) -> None:
    """`--reference` takes any data file: one is built first, by another process, as the configuration says."""
    (live.root / "good.yaml").write_text("features: {ignore: [color]}\n")
    data = reference(live.root / "data.csv", rows=2_000)
    live.start("--reference", data, "--config", str(live.root / "good.yaml"))
    until(lambda: live.model().get("reference_rows") == 2_000, "the reference")
    tested = [d["feature"] for d in live.status()["drift"] if d["reason"] != "not_in_reference"]
    assert "age" in tested
    assert "color" not in tested
