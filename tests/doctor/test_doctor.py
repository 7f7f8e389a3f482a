"""`pilotfish doctor`: everything is tried, what is missing has a reason and a remedy, and it is no error."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from pilotfish_agent.capture.settings import Config
from pilotfish_agent.commands import doctor
from pilotfish_agent.doctor import _finding, host, rights, signals
from pilotfish_agent.doctor._finding import Finding, Situation
from pilotfish_agent.hardware import _runner
from pilotfish_agent.hardware._context import HostContext
from pilotfish_core import registry
from pilotfish_core.clock import SystemClock
from tests.agent.live import PILOTFISH
from tests.attach.nobody import LiveNobody, possible
from tests.system import needs

SERVER = """
import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(600)
"""
REASONS = {"permission", "not_supported", "no_data", "failed", "disabled", "not_installed"}


@pytest.fixture
def server() -> Iterator[tuple[int, int]]:
    """(PID, port) of a process that listens."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """``pilotfish doctor WORDS``."""
    return subprocess.run(
        [*PILOTFISH, "doctor", *words], capture_output=True, text=True, timeout=60, env={**os.environ, **variables}
    )


def findings(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All findings by name."""
    return {f["name"]: f for area in document["areas"].values() for f in area["findings"]}


def situation(pid: int | None = None, **changes: Any) -> Situation:
    """Ours, or as changed."""
    ours = {"pid": pid or os.getpid(), "named": True, "refused": False, "uid": os.geteuid(), "port": None}
    machine = HostContext(SystemClock())
    return Situation(**{**ours, "capture": Config(), "machine": machine, **changes})


def test_every_signal_of_every_collector_is_answered_for(server: tuple[int, int]) -> None:
    """The collectors are the registry: a metric works, or has a reason; what is missing by rights has a remedy."""
    done = ask("--json", "--pid", str(server[0]))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    known = {m.name for _, part in registry.parts(_runner.PACKAGE) for m in part.METRICS}
    told = [f["name"] for area in ("signals", "machine") for f in document["areas"][area]["findings"]]
    assert sorted(told) == sorted(known)
    for found in findings(document).values():
        assert (found["reason"] is None) == (found["state"] == "works"), found
        assert found["reason"] is None or found["reason"] in REASONS
        assert found["enable"] or found["reason"] != "permission", found
    assert document["target"]["pid"] == server[0]
    assert findings(document)["ports"]["words"] == str(server[1])
    assert {"tap", "relay", "sdk", "scrape", "tier 0", "tier 1", "tier 2", "GPUs", "smaps", "perf events"} <= set(
        findings(document)
    )


def test_a_table_for_people_has_no_colour_in_a_pipe(server: tuple[int, int]) -> None:
    """One line a finding, the remedy below it."""
    done = ask("--port", str(server[1]))
    assert done.returncode == 0, done.stderr
    assert f"PID {server[0]} (python" in done.stdout
    assert "process_cpu_seconds_total" in done.stdout
    assert "\033" not in done.stdout


