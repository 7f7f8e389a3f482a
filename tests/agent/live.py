"""A real agent beside a real model, in folders of its own."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
PILOTFISH = [sys.executable, "-m", "pilotfish_agent"]
SCRIPT = os.path.join(os.path.dirname(sys.executable), "pilotfish")
PATIENCE = 40.0
MODEL = """
import random, sys, time
from pilotfish import Monitor
monitor = Monitor(name="toy", version="7")
random.seed(1)
while True:
    shift = 2.0 if __import__("os").path.exists(sys.argv[1] + "/shift") else 0.0
    for _ in range(40):
        x = {"age": random.gauss(40 + 10 * shift, 10), "color": random.choice("abc")}
        monitor.observe(features=x, prediction=random.choice(["yes", "no"]), latency=0.004)
    if __import__("os").path.exists(sys.argv[1] + "/leave"):
        sys.exit(3)
    time.sleep(0.1)
"""


def until(look: Callable[[], T], why: str) -> T:
    """What ``look`` finds, once it finds something; how long that takes is no matter here."""
    end = time.monotonic() + PATIENCE
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s for: {why}"
        time.sleep(0.1)


class Live:
    """One model with its agent.

    Args:
        root: an empty folder.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("PILOTFISH_")} | {
            "PILOTFISH_RUNTIME_DIR": str(root / "run"),
            "PILOTFISH_STATE_DIR": str(root / "state"),
            "HOME": str(root),
        }
        self.process: subprocess.Popen[bytes] | None = None
        (root / "model.py").write_text(MODEL)

    def start(self, *options: str, command: list[str] | None = None, **variables: str) -> None:
        """``pilotfish run OPTIONS -- CMD``; the default CMD sends 400 rows a second."""
        words = command or [sys.executable, str(self.root / "model.py"), str(self.root)]
        self.spawn([SCRIPT, "run", "--listen", "127.0.0.1:0", "--instance", "toy", *options, "--", *words], **variables)

    def spawn(self, words: list[str], **variables: str) -> None:
        """Any command that becomes the model."""
        with open(self.root / "err", "ab") as err:
            self.process = subprocess.Popen(words, env=self.env | variables, stderr=err, stdout=subprocess.DEVNULL)

    def attach(self, *options: str) -> None:
        """``pilotfish attach OPTIONS``."""
        with open(self.root / "err", "ab") as err:
            self.process = subprocess.Popen(
                [SCRIPT, "attach", "--listen", "127.0.0.1:0", "--instance", "toy", *options], env=self.env, stderr=err
            )

    @property
    def err(self) -> str:
        """What stands on stderr."""
        return (self.root / "err").read_text()

    @property
    def log(self) -> str:
        """The agent's log."""
        path = self.root / "state/toy/agent.log"
        return path.read_text() if path.exists() else ""

    def address(self) -> str:
        """Where the agent listens."""
        path = self.root / "run/toy/address"
        return until(lambda: path.read_text().strip() if path.exists() else "", f"an address; stderr: {self.err}")

    def get(self, path: str) -> str:
        """The body of an answer, empty while there is none."""
        try:
            with urllib.request.urlopen(f"http://{self.address()}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return ""

    def status(self) -> dict[str, Any]:
        """`/api/v1/status`, empty while there is none."""
        text = self.get("/api/v1/status")
        return dict(json.loads(text)) if text else {}

    def model(self) -> dict[str, Any]:
        """The first model of `status`, empty while there is none."""
        models = self.status().get("models") or [{}]
        return dict(models[0])

    def metric(self, pattern: str) -> float | None:
        """The value of the first series whose line matches, None when there is none."""
        found = re.search(rf"^{pattern}[^ ]* (\S+)$", self.get("/metrics"), re.MULTILINE)
        return float(found[1]) if found else None

    def stop(self) -> None:
        """Ends the model, or the agent under `attach`; ours leaves with it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        until(lambda: not (self.root / "run/toy/address").exists(), "the runtime folder to be gone")
