"""The compose stack from Debian's packages: drift, rule, Alertmanager, webhook, and the end of it all.

Files and command lines are those of deploy/compose, intervals and waiting times too. A copy has loopback ports in place
of the services' names and a folder in place of the containers' paths; only the ten minutes that a drift alert stays
after its end are a second here, by `pilotfish rules --set drift_keep=1s`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bars import Result, bar, versions
from examples.digits.traffic import Traffic
from pilotfish_alerts import generate

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
LIMIT_S = 60.0
STEP_S = 60.0
START_S = 60.0
ROWS = 50  # in each of 20 requests a second: the latch's memory of at least 2,000 rows is two seconds
SHIFT = "frozen"
RULES = {"drift_keep": "1s"}
# Prometheus tells a new Alertmanager of an alert that fires already only after this long (default: a minute).
PROMETHEUS_FLAGS = ("--rules.alert.resend-delay=2s", "--log.level=error")
PORTS = {"model:7374": "agent", "model:8501": "model", "127.0.0.1:8501": "model", "alertmanager:9093": "alertmanager",
         "inbox:8080": "inbox", "0.0.0.0:9090": "prometheus", "0.0.0.0:9093": "alertmanager", "0.0.0.0:8080": "inbox",
         "0.0.0.0:7374": "agent"}  # fmt: skip
PROGRAMS = {"prometheus": ["prometheus"], "alertmanager": ["prometheus-alertmanager"],
            "pilotfish": [sys.executable, str(ROOT / "bin" / "pilotfish")]}  # fmt: skip


@dataclass
class Stack:
    """The services that run, by their names in compose.yaml.

    Attributes:
        folder: of the copy, of the state, of the logs.
        ports: the loopback port of each service.
    """

    folder: Path
    services: dict[str, Any]
    ports: dict[str, int]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def local(self, text: str) -> str:
        """``text`` with ports and folders of this machine."""
        for name, service in PORTS.items():
            text = text.replace(name, f"127.0.0.1:{self.ports[service]}")
        for path in ("/etc/pilotfish", "/etc/prometheus", "/etc/alertmanager"):
            text = text.replace(path, str(self.folder / "files"))
        for path in ("/run/pilotfish", "/var/lib/pilotfish", "/srv/digits"):
            text = text.replace(path, str(self.folder / path.split("/")[1] / path.rsplit("/", 1)[1]))
        return re.sub(r"=/(prometheus|alertmanager)$", rf"={self.folder}/\1", text)

    def copy(self) -> None:
        """The stack's files with addresses replaced, and the rules."""
        for name in ("prometheus.yml", "alertmanager.yml", "pilotfish.yaml"):
            text = (COMPOSE / name).read_text(encoding="utf-8")
            text = text.replace("target: {port: 8501}", f"target: {{port: {self.ports['model']}}}")
            write(self.folder / "files" / name, self.local(text))
        write(self.folder / "files" / "rules" / "pilotfish.yml", generate.prometheus(RULES))

    def start(self, service: str, *more: str) -> None:
        """Starts a service by its command line in compose.yaml."""
        words = [self.local(word) for word in self.services[service]["command"]]
        if service == "model":
            words[words.index("--host") + 1] = "127.0.0.1"
            words[words.index("--port") + 1] = str(self.ports["model"])
        if words[0] == "python":
            words[0] = sys.executable
        given = {k: self.local(v) for k, v in self.services[service].get("environment", {}).items()}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PILOTFISH_")}
        places = {
            "PILOTFISH_RUNTIME_DIR": self.local("/run/pilotfish"),
            "PILOTFISH_STATE_DIR": self.local("/var/lib/pilotfish"),
        }
        with (self.folder / f"{service}.log").open("wb") as log:
            self.running[service] = subprocess.Popen(
                [*PROGRAMS.get(service, []), *words, *more], cwd=ROOT, env=kept | places | given,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def stop(self) -> None:
        """Ends what runs."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def get(self, service: str, path: str) -> Any:
        """JSON of a service, or text; None while there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[service], timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != http.client.OK:
                return None
            return json.loads(body) if "json" in (answer.getheader("Content-Type") or "") else body.decode()
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def until(self, true: Callable[[], object], what: str, seconds: float = STEP_S) -> float:
        """Seconds until something is true.

        Raises:
            RuntimeError: it never was, or a service has ended.
        """
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if true():
                return time.monotonic() - began
            for name, process in self.running.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{what}: {name} ended ({process.returncode}): {self.tail(name)}")
            time.sleep(0.1)
        raise RuntimeError(f"{what}: not within {seconds:g} s")

    def tail(self, service: str) -> str:
        """The end of a service's output."""
        return (self.folder / f"{service}.log").read_text(errors="replace")[-300:].replace("\n", " ")


@bar(
    "stack of deploy/compose from Debian's packages: drift, rule, Alertmanager, webhook, resolved", f"<= {LIMIT_S:g} s"
)
def drift_reaches_the_inbox_and_goes_again() -> Result:
    absent = [p for p in ("prometheus", "prometheus-alertmanager") if shutil.which(p) is None]
    if absent:
        return Result(f"{' and '.join(absent)} not installed: make system-deps", None)
    steps: dict[str, float] = {}
    failed, took = "", 0.0
    with tempfile.TemporaryDirectory(prefix="pf") as name:
        try:
            with started(Path(name), steps) as (stack, traffic):
                began = time.monotonic()
                play(stack, traffic, steps)
                took = time.monotonic() - began
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            failed = f"{type(error).__name__}: {error}".replace("\n", " ")
    told = ", ".join(f"{step} {seconds:.1f}" for step, seconds in steps.items())
    measured = f"{took:.1f} s from the first shifted row ({told} s)" + (f"; {failed}" if failed else "")
    return Result(measured[:900], not failed and took <= LIMIT_S, programs())


@contextlib.contextmanager
def started(folder: Path, steps: dict[str, float]) -> Iterator[tuple[Stack, Traffic]]:
    """The stack with clean traffic, each stream judged, the watchdog in the inbox."""
    began = time.monotonic()
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    names = dict.fromkeys(PORTS.values())
    stack = Stack(folder, services, dict(zip(names, free_ports(len(names)), strict=True)))
    stack.copy()
    traffic = Traffic(f"http://127.0.0.1:{stack.ports['model']}", SHIFT, seed=1, rows=ROWS)
    try:
        stack.start("prepare")
        prepared = stack.running.pop("prepare")
        if prepared.wait(START_S):
            raise RuntimeError(f"prepare: {stack.tail('prepare')}")
        for service in ("inbox", "alertmanager", "model", "pilotfish"):
            stack.start(service)
        stack.start("prometheus", *PROMETHEUS_FLAGS)
        stack.until(lambda: stack.get("model", "/v1/models/digits"), "the model", START_S)
        traffic.start()
        stack.until(lambda: judged(stack), "each stream judged", START_S)
        stack.until(lambda: came(stack, "dead-mans-switch", "firing", "PilotfishWatchdog"), "the watchdog", START_S)
        steps["ready"] = time.monotonic() - began
        yield stack, traffic
    finally:
        traffic.stop()
        stack.stop()


def play(stack: Stack, traffic: Traffic, steps: dict[str, float]) -> None:
    """A pixel dies, somebody is told; it lives again, somebody is told.

    Raises:
        RuntimeError: a step did not come, or an alarm came that nothing had caused.
    """
    if early := [a for a in stack.get("inbox", "/") if "Drift" in a["alert"]]:
        raise RuntimeError(f"an alarm before the shift: {early[0]['summary']}")
    traffic.shift()
    steps["found"] = stack.until(lambda: drifting(stack), "drift found")
    steps["rule"] = stack.until(lambda: firing(stack), "the rule fires")
    steps["told"] = stack.until(lambda: came(stack, "pager", "firing", "PilotfishDriftCritical"), "the pager")
    traffic.calm()
    steps["back"] = stack.until(lambda: not drifting(stack), "the drift's end")
    steps["quiet"] = stack.until(lambda: not firing(stack), "the rule's end")
    steps["resolved"] = stack.until(lambda: came(stack, "pager", "resolved", "PilotfishDriftCritical"), "resolved")
    if traffic.errors:
        raise RuntimeError(f"{traffic.errors} requests failed")


def judged(stack: Stack) -> bool:
    """Whether the detector has a verdict on every stream."""
    streams = stack.get("agent", "/api/v1/drift") or []
    return bool(streams) and all(s["verdict"] != "not_enough_data" for s in streams)


def drifting(stack: Stack) -> bool:
    """Whether a stream drifts."""
    return any(s["verdict"] == "drifting" for s in stack.get("agent", "/api/v1/drift") or [{"verdict": "drifting"}])


def firing(stack: Stack) -> bool:
    """Whether Prometheus has a drift alert that fires."""
    answer = stack.get("prometheus", "/api/v1/alerts")
    return any("Drift" in a["labels"]["alertname"] and a["state"] == "firing" for a in answer["data"]["alerts"])


def came(stack: Stack, receiver: str, status: str, alert: str) -> bool:
    """Whether the inbox has it."""
    wanted = (receiver, status, alert)
    return any((a["receiver"], a["status"], a["alert"]) == wanted for a in stack.get("inbox", "/") or ())


def free_ports(number: int) -> list[int]:
    """That many at once, so that none comes twice."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [s.getsockname()[1] for s in sockets]


def write(path: Path, text: str) -> None:
    """Makes the folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def programs() -> str:
    """Versions of Debian's programs beside our own."""
    found = [versions()]
    for program in ("prometheus", "prometheus-alertmanager"):
        done = subprocess.run((program, "--version"), capture_output=True, text=True, timeout=30)
        match = re.search(r"version ([\d.]+)", done.stdout + done.stderr)
        found.append(f"{program} {match[1] if match else 'unknown'}")
    return ", ".join(found)
