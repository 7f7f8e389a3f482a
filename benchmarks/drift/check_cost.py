"""What one batch costs, against Evidently on the same data in the same run: the calculation alone.

10,000 rows against a reference of 100,000, 20 numeric and 5 categorical columns, one of them shifted by .25 sd.
Imports and parsing are not in it.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import Any

from benchmarks.bars import Result, bar, versions
from benchmarks.environments import ROOT
from benchmarks.peers import environments
from benchmarks.peers.batch import SHIFTED

SECONDS = 120


@functools.cache
def measured(who: str) -> dict[str, Any]:
    """CPU seconds, peak MiB and the columns found by one tool, in a process of its own."""
    python = environments.python("evidently") if who == "evidently" else sys.executable
    given = _run(sys.executable, "made") if who == "check" else b""
    found: dict[str, Any] = json.loads(_run(python, who, given).splitlines()[-1])
    return found


def _run(python: str, who: str, given: bytes = b"") -> bytes:
    argv = [python, "-m", "benchmarks.peers.batch", who]
    done = subprocess.run(argv, input=given, capture_output=True, cwd=ROOT, timeout=SECONDS)
    if done.returncode:
        raise RuntimeError(f"{who}: {done.stderr.decode(errors='replace')[-300:]}")
    return done.stdout


def evidently_version() -> str:
    """As its lock file has it."""
    lock = (environments.HERE / "locks" / "evidently.txt").read_text(encoding="utf-8")
    return next(line.split()[0].replace("==", " ") for line in lock.splitlines() if line.startswith("evidently=="))


@bar(
    "check: a batch of 10,000 rows x 25 columns on a built reference of 100,000",
    "CPU <= 1/50 and peak memory <= 1/4 of Evidently's",
)
def built() -> Result:
    ours, theirs = measured("check"), measured("evidently")
    times, part = theirs["cpu"] / ours["cpu"], ours["peak_mib"] / theirs["peak_mib"]
    words = (
        f"{ours['cpu'] * 1e3:.1f} ms, {ours['peak_mib']:.0f} MiB against {theirs['cpu'] * 1e3:,.0f} ms, "
        f"{theirs['peak_mib']:.0f} MiB: 1/{times:.0f} of the CPU, {part:.2f} of the memory; "
        f"found {', '.join(ours['found']) or 'nothing'} against {', '.join(theirs['found']) or 'nothing'}"
    )
    holds = times >= 50 and part <= 1 / 4 and SHIFTED in ours["found"]
    return Result(words, holds, f"{versions('numpy', 'scipy')}, {evidently_version()}")


@bar(
    "check --tests all: the same batch, the reference made of its rows in the calculation", "CPU <= 1/5 of Evidently's"
)
def all_tests() -> Result:
    ours, theirs = measured("check_all"), measured("evidently")
    words = (
        f"{ours['cpu'] * 1e3:,.0f} ms, {ours['peak_mib']:.0f} MiB against {theirs['cpu'] * 1e3:,.0f} ms, "
        f"{theirs['peak_mib']:.0f} MiB: 1/{theirs['cpu'] / ours['cpu']:.1f} of the CPU"
    )
    return Result(words, theirs["cpu"] >= 5 * ours["cpu"], f"{versions('numpy', 'scipy')}, {evidently_version()}")
