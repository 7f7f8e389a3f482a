"""`replay` of long logs: time, memory, false alarms on permuted rows; binning a value.

The logs are written to a temporary folder and removed. Seeds are fixed and printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.windows.binning import LevelBinner, NumericBinner

DAY_ROWS = 143_334  # 4.3M rows in 30 days: one each .6 s
SECONDS = 86_400 / DAY_ROWS
NUMBERS, CATEGORIES = 16, 4
START = 1_732_320_000.0
REFERENCE_ROWS = 10_000
SEED = 20250101
BUDGETS = ("1 per 30d", "30 per 1d", "1000 per 1d")
MEMORY_MIB = 200


@dataclass(frozen=True, slots=True)
class Log:
    """Rows of 16 numbers and 4 categories; the mean of one number and the mix of one category move half-way."""

    numbers: NDArray[np.float32]
    levels: NDArray[np.int8]

    def take(self, rows: NDArray[np.int64]) -> Log:
        """Some rows, in this order."""
        return Log(self.numbers[rows], self.levels[rows])


def make_log(rows: int) -> Log:
    rng = np.random.default_rng(SEED)
    numbers = rng.normal(50, 10, size=(rows, NUMBERS)).astype(np.float32)
    numbers[:, 1] = np.exp(rng.normal(size=rows))
    levels = rng.integers(0, 5, size=(rows, CATEGORIES)).astype(np.int8)
    half = rows // 2
    numbers[half:, 3] += 8  # .8 standard deviations
    levels[half:, 1] = np.where(rng.random(rows - half) < 0.25, 4, levels[half:, 1])
    return Log(numbers, levels)


def write_log(path: Path, log: Log) -> None:
    """JSON lines of some 600 bytes a row, as a service would write them."""
    names = [f"sensor_reading_{i:02}" for i in range(NUMBERS)]
    kinds = [f"customer_segment_{i}" for i in range(CATEGORIES)]
    fields = [f'"{n}": %.4f' for n in names] + [f'"{k}": "segment-%d"' for k in kinds]
    line = '{"ts": %.2f, "id": "request-%08d", "features": {' + ", ".join(fields) + '}, "prediction": %.4f}\n'
    with path.open("w", encoding="ascii") as file:
        for start in range(0, len(log.numbers), 20_000):
            numbers = log.numbers[start : start + 20_000]
            score = 1 / (1 + np.exp((50 - numbers[:, 0].astype(float)) / 10))
            file.writelines(
                line % (START + (start + i) * SECONDS, start + i, *row, *kinds_of, p)
                for i, (row, kinds_of, p) in enumerate(
                    zip(numbers.tolist(), log.levels[start : start + 20_000].tolist(), score.tolist(), strict=True)
                )
            )


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pilotfish-replay-") as name:
        yield Path(name)


@dataclass(slots=True)
class Peak:
    """The largest PSS of a process with its children, read each .2 s until it ends."""

    pid: int
    mib: float = 0.0

    def watch(self, over: threading.Event) -> None:
        while not over.wait(0.2):
            with contextlib.suppress(OSError, ValueError, IndexError):
                children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
                self.mib = max(self.mib, sum(map(pss, (str(self.pid), *children))))


def pss(pid: str) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").split("Pss:")[1].split()[0]) / 1024


@dataclass(frozen=True, slots=True)
class Run:
    report: dict[str, Any]
    wall: float
    cpu: float
    peak_mib: float


def cpu_of_children() -> float:
    """Seconds of all processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def pilotfish(home: Path, *args: str) -> Run:
    """One command, with its peak memory; its cache is in ``home``."""
    environment = os.environ | {"XDG_CACHE_HOME": str(home / "cache"), "PILOTFISH_CONFIG": ""}
    start, used = time.perf_counter(), cpu_of_children()
    process = subprocess.Popen(
        (sys.executable, "-m", "pilotfish_agent", *args), stdout=subprocess.PIPE, env=environment, text=True
    )
    peak, over = Peak(process.pid), threading.Event()
    thread = threading.Thread(target=peak.watch, args=(over,))
    thread.start()
    out, _ = process.communicate()
    over.set()
    thread.join()
    wall = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"pilotfish {args[0]} ended with {process.returncode}")
    report = json.loads(out) if "--json" in args else {}
    return Run(report, wall, cpu_of_children() - used, peak.mib)


def build_reference(home: Path, log: Log) -> Path:
    write_log(home / "reference.jsonl", log)
    path = home / "reference.json"
    pilotfish(home, "reference", "build", str(home / "reference.jsonl"), "-o", str(path), "--independent")
    return path


