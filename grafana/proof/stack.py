"""The real thing to look at: four real models with real traffic, an agent beside each, a real Prometheus.

| model | how it is watched | what it fills |
| --- | --- | --- |
| digits | `run`, SDK, relay, probe | features, classes, scores, drift (noise on the images) |
| ages | `attach --port`, relay, canary | a killed worker, a restart with a new version, errors of all kinds |
| tiny | `attach --pid`, relay, scrape of llama.cpp, of vLLM's page | tokens, streams, the servers' own metrics, a GPU |
| diabetes | `run`, SDK, a control group with limits, its agent killed once | predictions that are numbers; limits |

The GPU is played by a driver library (`grafana.proof.gpus`), and its name says so. A relay needs no right that a test
machine may not have. Models and agents end before anything is drawn: what is drawn is the past, so that it stands still
and the browser has the CPU for itself.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.servers.app import classify
from benchmarks.servers.starters import free_port, llama, started
from examples.digits import demo
from grafana.proof.bundle import MissingError
from grafana.proof.gpus import Played
from grafana.proof.load import Ages, Digits, Load, talk
from grafana.proof.prometheus import Prometheus
from grafana.proof.vllm import replayed
from pilotfish_alerts import efficiency, fleet, generate
from tests.limits import limited

ROOT: Final = Path(__file__).resolve().parents[2]
TICK: Final = "1s"
PATIENCE_S: Final = 90.0
CLEAN_S: Final = 20.0
"""Seconds of judged, clean traffic before the shift: the left side of every drift panel."""
AFTER_S: Final = 20.0
"""Seconds after the alarm: the right side."""
RATE_S: Final = 5
"""What a rate needs at the begin: the shown range begins when every panel can have data."""
DOWN_S: Final = 4.0
"""Between two versions: longer than from one probe to the next."""
CORES: Final = 0.4
MEMORY: Final = 400 * 2**20
"""What the control group of diabetes may use: enough to work, not enough to be fitted anew without waiting."""
HUNGRY: Final = "hungry"
SETTLED_S: Final = 2
"""The shown range ends this long before the last scrape, where every target has been scraped."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent and what it listens on.

    Attributes:
        place: its folder; name: of the instance; port: of its HTTP; relay: where the model's clients go.
    """

    place: demo.Place
    name: str
    port: int
    relay: int

    def command(self, how: str, *options: str | Path, config: dict[str, Any]) -> list[str]:
        """``pilotfish run|attach`` with the options that all have."""
        file = self.place.folder / "pilotfish.yaml"
        drift = {"tick": TICK, "dependence": 1, "bins": "topk"}
        file.write_text(json.dumps({"drift": drift, **config}), encoding="utf-8")
        common = ("--config", file, "--listen", f"127.0.0.1:{self.port}", "--instance", self.name, "--quiet")
        return self.place.command(how, *common, *options)

    @property
    def relayed(self) -> tuple[str, ...]:
        """Options that put the relay before the model."""
        return ("--capture", "relay", "--relay-listen", f"127.0.0.1:{self.relay}")


def agent(folder: Path, name: str) -> Agent:
    """An agent with a folder and ports of its own."""
    place = demo.Place(folder / name)
    place.folder.mkdir()
    return Agent(place, name, free_port(), free_port())


@contextlib.contextmanager
def running(
    command: list[str], place: demo.Place, log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own; ended with SIGTERM, then SIGKILL."""
    with log.open("ab") as out:
        env = place.environment | dict(environ or {})
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def prometheus(folder: Path, targets: list[int], data: Path) -> Iterator[Prometheus]:
    """Debian's Prometheus with our alert rules, one scrape a second.

    Raises:
        MissingError: it is not installed.
    """
    if shutil.which("prometheus") is None:
        raise MissingError("prometheus is not installed: apt-get install prometheus (or make system-deps)")
    # An hour's rules in the minutes of the proof: evaluated each second, and of what rows there are.
    rules = generate.prometheus({"fleet_minimum_rows": "100"})
    for seldom in {fleet.INTERVAL, efficiency.INTERVAL}:
        rules = rules.replace(f"interval: {seldom}", "interval: 1s")
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    scrape = {"job_name": "pilotfish", "static_configs": [{"targets": [f"127.0.0.1:{p}" for p in targets]}]}
    often = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config = {"global": often, "rule_files": ["rules.yml"], "scrape_configs": [scrape] if targets else []}
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    port = free_port()
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={data}",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]  # fmt: skip
    with running(command, demo.Place(folder), folder / "prometheus.log"):
        found = Prometheus(f"http://127.0.0.1:{port}")
        until(found.ready, "Prometheus", folder / "prometheus.log")
        yield found


