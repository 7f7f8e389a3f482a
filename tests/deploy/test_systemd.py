"""The units: what systemd's own tools say of them, and the agent started as they start it."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from pilotfish_agent.launch import exitstatus
from tests.agent.live import Live, until
from tests.deploy import units
from tests.deploy.manager import listening
from tests.deploy.units import Unit
from tests.system import needs

ANALYZE = needs("systemd-analyze", package="systemd")
ALL = ("tier-2.conf", "tap.conf", "gpu.conf")
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@ANALYZE
@pytest.mark.parametrize("drop_ins", [(), ("tier-2.conf",), ("tap.conf",), ("gpu.conf",), ALL])
def test_systemd_understands_every_line(drop_ins: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    """`verify` prints nothing for either unit, whatever is dropped in, nor for a model's unit under `run`."""
    units.lay_out(tmp_path, *drop_ins)
    for unit in ("pilotfish.service", "pilotfish@fraud.service", "fraud.service"):
        assert units.verify(tmp_path, unit) == ""


@ANALYZE
def test_a_line_it_does_not_understand_would_be_seen(tmp_path: pathlib.Path) -> None:
    """The mutant: an unknown key, which `verify` forgives with exit 0."""
    units.lay_out(tmp_path)
    path = tmp_path / "etc/systemd/system/pilotfish.service.d/mutant.conf"
    path.write_text("[Service]\nWatchdogSeconds=30\n")
    assert "Unknown key" in units.verify(tmp_path, "pilotfish.service")


@ANALYZE
@pytest.mark.parametrize("unit", ["pilotfish.service", "pilotfish@fraud.service"])
def test_the_sandbox_is_tight(unit: str, tmp_path: pathlib.Path) -> None:
    """Each right costs what it must, and no more."""
    limits = {(): 2.0, ("gpu.conf",): 2.2, ("tier-2.conf",): 2.5, ("tier-2.conf", "tap.conf"): 2.8}
    for number, (drop_ins, limit) in enumerate(limits.items()):
        root = tmp_path / str(number)
        units.lay_out(root, *drop_ins)
        assert units.exposure(root, unit) <= limit


def test_both_units_are_the_same_but_for_what_they_watch() -> None:
    """A change of one sandbox is a change of the other."""
    one, template = (units.service(units.FOLDER / f"pilotfish{end}.service") for end in ("", "@"))
    assert {k for k in one | template if one.get(k) != template.get(k)} == {"ExecStart", "EnvironmentFile"}


