"""What watching 500 features costs: from the SDK's frames to counts, and everything that follows once a tick."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.bars import Result, bar, versions
from benchmarks.walking.memory import cpu_seconds
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.tables import build
from pilotfish_agent.drift.watch import DriftWatch
from pilotfish_agent.intake.listener import Intake
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Events
from pilotfish_core.nouns import ObservationBatch

SEED = 9601
NUMBERS, TEXTS, RATE = 450, 50, 1_000
FEATURES = NUMBERS + TEXTS
REFERENCE_ROWS = 5_000
STEP_SECONDS = 1.0  # as the agent's
SCRAPE_SECONDS = 15.0
WARM_SECONDS, SECONDS = 3.0, 11.0
SENDER = f"""
import random, sys, time
from pilotfish import Monitor
random.seed({SEED})
monitor = Monitor("wide", "1", socket=sys.argv[2] if len(sys.argv) > 2 else None)
numbers = [random.gauss(0, 1) for _ in range(100_000)]
texts = random.choices("abcde", k=100_000)
names = [f"feature_{{i:03d}}" for i in range({NUMBERS})] + [f"text_{{i:03d}}" for i in range({TEXTS})]
def row():
    i, j = random.randrange(99_000), random.randrange(99_000)
    return dict(zip(names, numbers[i : i + {NUMBERS}] + texts[j : j + {TEXTS}]))
began, sent = time.monotonic(), 0
while time.monotonic() - began < float(sys.argv[1]):
    for _ in range(10):
        monitor.observe(features=row(), prediction=0.5, latency=0.01)
        sent += 1
    time.sleep(max(0.0, began + sent / {RATE} - time.monotonic()))
monitor.flush(2)
"""


def reference() -> Reference:
    """Of 5,000 rows of the sender's kind."""
    rng = np.random.default_rng(SEED)
    features: dict[str, object] = {f"feature_{i:03d}": rng.normal(size=REFERENCE_ROWS) for i in range(NUMBERS)}
    features |= {f"text_{i:03d}": rng.choice(list("abcde"), REFERENCE_ROWS).tolist() for i in range(TEXTS)}
    made = ReferenceBuilder()
    made.add(ObservationBatch(model="wide", version="1", source="sdk", rows=REFERENCE_ROWS, features=features))
    return made.reference(created=0.0, model="wide", independent=True)


def watch() -> DriftWatch:
    """A watch over it, tables built."""
    found = DriftWatch("wide", reference(), Config())
    request = found.table_request()
    assert request is not None
    found.set_tables(build(request.specs, request.budget_ticks, request.streams))
    return found


@dataclass(slots=True)
class Spent:
    """Seconds of CPU of all threads, by what they were spent on."""

    rows: int = 0
    intake: float = 0.0
    binning: float = 0.0
    ticks: float = 0.0
    samples: float = 0.0
    made: int = 0
    began: float = field(default_factory=time.process_time)

    def lap(self) -> float:
        """CPU since the last lap."""
        now = time.process_time()
        spent, self.began = now - self.began, now
        return spent


def measured(path: str) -> tuple[Spent, float]:
    """The agent's path over 11 s of real traffic; CPU of this process, and how long it took."""
    intake, judged = Intake(path, events=Events(SystemClock())), watch()
    intake.start()
    sender = subprocess.Popen((sys.executable, "-c", SENDER, str(WARM_SECONDS + SECONDS + 2), path))
    try:
        run(intake, judged, WARM_SECONDS, Spent())
        began, spent = time.monotonic(), Spent()
        run(intake, judged, SECONDS, spent)
        return spent, time.monotonic() - began
    finally:
        sender.kill()
        sender.wait()
        intake.stop()


def run(intake: Intake, judged: DriftWatch, seconds: float, spent: Spent) -> None:
    """Steps as the agent's; one scrape at the end."""
    until = time.monotonic() + seconds
    spent.lap()
    while time.monotonic() < until:
        time.sleep(STEP_SECONDS)
        batches = intake.drain()
        spent.intake += spent.lap()  # the thread that empties the socket worked meanwhile
        for batch in batches:
            judged.add(batch, time.time())
            spent.rows += batch.rows
        spent.binning += spent.lap()
        judged.advance(time.time())
        spent.ticks += spent.lap()
    spent.made = len(list(judged.samples()))
    spent.samples += spent.lap()


@bar("drift: intake, decode and binning of 500 features at 1,000 rows/s", "<= 180 ns a value, <= 10 % of a core in all")
def wide() -> Result:
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder:
        spent, took = measured(str(pathlib.Path(folder, "intake.sock")))
    values = spent.rows * FEATURES
    each = (spent.intake + spent.binning) / values * 1e9
    share = (spent.intake + spent.binning + spent.ticks) / took + spent.samples / SCRAPE_SECONDS
    fast = spent.rows / took > 0.95 * RATE
    decode, binning = spent.intake / values * 1e9, spent.binning / values * 1e9
    text = (
        f"{each:.0f} ns a value ({decode:.0f} intake and decode, {binning:.0f} binning and ticks of 10 s), {share:.1%} "
        f"of a core at {spent.rows / took:,.0f} rows/s with a scrape each 15 s ({spent.samples * 1e3:.1f} ms for "
        f"{spent.made:,} samples)"
    )
    return Result(text, each <= 180 and share <= 0.1 if fast else None, versions("numpy"))


@bar("drift: the whole agent, 500 features at 1,000 rows/s", "<= 10 % of a core, a scrape each 5 s")
def whole_agent() -> Result:
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder:
        data, model = pathlib.Path(folder, "reference.json"), pathlib.Path(folder, "model.py")
        data.write_text(reference().to_json())
        model.write_text(SENDER)
        command = [os.path.join(os.path.dirname(sys.executable), "pilotfish"), "run", "--listen", "127.0.0.1:0"]
        command += ["--reference", str(data), "--", sys.executable, str(model), "600"]
        env = {**os.environ, "PILOTFISH_RUNTIME_DIR": f"{folder}/run", "PILOTFISH_STATE_DIR": f"{folder}/state"}
        process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://([^/]+)/", line)
            assert found is not None, f"no start line: {line!r}"
            return share(found[1])
        finally:
            process.kill()
            process.wait()
            time.sleep(1.0)  # ours leaves with it


def share(address: str) -> Result:
    """CPU of all resident processes over 10 s once the traffic is judged and no job runs."""
    until, status = time.monotonic() + 60, told(address, "/api/v1/status")
    while not (status["models"] and status["models"][0]["window_rows"] > 1_000) or status["processes"].get("worker"):
        assert time.monotonic() < until, f"no verdict: {status['models']}"
        time.sleep(0.5)
        status = told(address, "/api/v1/status")
    pids = {name: pid for name, pid in status["processes"].items() if pid is not None}
    rows, began = status["models"][0]["window_rows"], time.monotonic()
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    for _ in range(2):
        time.sleep(5.0)
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            size = len(answer.read())
    took = time.monotonic() - began
    spent = {name: (cpu_seconds(pid) - before[name]) / took for name, pid in pids.items()}
    last = told(address, "/api/v1/status")["models"][0]
    parts = ", ".join(f"{name} {one:.2%}" for name, one in spent.items())
    total = sum(spent.values())
    text = f"{total:.1%} of a core ({parts}), scrapes of {size / 1024:,.0f} KiB, {last['words']}"
    return Result(text, total <= 0.1 and last["window_rows"] > rows, versions("numpy"))


def told(address: str, path: str) -> Any:
    """JSON of the agent."""
    with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
        return json.load(answer)