def until(true: Callable[[], object], what: str, log: Path | None = None) -> None:
    """Waits until something is true.

    Raises:
        RuntimeError: it never was; with the end of the log.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, urllib.error.URLError):
            if true():
                return
        time.sleep(0.2)
    tail = log.read_text(errors="replace")[-1500:] if log is not None and log.exists() else ""
    raise RuntimeError(f"{what}: not within {PATIENCE_S:g} s\n{tail}")


# -- the four models


def digits(stack: contextlib.ExitStack, mine: Agent) -> Digits:
    """The example of the README, under `run`."""
    artifact, reference = demo.prepare(mine.place, 5)
    port = free_port()
    base = f"http://127.0.0.1:{port}/v1/models/digits"
    config = {"model": {"name": "digits", "version": "1"}, "probe": {"url": base, "interval": "2s"}}
    config["capture"] = {"bodies": "none"}  # what is in them the SDK tells
    server = ("--", sys.executable, "-m", "examples.digits.server", artifact, "--port", str(port))
    command = mine.command("run", "--reference", reference, *mine.relayed, *server, config=config)
    stack.enter_context(running(command, mine.place, mine.place.folder / "log"))
    call = Digits(6)
    loads(stack, [Load(mine.relay, 12, call, seed) for seed in (1, 2)])
    return call


class Application:
    """The application of ages behind uvicorn with two workers.

    Args:
        folder: for its log.
        call: the traffic, which is told the version.
    """

    def __init__(self, folder: Path, call: Ages) -> None:
        self.port = free_port()
        self._folder = folder
        self._call = call
        self._server = contextlib.ExitStack()
        self._serve()

    def _serve(self) -> None:
        command = [sys.executable, "-m", "uvicorn", "--workers", "2", "--port", str(self.port), "--no-access-log"]
        command += ["--log-level", "critical", "benchmarks.servers.app:app"]
        env = {"PYTHONPATH": str(ROOT)}
        self._served = self._server.enter_context(started(command, self.port, "/", folder=self._folder, env=env))

    def kill_a_worker(self) -> None:
        """As the kernel does when memory runs out: SIGKILL to a worker; uvicorn starts another."""
        children = psutil.Process(self._served.pid).children()
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        workers[0].kill()

    def restart(self, version: str) -> None:
        """Another version in the same place."""
        self.close()
        time.sleep(DOWN_S)
        self._call.version = version
        self._serve()

    def close(self) -> None:
        """Ends it."""
        self._server.close()


def ages(stack: contextlib.ExitStack, mine: Agent) -> Application:
    """An application behind uvicorn, under `attach`."""
    call = Ages()
    application = Application(mine.place.folder, call)
    stack.callback(application.close)
    rows = mine.place.folder / "rows.jsonl"
    pairs = ({"features": {"age": a / 10}, "prediction": classify({"age": a / 10})} for a in range(900))
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="ascii")
    base = f"http://127.0.0.1:{application.port}/"
    request = 'POST /v1/models/ages/versions/3:predict {"instances": [{"age": 41}]}'
    probe = {"url": base, "interval": "2s", "request": request, "expect": '{"predictions": ["middle"]}'}
    options: tuple[str | Path, ...] = ("--port", str(application.port), "--reference", rows, "--model", "ages")
    command = mine.command(
        "attach", *options, *mine.relayed, config={"probe": probe, "capture": {"budget": "2KiB"}}
    )  # some are dropped
    stack.enter_context(running(command, mine.place, mine.place.folder / "log"))
    loads(stack, [Load(mine.relay, 10, call, seed) for seed in (3, 4)])
    return application


def language(stack: contextlib.ExitStack, mine: Agent) -> None:
    """llama.cpp with random weights, its own metrics scraped; vLLM's beside, a page that is none, and a played GPU."""
    served = stack.enter_context(llama())
    other = free_port()
    stack.enter_context(replayed(other))
    pages = [
        {"url": f"http://127.0.0.1:{served.metrics}/metrics", "interval": "1s"},
        {"url": f"http://127.0.0.1:{other}/metrics", "interval": "1s"},
        {"url": f"http://127.0.0.1:{served.port}/health", "server": "llamacpp", "name": "wrong-page", "interval": "1s"},
    ]
    probe = {"url": f"http://127.0.0.1:{served.port}/health", "interval": "2s"}
    options = ("--pid", str(served.pid), "--model", "tiny", *mine.relayed)
    gpu = Played(mine.place.folder)
    config = {"scrape": pages, "probe": probe, "gpu": {"driver_library": str(gpu.driver_library)}}
    command = mine.command("attach", *options, config=config)
    stack.enter_context(running(command, mine.place, mine.place.folder / "log", gpu.environ))
    gpu.start(served.pid)
    stack.callback(gpu.end)
    loads(stack, [Load(mine.relay, 3, talk, seed) for seed in (7, 8, 9)])


