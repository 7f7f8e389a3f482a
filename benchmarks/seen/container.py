"""The image's bars: its size, its life in a pod, and the agent inside the systemd unit's own sandbox."""

from __future__ import annotations

import functools
import json
import re
import shlex
import shutil
import subprocess
import time
from typing import Any

from benchmarks.bars import Result, bar
from tests.agent.live import until
from tests.deploy import bundle, image, sandbox, units

MOST = 75e6
SENDS = """
import random, time
from pilotfish import Monitor
monitor = Monitor(name="toy", version="1")
for _ in range(60):
    for _ in range(20):
        monitor.observe(features={"age": random.gauss(40, 10)}, prediction=random.choice(["yes", "no"]))
    time.sleep(0.05)
monitor.flush(2)
"""
"""1,200 rows: enough to learn from (500), so that pf-worker must build its tables."""


@functools.cache
def built() -> image.Image:
    """One build for all rows."""
    return image.build()


def version() -> str:
    """Of the peers that build and run it."""
    told = (subprocess.run([name, "--version"], capture_output=True, text=True).stdout for name in ("buildah", "runc"))
    return ", ".join(" ".join(text.split()[:3:2]) for text in told)


def absent() -> str:
    """Why this machine cannot tell, empty when it can."""
    missing = image.missing()
    return f"{missing} is not installed: make system-deps" if missing else ""


@bar("container: layers over the base, compressed", "<= 75 MB, and not root")
def layers() -> Result:
    if why := absent():
        return Result(why, None)
    made = built()
    size = sum(made.layers)
    measured = f"{size / 1e6:.1f} MB, uid {made.config['User']}, built in {made.seconds:.0f} s"
    return Result(measured, size <= MOST and made.config["User"] == "65532:65532", version())


@bar("container: in a pod with a process of another user, read-only root, no capability", "/metrics, stop <= 5 s")
def pod() -> Result:
    if why := absent():
        return Result(why, None)
    made = built()
    with bundle.pod() as (folder, namespace, model):
        words = [*made.config["Cmd"], "--name", "serve_model[.]py"]
        started = time.monotonic()
        with bundle.container(folder, bundle.spec(made.config, made.rootfs, words, namespace)) as it:
            until(lambda: "watching PID" in it.err or it.process.poll() is not None, "the start line")
            ready = time.monotonic() - started
            until(lambda: bundle.cpu(it.get("/metrics")) > 0, "CPU time of the model")
            page = it.get("/metrics")
            told = {
                "/metrics": "pilotfish_build_info" in page,
                "cmdline": f"watching PID {model} (serve_model" in it.err,
                "CPU": bundle.cpu(page) > 0,
                "io denied": 'signal_unavailable{collector="io",reason="permission"' in page,
                "healthy": it.execute(["pilotfish", "status"]) == 0,
            }
            before = time.monotonic()
            code = it.stop()
            took = time.monotonic() - before
    words = [f"{name} {'yes' if good else 'NO'}" for name, good in told.items()]
    measured = f"ready after {ready:.1f} s, {', '.join(words)}, stop {took:.2f} s with exit {code}"
    return Result(measured, all(told.values()) and took <= 5 and code == 0, version())


@bar("systemd: the agent inside the unit's own system call filter and rights", "watches, learns, no error")
def in_the_units_sandbox() -> Result:
    missing = absent() or ("" if shutil.which("systemd-analyze") else "systemd-analyze is not installed")
    if missing:
        return Result(missing, None)
    made = built()
    service = units.service(units.FOLDER / "pilotfish.service")
    words = shlex.split(service["ExecStart"][0])
    words[words.index("pilotfish")] = made.config["User"].partition(":")[2]  # no such group in the image
    with bundle.pod() as (folder, namespace, _):
        spec = bundle.spec(made.config, made.rootfs, [*words[1:], "--name", "serve_model[.]py"], namespace)
        spec["process"]["args"] = [*words, "--name", "serve_model[.]py"]
        spec["linux"]["seccomp"] = sandbox.seccomp(service)
        with bundle.container(folder, spec) as it:
            until(lambda: "watching PID" in it.err or it.process.poll() is not None, "the start line")
            it.execute(["python", "-c", SENDS])
            until(lambda: _worker(it.get("/metrics")) > 0 or it.process.poll() is not None, "pf-worker")
            status: dict[str, Any] = json.loads(it.get("/api/v1/status") or "{}")
            learnt = [f"{m['state']} of {m['reference_rows']} rows" for m in status.get("models", [])]
            worker = _worker(it.get("/metrics"))
            wrong = [line for line in it.err.splitlines() if "level=error" in line]
            code = it.stop()
    errors = f"{len(wrong)} errors{': ' + wrong[0][:200] if wrong else ''}"
    measured = f"{', '.join(learnt) or 'nothing learnt'}, pf-worker ran ({worker:.1f} s of CPU), {errors}, exit {code}"
    return Result(measured, bool(learnt) and not wrong and code == 0, version())


def _worker(page: str) -> float:
    found = re.search(r'^pilotfish_component_cpu_seconds_total\{component="worker"\} (\S+)$', page, re.MULTILINE)
    return float(found[1]) if found else 0.0