def time_replay(days: int, limit: float) -> Result:
    with folder() as home:
        log = make_log(days * DAY_ROWS)
        reference = build_reference(home, log.take(np.arange(REFERENCE_ROWS)))
        path = home / "log.jsonl"
        write_log(path, log)
        size = path.stat().st_size
        rows = len(log.numbers)
        del log
        run = pilotfish(home, "replay", str(path), "--reference", str(reference), "--json")
    right = run.report["rows"] == rows and found_both(run)
    shifts = "both shifts found" if right else "NOT both shifts found"
    measured = (
        f"{run.wall:.1f} s ({run.cpu:.1f} s CPU), {rows:,} rows, {size / 1e9:.2f} GB, "
        f"{run.report['ticks']:,} ticks; peak PSS {run.peak_mib:.0f} MiB; {shifts}"
    )
    return Result(measured, run.wall <= limit and run.peak_mib <= MEMORY_MIB and right, versions("numpy"))


def found_both(run: Run) -> bool:
    return {"sensor_reading_03", "customer_segment_1"} <= {a["feature"] for a in run.report["alarms"]}


def poisson_limit(mean: float) -> int:
    from scipy.stats import poisson

    return int(poisson.ppf(0.99, mean))


def permuted(days: int) -> Result:
    """Alarms on permuted rows under three budgets; the rows in their own order must alarm, or the log shows nothing."""
    rng = np.random.default_rng(SEED + 1)
    parts, holds = [], True
    with folder() as home:
        log = make_log(days * DAY_ROWS)
        reference = build_reference(home, log.take(rng.choice(len(log.numbers), REFERENCE_ROWS, replace=False)))
        path = home / "log.jsonl"
        write_log(path, log.take(rng.permutation(len(log.numbers))))
        for budget in BUDGETS:
            count, seconds = int(budget.split()[0]), float(budget.split()[2][:-1]) * 86_400
            limit = poisson_limit(count * days * 86_400 / seconds)
            run = pilotfish(
                home, "replay", str(path), "--reference", str(reference), "--json", "--false-alarms", budget
            )
            alarms = len(run.report["alarms"])
            parts.append(f"{alarms} (limit {limit}) at {budget}")
            holds = holds and alarms <= limit
        write_log(path, log)
        own = pilotfish(home, "replay", str(path), "--reference", str(reference), "--json")
    word = "both shifts" if found_both(own) else "NOT both shifts"
    return Result(f"alarms {', '.join(parts)}; in their own order {word} alarm; seed {SEED}", holds and found_both(own))


@bar("replay of 3 days", f"<= 30 s, peak <= {MEMORY_MIB} MiB, 430,000 rows x 20 features, both shifts found")
def replay_3_days() -> Result:
    return time_replay(3, 30.0)


@bar("replay of 30 days", f"<= 300 s, peak <= {MEMORY_MIB} MiB, 4.3M rows x 20 features, both shifts found", slow=True)
def replay_30_days() -> Result:
    return time_replay(30, 300.0)


PERMUTED = "alarms <= 99 % Poisson limit of each budget; both shifted streams alarm in their own order"


@bar("replay of permuted rows, 1 day", PERMUTED)
def permuted_1_day() -> Result:
    return permuted(1)


@bar("replay of permuted rows, 30 days", PERMUTED, slow=True)
def permuted_30_days() -> Result:
    return permuted(30)


def nanoseconds(binner: NumericBinner | LevelBinner, column: Any, size: int) -> float:
    """Median of 7 rounds, ns a value."""
    repeats = max(1, 200_000 // size)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(repeats):
            binner.counts(column)
        times.append((time.perf_counter() - start) / repeats / size * 1e9)
    return statistics.median(times)


@bar("binning", "<= 100 ns a value in batches of 100: numbers, and categories that are numbers")
def binning() -> Result:
    rng = np.random.default_rng(SEED)
    numeric = NumericBinner(np.sort(rng.normal(size=35)))
    levels = LevelBinner([str(i) for i in range(20)])
    texts = LevelBinner([f"level-{i}" for i in range(20)])
    words, holds = [], True
    for size in (100, 5_000):
        x = rng.normal(size=size)
        codes = rng.integers(0, 22, size)
        column = [f"level-{i}" for i in codes]
        ns = (
            nanoseconds(numeric, x, size),
            nanoseconds(levels, codes.astype(float), size),
            nanoseconds(texts, column, size),
        )
        holds = holds and max(ns[:2]) <= 100
        words.append(f"batches of {size}: numeric {ns[0]:.0f} ns, categorical {ns[1]:.0f} ns, texts {ns[2]:.0f} ns")
    return Result("; ".join(words), holds, versions("numpy"))
