"""What every collector exports over frozen machines: no series is there that was not read, none is missing unsaid.

The machines are text files (tests/hardware/trees), so v2 limits, RAPL and refusals are seen that this machine has not;
the row says nothing of a live kernel.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.bars import Result, bar
from tests.hardware.exposed import MACHINES, golden, shown


def lint(page: str) -> str:
    """What promtool has to say of a page; empty when nothing."""
    done = subprocess.run(("promtool", "check", "metrics"), input=page, capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr).strip() or ("" if done.returncode == 0 else f"exit code {done.returncode}")


@bar(
    "exposition over frozen machines: Debian, pod v2, Docker v1, hybrid, no cgroup, denied",
    "each page as golden, promtool check metrics clean",
)
def pages() -> Result:
    if shutil.which("promtool") is None:
        return Result("promtool is not installed: make system-deps", None)
    told, wrong = [], []
    for name in MACHINES:
        with tempfile.TemporaryDirectory(prefix="pilotfish-golden-") as folder:
            page = shown(name, Path(folder))
        series = [line for line in page.splitlines() if not line.startswith("#")]
        gaps = [line for line in series if line.startswith("pilotfish_signal_unavailable{")]
        told.append(f"{name} {len(series) - len(gaps)}, {len(gaps)} absent with a reason")
        if page != golden(name).read_text(encoding="utf-8"):
            wrong.append(f"{name} differs from {golden(name).name}")
        if words := lint(page):
            wrong.append(f"{name}: promtool: {words.splitlines()[0]}")
    return Result("; ".join([f"series of {len(told)} frozen machines: {', '.join(told)}", *wrong]), not wrong)
