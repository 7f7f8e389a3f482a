"""What watching costs at rest: memory of every resident Pilotfish process, CPU while nothing happens."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bars import Result, bar, versions

FEATURES = 20
ROWS = 10_000
IDLE_SECONDS = 20.0
MODEL = """
import random, sys, time
from pilotfish import Monitor
monitor = Monitor(name="bench")
names = [f"f{i}" for i in range(20)]
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for _ in range(10):
        monitor.observe(features={n: random.gauss(0, 1) for n in names}, prediction=random.random(), latency=0.01)
    time.sleep(0.1)
time.sleep(600)
"""


@contextmanager
def watched() -> Iterator[tuple[dict[str, int], str]]:
    """(component -> pid, address) of an agent beside a model that sent 10 s of traffic, tables built, then is idle."""
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder:
        data, model = pathlib.Path(folder, "data.csv"), pathlib.Path(folder, "model.py")
        with data.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow([f"f{i}" for i in range(FEATURES)])
            rows.writerows([[f"{random.gauss(0, 1):.6f}" for _ in range(FEATURES)] for _ in range(ROWS)])
        model.write_text(textwrap.dedent(MODEL))
        command = [os.path.join(os.path.dirname(sys.executable), "pilotfish"), "run", "--listen", "127.0.0.1:0"]
        command += ["--reference", str(data), "--", sys.executable, str(model), "10"]
        env = {**os.environ, "PILOTFISH_RUNTIME_DIR": f"{folder}/run", "PILOTFISH_STATE_DIR": f"{folder}/state"}
        env |= {"PILOTFISH_DRIFT_TICK": "2s", "PILOTFISH_DRIFT_DEPENDENCE": "1"}
        process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://([^/]+)/", line)
            assert found is not None, f"no start line: {line!r}"
            yield judged(found[1]), found[1]
        finally:
            process.kill()
            process.wait()
            time.sleep(1.0)  # ours leaves with it


def judged(address: str) -> dict[str, int]:
    """Waits until tables are there and the traffic has been judged; the resident components."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        time.sleep(1.0)
        with urllib.request.urlopen(f"http://{address}/api/v1/status", timeout=5) as answer:
            status = json.load(answer)
        models = status["models"]
        if models and models[0]["window_rows"] > 500 and status["processes"].get("worker") is None:
            time.sleep(5.0)  # the traffic ends
            return {name: pid for name, pid in status["processes"].items() if pid is not None}
    raise TimeoutError(f"no verdict within 90 s: {models}")


def pss(pid: int) -> float:
    """MiB."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """User and system time of all live threads of a process, from their scheduler statistics."""
    return sum(
        int((task / "schedstat").read_text().split()[0]) / 1e9 for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
    )


@bar("resident memory and idle CPU, drift on 20 features", "<= 80 MiB PSS, <= 5 ms/s")
def at_rest() -> Result:
    with watched() as (pids, _):
        memory = {name: pss(pid) for name, pid in pids.items()}
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        began = time.monotonic()
        time.sleep(IDLE_SECONDS)
        seconds = time.monotonic() - began
        idle = sum(cpu_seconds(pid) - before[name] for name, pid in pids.items()) / seconds * 1e3
    parts = ", ".join(f"{name} {mib:.1f}" for name, mib in memory.items())
    total = sum(memory.values())
    return Result(
        f"{total:.1f} MiB PSS ({parts}), idle {idle:.2f} ms/s",
        total <= 80 and idle <= 5,
        versions("numpy", "aiohttp", "prometheus-client"),
    )
