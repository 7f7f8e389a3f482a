"""What goes out: the page, the rules, and a real Prometheus that scrapes a real agent."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.catalogue import metrics
from pilotfish_alerts import generate
from pilotfish_core.metrics import Distribution, Metric, Sample
from pilotfish_core.nouns import Snapshot
from pilotfish_exporters.prometheus import Exporter, render
from tests.exporters import roundtrip
from tests.standard import standard_snapshot

ROOT = Path(__file__).parents[2]
EXAMPLES = 2_000
FEATURES = 20
STREAMS = (*(f"feature_{i:02d}" for i in range(FEATURES)), "@prediction", "@score", "@model")
ROUNDS = 15
SCRAPE_MS = 15.0  # 0.1 % of a core at one scrape each 15 s
LIVE_SECONDS = 90.0
RULES = len(generate.rules()) + len(generate.records())
FOUND = re.compile(r"(\d+) rules found")

MODEL = """
import random, time
from pilotfish import Monitor
monitor, rng = Monitor(name="bench", version="1"), random.Random(1)
while True:
    for _ in range(10):
        row = {f"f{i}": rng.gauss(0, 1) for i in range(4)}
        monitor.observe(features=row, prediction=rng.gauss(0, 1), latency=rng.expovariate(500))
    time.sleep(0.05)
