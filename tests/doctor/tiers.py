"""The table of tiers in docs/doctor.md, and doctor run in each of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pilotfish_agent.hardware._runner import PACKAGE
from pilotfish_core import registry
from tests.agent.live import PILOTFISH
from tests.attach.nobody import UNPRIVILEGED_ROOT, LiveNobody

PAGE: Final = Path(__file__).parents[2] / "docs" / "doctor.md"
CAPABILITIES: Final = ("sys_ptrace", "dac_read_search", "net_admin")
TIERS: Final = (0, 1, 2)
AREAS: Final = ("signals", "machine")


def promised() -> dict[str, tuple[str, ...]]:
    """Metric -> the first word of the table for each tier: yes, part, no, as (it depends)."""
    parts = dict(registry.parts(PACKAGE))
    rows: list[tuple[list[str], tuple[str, ...]]] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`(\w+)`", cells[0])
        if len(cells) == 4 and names and line.startswith("|"):
            rows.append((names, tuple(re.split(r"\W", cell, maxsplit=1)[0] for cell in cells[1:])))
    found: dict[str, tuple[str, ...]] = {}
    for names, words in sorted(rows, key=lambda row: row[0][0] not in parts):  # a metric's own row overrules
        for name in names:
            part = parts.get(name)
            metrics = [m.name for m in part.METRICS] if part is not None else [f"pilotfish_{name}"]
            found.update(dict.fromkeys(metrics, words))
    return found


@contextmanager
def model(*before: str) -> Iterator[int]:
    """PID of a process that sleeps, started by the command ``before``."""
    process = subprocess.Popen([*before, "sleep", "600"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def looked(tier: int) -> dict[str, dict[str, Any]]:
    """The findings of all signals by name, in a tier; only root can."""
    if tier == 1:
        with model(*UNPRIVILEGED_ROOT) as pid:
            command = [*UNPRIVILEGED_ROOT, *PILOTFISH, "doctor", "--json", "--pid", str(pid)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    else:
        folder = Path(tempfile.mkdtemp(prefix="pilotfish-test-", dir="/tmp"))
        try:
            with model() as pid:
                held = CAPABILITIES if tier == 2 else ()
                done = LiveNobody(folder).ask("doctor", "--json", "--pid", str(pid), capabilities=held)
        finally:
            shutil.rmtree(folder)
    if done.returncode:
        raise RuntimeError(f"doctor in tier {tier}, as uid {os.geteuid()}: exit {done.returncode}: {done.stderr}")
    areas = json.loads(done.stdout)["areas"]
    return {f["name"]: f for area in AREAS for f in areas[area]["findings"]} | {
        f["name"]: f for f in areas["rights"]["findings"]
    }


def broken(tier: int, found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Where what was found is not what the table promises."""
    for name, words in promised().items():
        finding = found.get(name)
        if finding is None:
            yield f"tier {tier}: {name} has no line"
        elif words[tier] == "no" and finding["state"] == "works":
            yield f"tier {tier}: {name} works, the table says no"
        elif words[tier] in {"yes", "part"} and finding["reason"] == "permission":
            yield f"tier {tier}: {name} is denied, the table says {words[tier]}"
        elif finding["reason"] == "permission" and not finding["enable"]:
            yield f"tier {tier}: {name} has no remedy"