def diabetes(stack: contextlib.ExitStack, mine: Agent) -> None:
    """A regression without HTTP, in a control group of its own where this machine allows one."""
    script, rows = [sys.executable, "-m", "grafana.proof.diabetes"], mine.place.folder / "rows.jsonl"
    subprocess.run([*script, "rows", str(rows)], cwd=ROOT, check=True)
    limits = stack.enter_context(limited("pf-proof", cores=CORES, memory=MEMORY))
    serve = [*script, "serve", str(mine.place.folder / HUNGRY)]
    serve = serve if limits is None else [limits.script(mine.place.folder / "diabetes", serve)]
    command = mine.command("run", "--reference", rows, "--capture", "off", "--", *serve, config={})
    stack.enter_context(running(command, mine.place, mine.place.folder / "log"))


def loads(stack: contextlib.ExitStack, all_loads: list[Load]) -> None:
    """Starts traffic, and ends it with the stack."""
    for load in all_loads:
        load.start()
        stack.callback(load.end)


def kill_the_agent(mine: Agent) -> None:
    """As above, to Pilotfish itself; its guard starts it again."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == "LISTEN" and connection.laddr and connection.laddr.port == mine.port:
            psutil.Process(connection.pid).kill()


# -- the story


@dataclass(frozen=True, slots=True)
class Recorded:
    """What there is to draw: the last second that every target was scraped, and the seconds before it."""

    now: int
    span: int


def play(found: Prometheus, agents: dict[str, Agent], say: Callable[[str], None]) -> Recorded:
    """Runs all models through clean traffic, a killed worker, a restart, a shift and its alarm."""
    with contextlib.ExitStack() as stack:
        application = ages(stack, agents["ages"])
        language(stack, agents["tiny"])
        diabetes(stack, agents["diabetes"])
        images = digits(stack, agents["digits"])
        log = agents["digits"].place.folder / "log"
        until(found.has(f"count(up == 1) == {len(agents)}"), "all agents to be scraped", log)
        began = int(time.time()) + RATE_S  # from here on every rate can be
        until(found.has('max(pilotfish_drift_state{state="stable",model="digits"}) == 1'), "a judgement of digits", log)
        say(f"proof: {int(time.time()) - began} s: all models are judged")
        time.sleep(CLEAN_S / 2)
        application.kill_a_worker()
        kill_the_agent(agents["diabetes"])
        time.sleep(CLEAN_S / 2)
        (agents["diabetes"].place.folder / HUNGRY).touch()
        images.shifted.set()
        application.restart("4")
        alarm = 'max(pilotfish_drift_alert_severity{severity=~"warning|critical",model="digits"}) == 1'
        until(found.has(alarm), "an alarm of digits", log)
        say(f"proof: {int(time.time()) - began} s: the shift was found")
        time.sleep(AFTER_S)
        now = int(time.time()) - SETTLED_S
    return Recorded(now, now - began)


@contextlib.contextmanager
def recorded(folder: Path, data: Path, say: Callable[[str], None]) -> Iterator[tuple[Prometheus, Recorded]]:
    """Plays the story; gives the Prometheus that saw it."""
    agents = {name: agent(folder, name) for name in ("digits", "ages", "tiny", "diabetes")}
    with prometheus(folder, [a.port for a in agents.values()], data) as found:
        yield found, play(found, agents, say)