"""


def promtool(*arguments: str, cwd: str | None = None, given: bytes = b"") -> tuple[int, str]:
    """(exit code, output) of promtool."""
    done = subprocess.run(("promtool", *arguments), cwd=cwd, input=given, capture_output=True, timeout=300)
    return done.returncode, (done.stdout + done.stderr).decode()


def debian() -> str:
    """``prometheus 2.42.0`` as the tool itself says, beside our own version."""
    _, text = promtool("--version")
    return versions() + ", prometheus " + (re.search(r"version ([\d.]+)", text) or [text, "unknown"])[1]


def missing() -> Result | None:
    """Why a row cannot be measured here."""
    absent = [p for p in ("promtool", "prometheus") if shutil.which(p) is None]
    return Result(f"{' and '.join(absent)} not installed: apt-get install prometheus", None) if absent else None


@bar("rules pass promtool check rules --lint=all --lint-fatal", "0 problems, as PrometheusRule too")
def rules_are_clean() -> Result:
    if (absent := missing()) is not None:
        return absent
    spec = json.dumps(_yaml(generate.kubernetes())["spec"])  # JSON is YAML
    with tempfile.TemporaryDirectory() as folder:
        done = []
        for name, text in (("plain.yml", generate.prometheus()), ("kubernetes.yml", spec)):
            Path(folder, name).write_text(text, encoding="utf-8")
            done.append(promtool("check", "rules", "--lint=all", "--lint-fatal", name, cwd=folder))
    counts = [int(m[1]) for _, text in done if (m := FOUND.search(text))]
    holds = all(code == 0 for code, _ in done) and counts == [RULES] * 2
    return Result(f"{counts} rules found, exit {[code for code, _ in done]}", holds, debian())


@bar("each rule fires, does not fire, resolves (promtool test rules)", "all stories, and 3 of 3 mutants noticed")
def rules_fire_and_resolve() -> Result:
    if (absent := missing()) is not None:
        return absent
    plain = generate.prometheus()
    mutants = (
        plain.replace("pilotfish_target_up == 0", "pilotfish_target_up >= 0"),
        plain.replace('severity="critical"} == 1', 'severity="critical"} > 1'),
        plain.replace("for: 10m", "for: 40m"),
    )
    code, text = _play(plain)
    noticed = sum(m != plain and _play(m)[0] != 0 for m in mutants)
    checks = sum(len(s.checks) for r in generate.rules() for s in r.scenarios)
    measured = f"{checks} checks of {len(generate.rules())} rules, exit {code}, {noticed} of {len(mutants)} mutants"
    return Result(measured, code == 0 and noticed == len(mutants) and "SUCCESS" in text, debian())


def _play(rules: str) -> tuple[int, str]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rules.yml").write_text(rules, encoding="utf-8")
        files = generate.promtool_tests("rules.yml")
        for name, text in files.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        return promtool("test", "rules", *files, cwd=folder)


def _yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


def everything(streams: tuple[str, ...] = STREAMS) -> Snapshot:
    """A Snapshot with every declared metric; those of features have one series a stream."""
    rng = random.Random(7)
    samples = []
    for metric in metrics():
        if metric.name in {"pilotfish_build_info", "pilotfish_series_dropped_total", "pilotfish_signal_unavailable"}:
            continue  # the exporter makes them itself
        for stream in streams if "feature" in metric.labels else ("",):
            labels = tuple(stream if name == "feature" else f"some {name}" for name in metric.labels)
            samples.append(Sample(metric, labels, _value(metric, rng)))
    samples.append(samples[0])  # a second one of the same labels: something to count as dropped
    return replace(standard_snapshot(), samples=tuple(samples))


def _value(metric: Metric, rng: random.Random) -> float | Distribution:
    if metric.kind != "histogram":
        return rng.random() * 1e3
    return Distribution(tuple(rng.randrange(1000) for _ in range(len(metric.buckets) + 1)), rng.random() * 1e4)


@bar("promtool check metrics: every declared metric of every part", "clean")
def the_catalogue_is_clean() -> Result:
    if (absent := missing()) is not None:
        return absent
    body = render(everything(), static_labels={"team": "risk"}).body
    code, text = promtool("check", "metrics", given=body)
    shown = len(re.findall(rb"^# TYPE pilotfish_", body, re.MULTILINE))
    holds = code == 0 and not text and shown == len(metrics())
    return Result(
        f"{shown} of {len(metrics())} families, exit {code}{', ' + text[:200] if text else ''}", holds, debian()
    )


@bar("any label and number (Hypothesis): pages parse back equal, two parsers, two formats", "0 failures")
def anything_parses_back() -> Result:
    from hypothesis import HealthCheck, given, settings

    tried = 0

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(roundtrip.samples)
    def whatever(samples: tuple[Sample, ...]) -> None:
        nonlocal tried
        tried += 1
        roundtrip.check(samples)

    try:
        whatever()
    except Exception as error:  # noqa: BLE001 - whatever it raised is the finding
        return Result(f"failed after {tried} examples: {error}".replace("\n", " ")[:300], False)
    return Result(f"0 of {tried} pages", tried >= EXAMPLES, versions("prometheus-client", "hypothesis"))


@bar("CPU of one scrape, 20 features", f"<= {SCRAPE_MS:g} ms")
def a_scrape_is_cheap() -> Result:
    snapshots = [everything() for _ in range(ROUNDS + 2)]
    exporter, spent, size, lines = Exporter(), [], 0, 0
    for snapshot in snapshots:
        before = time.process_time()
        done = exporter.render(snapshot, accept="application/openmetrics-text")
        spent.append((time.process_time() - before) * 1e3)
        size, lines = len(done.body), done.series
    before = time.process_time()
    for _ in range(1000):
        exporter.cached(snapshots[-1], accept="application/openmetrics-text")
    again = (time.process_time() - before) * 1e3
    ms = statistics.median(spent[2:])
    measured = f"{ms:.2f} ms, {lines} series, {size / 1000:.0f} kB; the same Snapshot again {again:.1f} us"
    return Result(measured, ms <= SCRAPE_MS, versions("prometheus-client"))


@dataclass
class Found:
    """What a real Prometheus said of a real agent."""

    steps: dict[str, float] = field(default_factory=dict)
    failed: str = ""
    page: bytes = b""


@bar("a real Debian Prometheus scrapes `pilotfish run`: up, target, drift, rules, watchdog, end of the model", "all")
def prometheus_sees_the_agent() -> Result:
    if (absent := missing()) is not None:
        return absent
    found = live()
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.steps.items())
    return Result(f"{steps}{'; ' if found.failed else ''}{found.failed}"[:600], not found.failed, debian())


@bar("promtool check metrics: the page of a live agent", "clean")
def the_live_page_is_clean() -> Result:
    if (absent := missing()) is not None:
        return absent
    body = live().page
    code, text = promtool("check", "metrics", given=body)
    shown = len(re.findall(rb"^# TYPE pilotfish_", body, re.MULTILINE))
    return Result(
        f"{shown} families, exit {code} {text[:200]}".rstrip(), code == 0 and not text and shown > 20, debian()
    )


@functools.cache
def live() -> Found:
    """Starts both, asks, ends both; once for all rows."""
    found = Found()
    with tempfile.TemporaryDirectory(prefix="pf") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        try:
            model, address = stack.enter_context(_agent(folder))
            ask = stack.enter_context(_prometheus(folder, address))
            _look(found, ask, model, address)
        except (RuntimeError, OSError) as error:
            found.failed = f"{type(error).__name__}: {error}".replace("\n", " ")
    return found


@contextlib.contextmanager
def _agent(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A model under `pilotfish run`, with a reference and fast ticks; its agent's address."""
    rng = random.Random(2)
    rows = [",".join(f"{rng.gauss(0, 1):.6f}" for _ in range(5)) for _ in range(3000)]
    (folder / "reference.csv").write_text("\n".join(["f0,f1,f2,f3,prediction", *rows]) + "\n")
    (folder / "model.py").write_text(MODEL)
    (folder / "pilotfish.yaml").write_text("drift: {tick: 1s, dependence: 1}\n")
    build = [sys.executable, str(ROOT / "bin/pilotfish"), "reference", "build", "reference.csv", "-o", "reference.json"]
    env = os.environ | {"PILOTFISH_RUNTIME_DIR": str(folder / "run"), "PILOTFISH_STATE_DIR": str(folder / "state")}
    options = ["--prediction-column", "prediction", "--independent"]
    subprocess.run([*build, *options], cwd=folder, env=env, check=True, capture_output=True)
    command = [sys.executable, str(ROOT / "bin/pilotfish"), "run", "--listen", "127.0.0.1:0", "--config",
               "pilotfish.yaml", "--reference", "reference.json", "--", sys.executable, "model.py"]  # fmt: skip
    with (folder / "out").open("wb") as out:
        model = subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            until(lambda: list((folder / "run").glob("*/address")), "the agent's address", folder / "out")
            yield model, next((folder / "run").glob("*/address")).read_text().strip()
        finally:
            model.kill()
            model.wait()
            until(lambda: not list((folder / "run").glob("*/address")), "the agent's end", folder / "out")


