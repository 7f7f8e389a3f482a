"""As uid nobody, without capabilities, beside a model of root: what is missing is named, the rest works."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.bars import Result, bar
from pilotfish_agent.hardware import _runner
from pilotfish_agent.hardware._context import TARGET
from pilotfish_core import registry
from tests.agent.live import until
from tests.attach import group
from tests.attach.nobody import LiveNobody, possible

MODEL = """
import socket, threading, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    time.sleep(0.05)
"""
DENIED = {"pilotfish_process_io_bytes_total"}
"""What Linux shows of another user's process only with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH."""
OF_A_GROUP = {"pilotfish_cgroup_pressure_events_total"}
"""What root alone may ask for, where the model has a control group of its own."""
NAME = "model-of-root"


@bar(
    "as nobody beside a root model: what is missing is named, the rest works",
    "doctor and /metrics agree; io, ports, tap missing with `permission`; --port names its right; all else works",
)
def nobody_beside_root() -> Result:
    if not possible():
        return Result("not root: cannot become nobody", None)
    if shutil.which("setpriv") is None:
        return Result("setpriv is not installed", None)
    with group.service() as service, model() as (pid, port):
        if service is not None:
            group.enter(service[1], pid)
        faults = [*_doctor(pid), *_port(port)]
        ways = {"--pid": str(pid), "--name": NAME}
        if service is not None:
            ways |= {"--cgroup": service[1], "--unit": service[0]}
        for option, value in ways.items():
            faults += _attached(option, value, pid)
    for fault in faults:
        print(fault, file=sys.stderr)
    also = "" if service is not None else " (no control group can be made here)"
    return Result("; ".join(faults) or f"doctor, --port, {', '.join(ways)} as they shall be{also}", not faults)


@contextmanager
def model() -> Iterator[tuple[int, int]]:
    """(PID, port) of a process of root."""
    process = subprocess.Popen([sys.executable, "-c", MODEL, NAME], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@contextmanager
def nobody() -> Iterator[LiveNobody]:
    """Somebody without rights."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pilotfish-bars-", dir="/tmp"))
    live = LiveNobody(folder)
    try:
        yield live
    finally:
        live.stop()
        shutil.rmtree(folder)


def _findings(document: dict[str, Any], area: str) -> dict[str, dict[str, Any]]:
    return {f["name"]: f for f in document["areas"][area]["findings"]}


def _doctor(pid: int) -> Iterator[str]:
    """Every missing thing has its reason and what would enable it."""
    with nobody() as live:
        asked = live.ask("doctor", "--json", "--pid", str(pid))
        words = live.ask("doctor", "--pid", str(pid))
    if asked.returncode or words.returncode:
        yield f"doctor: exit {asked.returncode}: {asked.stderr.strip()}"
        return
    document = json.loads(asked.stdout)
    if document["user"]["capabilities"]:
        yield f"doctor ran with {document['user']['capabilities']}"
    wanted = {("rights", "tier 1"), ("traffic", "tap"), ("traffic", "ports"), ("rights", "tier 2")}
    for area, name in wanted | {("signals", name) for name in DENIED}:
        found = _findings(document, area)[name]
        if found["state"] != "missing" or found["reason"] != "permission" or not found["enable"]:
            yield f"doctor: {area} {name}: {found}"
    denied = {n for n, f in _findings(document, "signals").items() if f["reason"] == "permission"}
    if denied - OF_A_GROUP != DENIED:
        yield f"doctor: denied signals {sorted(denied)}"
    if not re.search(r"no +process_io_bytes_total +permission: .*\n +-> .*CAP_SYS_PTRACE", words.stdout):
        yield "doctor: its table does not say so"


def _port(port: int) -> Iterator[str]:
    """One line, exit 2, the right by its name."""
    with nobody() as live:
        done = live.ask("attach", "--port", str(port))
        told = live.ask("doctor", "--port", str(port))
    if done.returncode != 2 or len(done.stderr.splitlines()) != 1 or "CAP_SYS_PTRACE" not in done.stderr:
        yield f"--port: exit {done.returncode}: {done.stderr.strip()}"
    if told.returncode or "CAP_SYS_PTRACE" not in told.stdout:
        yield f"doctor --port: exit {told.returncode}"


def _attached(option: str, value: str, pid: int) -> Iterator[str]:
    """All series but the denied ones, which are told of."""
    with nobody() as live:
        live.attach(option, value)
        until(lambda: live.metric("pilotfish_target_up") == 1.0, f"{option}; stderr: {live.err}")
        page, status = live.get("/metrics"), live.status()
    if status["target"]["pid"] != pid:
        yield f"{option}: found PID {status['target']['pid']}, not {pid}"
    if status["processes"] and os.path.exists(f"/proc/{status['processes']['agent']}"):
        yield f"{option}: the agent is still there"
    present = set(re.findall(r"^(pilotfish_\w+)[{ ]", page, re.MULTILINE))
    told = _told(page)
    trees = [part for _, part in registry.parts(_runner.PACKAGE) if _runner.scope(part) == TARGET]
    parts = [{m.name for m in part.METRICS} for part in trees]
    denied = {name for names in parts for name in names if told.get(name) == "permission"}
    if present & DENIED or denied - OF_A_GROUP != DENIED:
        yield f"{option}: present {sorted(present & DENIED)}, denied {sorted(denied)}"
    for names in parts:  # one that gives nothing may say why once
        lacking = names - present - told.keys()
        if lacking and (names & present or not names & told.keys()):
            yield f"{option}: without {sorted(lacking)}"


def _told(page: str) -> dict[str, str]:
    """Signal -> why it is absent, of a page of metrics."""
    labels = re.findall(r"^pilotfish_signal_unavailable\{([^}]*)\}", page, re.MULTILINE)
    found = [dict(re.findall(r'(\w+)="([^"]*)"', text)) for text in labels]
    return {one["signal"]: one["reason"] for one in found}