def test_no_target_and_an_absent_one_are_no_errors() -> None:
    """Without a selector it looks at itself; what is not there is said to be waited for."""
    assert "this process stands for a model of the same user" in ask().stdout
    done = ask("--name", "no-such-process-here[x]", "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["target"]["pid"] is None
    assert "waits for it" in document["target"]["words"]
    assert findings(document)["all of them"]["reason"] == "no_data"
    assert findings(document)["relay"]["state"] == "works"


def test_several_targets_of_the_configuration(server: tuple[int, int], tmp_path: pathlib.Path) -> None:
    """Each is looked at."""
    (tmp_path / "p.yaml").write_text(f"targets:\n  - {{pid: {server[0]}}}\n  - {{port: {server[1]}}}\n")
    document = json.loads(ask("--config", str(tmp_path / "p.yaml"), "--json").stdout)
    assert [t["target"]["pid"] for t in document["targets"]] == [server[0]] * 2


@pytest.mark.parametrize("words", [("--pid", "x"), ("--name", "("), ("--config", "/nonexistent.yaml"), ("--what",)])
def test_a_wrong_command_line_is_one_line_and_exit_2(words: tuple[str, ...]) -> None:
    """The only way to fail."""
    done = ask(*words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@needs("setpriv", package="util-linux")
@pytest.mark.skipif(not possible(), reason="needs root, to become somebody else")
def test_as_nobody_what_is_missing_is_named(server: tuple[int, int]) -> None:
    """Beside a process of root, without capabilities: no tap, no ports, no storage traffic; each with its right."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pilotfish-test-", dir="/tmp"))
    try:
        live = LiveNobody(folder)
        document = json.loads(live.ask("doctor", "--json", "--pid", str(server[0])).stdout)
        by_port = live.ask("doctor", "--port", str(server[1]))
        refused = live.ask("attach", "--port", str(server[1]))
    finally:
        shutil.rmtree(folder)
    found = findings(document)
    assert document["user"] == {"uid": 65534, "capabilities": []}
    for name, right in (
        ("tier 1", "run as uid 0"),
        ("pilotfish_process_io_bytes_total", "CAP_SYS_PTRACE"),
        ("tap", "NET_RAW"),
        ("ports", "tier 1"),
    ):
        assert found[name]["state"] == "missing"
        assert found[name]["reason"] == "permission"
        assert right in found[name]["enable"]
    assert found["pilotfish_process_open_fds"]["state"] == "works"
    assert by_port.returncode == 0
    assert "CAP_SYS_PTRACE" in by_port.stdout
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "CAP_SYS_PTRACE" in refused.stderr


def test_a_broken_check_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other areas are told of all the same."""

    def broken(_: Situation) -> Iterator[Finding]:
        raise RuntimeError("no")

    monkeypatch.setattr(host, "check", broken)
    reports = {r.name: r for r in _finding.examine(situation())}
    assert reports["host"].findings[0].reason == "failed"
    assert len(reports["signals"].findings) > 5


def test_an_unfound_process_is_never_looked_into() -> None:
    """Refused for want of a right: the tier says so."""
    unfound = replace(situation(refused=True, uid=0), pid=None, port=80)
    tier = {f.name: f for f in rights.check(unfound)}["tier 1"]
    assert tier.reason == "permission"
    assert [f.reason for f in signals.check(unfound)] == ["no_data"]


def test_names_cannot_move_the_cursor() -> None:
    """Colour is ours alone."""
    document = {
        "version": "1",
        "kernel": "6",
        "user": {"uid": 1, "capabilities": []},
        "target": {"pid": 7, "name": "\033[2J", "uid": 1, "words": ""},
        "areas": {"x": {"title": "X", "findings": [asdict(Finding("a", "missing", "failed", "\033[2J", "do"))]}},
    }
    plain = "\n".join(doctor.screen(document, color=False))
    assert "\033" not in plain
    assert "\033[31mno  \033[0m" in "\n".join(doctor.screen(document, color=True))


def test_what_is_missing_for_one_reason_is_one_line() -> None:
    """A machine without a GPU has 18 metrics less, and one thing to be told."""
    gone = [asdict(Finding(f"pilotfish_gpu_{n}", "missing", "not_installed", "gpu: none", "get one")) for n in "abcd"]
    pair = [asdict(Finding(name, "missing", "permission", "io: closed")) for name in ("r", "w")]
    document = {
        "version": "1",
        "kernel": "6",
        "user": {"uid": 1, "capabilities": []},
        "target": {"pid": None, "name": None, "uid": None, "words": ""},
        "areas": {"x": {"title": "X", "findings": [*gone, *pair]}},
    }
    lines = list(doctor.screen(document, color=False))
    assert lines[-4:] == [
        "  no    gpu_a and 3 more  not_installed: gpu: none",
        "                          -> get one",
        "  no    r                 permission: io: closed",
        "  no    w                 permission: io: closed",
    ]