@contextlib.contextmanager
def _prometheus(folder: Path, agent: str) -> Iterator[Callable[[str], Any]]:
    """A Prometheus on a free port with our rules; a function that asks its API."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "rules.yml").write_text(generate.prometheus(), encoding="utf-8")
    scrape = {"job_name": "pilotfish", "static_configs": [{"targets": [agent]}]}
    both = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config = {"global": both, "rule_files": ["rules.yml"], "scrape_configs": [scrape]}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]  # fmt: skip
    with (folder / "prometheus.out").open("wb") as out:
        server = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
        try:
            ask = functools.partial(_get, f"127.0.0.1:{port}")
            until(lambda: ask("/api/v1/status/runtimeinfo"), "Prometheus", folder / "prometheus.out")
            yield ask
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def _look(found: Found, ask: Callable[[str], Any], model: subprocess.Popen[bytes], address: str) -> None:
    def one(query: str) -> Callable[[], bool]:
        return lambda: bool(ask("/api/v1/query?query=" + urllib.parse.quote(query))["data"]["result"])

    def rules_are_well() -> bool:
        groups = ask("/api/v1/rules")["data"]["groups"]
        health = [r["health"] for g in groups for r in g["rules"]]
        return len(health) == RULES and set(health) == {"ok"}

    steps: dict[str, Callable[[], bool]] = {
        "up": one('up{job="pilotfish"} == 1'),
        "target": one("pilotfish_target_up == 1"),
        "memory": one("pilotfish_process_resident_memory_bytes > 1e6"),
        "drift of 5 streams": one("count(pilotfish_drift_evidence_ratio) >= 5"),
        "p99": one("histogram_quantile(0.99, sum by (le) (rate(pilotfish_request_duration_seconds_bucket[10s]))) > 0"),
        "rules": rules_are_well,
        "watchdog": one('ALERTS{alertname="PilotfishWatchdog",alertstate="firing"}'),
    }
    for name, true in steps.items():
        found.steps[name] = until(true, name)
    found.page = _bytes(address, "/metrics")
    model.send_signal(signal.SIGTERM)
    found.steps["model ended: up 0"] = until(one('up{job="pilotfish"} == 0'), "up == 0 after the model's end")
    found.steps["its alert pending"] = until(one('ALERTS{alertname="PilotfishDown"}'), "PilotfishDown")


def until(true: Callable[[], object], what: str, log: Path | None = None) -> float:
    """Seconds until something is true.

    Raises:
        RuntimeError: it never was.
    """
    began = time.monotonic()
    while time.monotonic() - began < LIVE_SECONDS:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if true():
                return time.monotonic() - began
        time.sleep(0.1)
    tail = log.read_text(errors="replace")[-300:] if log else ""
    raise RuntimeError(f"{what}: not within {LIVE_SECONDS:g} s {tail}")


def _get(address: str, path: str) -> Any:
    return json.loads(_bytes(address, path))


def _bytes(address: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != http.client.OK:  # a starting Prometheus says 503 in plain text: asked again
            raise ConnectionError(f"{path}: {answer.status} {answer.read(200)!r}")
        return answer.read()
    finally:
        connection.close()