@ANALYZE
def test_the_user_and_the_folders_can_be_made(tmp_path: pathlib.Path) -> None:
    """systemd-sysusers makes the user, systemd-tmpfiles the folders with the modes that the agent accepts."""
    (tmp_path / "etc").mkdir()
    for tool, file in (("systemd-sysusers", "sysusers.conf"), ("systemd-tmpfiles", "tmpfiles.conf")):
        words = [
            tool,
            f"--root={tmp_path}",
            *(["--create"] if tool.endswith("files") else []),
            str(units.FOLDER / file),
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    user = next(line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines())
    assert (user[0], user[5]) == ("pilotfish", "/var/lib/pilotfish")
    modes = {name: (tmp_path / name).stat().st_mode & 0o7777 for name in ("run/pilotfish", "var/lib/pilotfish")}
    assert modes == {"run/pilotfish": 0o711, "var/lib/pilotfish": 0o700}


def stopped(pid: int) -> bool:
    """Whether a process has been stopped by a signal."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.fixture
def unit(tmp_path: pathlib.Path) -> Unit:
    """Not started yet."""
    return Unit(tmp_path)


def test_the_unit_notifies_and_feeds_the_watchdog(unit: Unit) -> None:
    """READY once it serves, STATUS as the target comes and goes, WATCHDOG only while it runs, STOPPING at the end."""
    (unit.root / "p.yaml").write_text("target: {name: serve_toy}\nmodel: {name: toy}\n")
    model = subprocess.Popen([*SLEEP, "serve_toy"])
    try:
        with listening(f"{unit.root}/notify") as heard:
            unit.start_unit("pilotfish.service", heard, PILOTFISH_CONFIG=str(unit.root / "p.yaml"))
            assert unit.process is not None
            until(heard.hear, "a first message")
            assert heard.hear()[0] == {
                "READY": "1",
                "STATUS": f"watching PID {model.pid} (serve_toy), metrics on http://{unit.address()}/metrics, "
                f"log {unit.root}/state/toy/agent.log",
            }
            assert unit.get("/-/ready"), "it serves when it says so"
            model.kill()
            model.wait()
            until(lambda: any(m.get("STATUS", "").startswith("waiting for serve_toy,") for m in heard.hear()), "STATUS")
            until(lambda: heard.hear().count({"WATCHDOG": "1"}) > 2, "signs of life")

            unit.process.send_signal(signal.SIGHUP)
            until(lambda: '"kind": "reloaded"' in unit.log, "the reload")

            unit.process.send_signal(signal.SIGSTOP)
            until(lambda: stopped(unit.process.pid), "the stop")  # type: ignore[union-attr]
            quiet = len(heard.hear())
            time.sleep(1.5)  # three limits
            assert len(heard.hear()) == quiet, "a stopped agent is not well"
            unit.process.send_signal(signal.SIGCONT)
            until(lambda: len(heard.hear()) > quiet, "signs of life again")

            unit.process.terminate()
            assert unit.process.wait(20) == 0
            assert heard.hear()[-1] == {"STOPPING": "1", "STATUS": "stopping"}
            assert heard.senders() == {unit.process.pid}
    finally:
        model.kill()
        model.wait()
        unit.stop()


def test_the_template_watches_the_unit_of_its_name(unit: Unit) -> None:
    """`pilotfish@toy` looks for toy.service, and waits for it; its log goes where its variables say."""
    with listening(f"{unit.root}/notify") as heard:
        unit.start_unit("pilotfish@.service", heard, PILOTFISH_LOG_FILE="-")
        try:
            until(heard.hear, "a first message")
            assert heard.hear()[0]["STATUS"].startswith("waiting for toy, metrics on http://127.0.0.1:")
            until(lambda: "level=info" in unit.err, "the log on stderr")
            assert ", log stderr\n" in unit.err
            assert unit.log == ""
        finally:
            unit.stop()


def test_a_wrong_configuration_is_not_started_again(unit: Unit) -> None:
    """Exit 2, which the unit names, and no READY."""
    (unit.root / "p.yaml").write_text("target: {nmae: serve_toy}\n")
    with listening(f"{unit.root}/notify") as heard:
        unit.start_unit("pilotfish.service", heard, PILOTFISH_CONFIG=str(unit.root / "p.yaml"))
        assert unit.process is not None
        assert (
            str(unit.process.wait(30)) in units.service(units.FOLDER / "pilotfish.service")["RestartPreventExitStatus"]
        )
        assert heard.hear() == []


def test_the_model_keeps_its_manager(live: Live) -> None:
    """Under `run` NOTIFY_SOCKET is the model's: it speaks, ours never does."""
    with listening(f"{live.root}/notify") as heard:
        speak = "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
        speak += "s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET']); import time; time.sleep(600)"
        live.start(command=[sys.executable, "-c", speak], NOTIFY_SOCKET=heard.name, WATCHDOG_USEC="500000")
        assert live.process is not None
        until(lambda: live.status().get("target", {}).get("up"), "the agent")
        assert heard.hear() == [{"READY": "1"}]
        assert heard.senders() == {live.process.pid}


def test_the_next_agent_tells_how_the_model_ended(live: Live) -> None:
    """What ExecStopPost= wrote is counted once, and stands in `status`."""
    folder = live.root / "state/toy"
    folder.mkdir(parents=True, mode=0o700)
    exitstatus.save(str(folder), exitstatus.record(4711, 47, 9, 1_700_000_000.0, "oom"))
    live.start(command=SLEEP)
    until(lambda: live.metric(r'pilotfish_process_exits_total\{cause="oom"') == 1.0, "the count")
    assert any("PID 4711, was ended by the kernel, for want of memory" in n for n in live.status()["notices"])
    assert json.loads((folder / "last_exit.json").read_text())["pid"] == 4711
    live.stop()
    until(lambda: json.loads((folder / "last_exit.json").read_text())["pid"] != 4711, "this model's own end")
    live.start(command=SLEEP)
    until(lambda: live.metric(r'pilotfish_process_exits_total\{cause="signal"') == 1.0, "this model's own end")
    assert live.metric(r'pilotfish_process_exits_total\{cause="oom"') == 0.0, "counted by one agent only"
