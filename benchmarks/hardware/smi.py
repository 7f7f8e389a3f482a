"""What `nvidia-smi` prints while it runs, as numbers over time."""

from __future__ import annotations

import functools
import itertools
import os
import pty
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

MIB = 2**20
QUERY = {"utilization.gpu": ("utilization", 0.01), "memory.used": ("memory", MIB), "power.draw": ("power", 1.0)}
"""What is asked of the GPU: our name for it, and the unit in ours (a share, bytes, watts)."""
APPS = ("pid", "gpu_uuid", "used_memory")
GPM = {"2": "gpu_sm_active_ratio", "5": "gpu_tensor_active_ratio", "10": "gpu_dram_active_ratio"}
"""NVML's numbers of these metrics (nvmlGpmMetricId_t), which `nvidia-smi dmon --gpm-metrics` takes."""
Point = tuple[float, float]
"""(monotonic time, value)."""


@dataclass
class Told:
    """What one side said, by what it is called there: values over time."""

    points: dict[str, list[Point]] = field(default_factory=dict)

    def add(self, name: str, at: float, value: float) -> None:
        """Notes a value."""
        self.points.setdefault(name, []).append((at, value))

    def mean(self, name: str, windows: Iterable[Point]) -> float | None:
        """Of the values in any of the windows (begin, end); None where there is none."""
        spans = list(windows)
        values = [v for at, v in self.points.get(name, ()) if any(a <= at <= b for a, b in spans)]
        return statistics.fmean(values) if values else None


def number(word: str) -> float | None:
    """``[N/A]``, ``-`` and ``[Not Supported]`` are none."""
    try:
        return float(word)
    except ValueError:
        return None


def parse_csv(line: str, names: Iterable[str]) -> dict[str, str]:
    """One line of ``--format=csv,noheader,nounits``, by the names that were asked for."""
    words = [word.strip() for word in line.split(",")]
    return dict(zip(names, words, strict=False))


class Table:
    """Lines of `nvidia-smi pmon` or `dmon`: columns are named by the first of two lines that begin with #."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def row(self, line: str) -> dict[str, str] | None:
        """A row by the names of its columns; None for anything else."""
        words = line.split()
        if line.startswith("#"):
            if words[1:] and words[1].lower() in {"gpu", "date", "time"}:
                self._names = [word.lower() for word in words[1:]]
            return None
        return dict(zip(self._names, words, strict=False)) if words and len(words) >= len(self._names) > 0 else None


def integral(points: list[Point], begin: float, end: float) -> float:
    """The area below the line through ``points`` between two times (trapezoids); the ends go on level."""
    inside = [(at, value) for at, value in points if begin < at < end]
    line = [(begin, at_time(points, begin)), *inside, (end, at_time(points, end))]
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(line))


def at_time(points: list[Point], at: float) -> float:
    """The value on the line through ``points``."""
    before = [p for p in points if p[0] <= at]
    after = [p for p in points if p[0] > at]
    if not before or not after:
        return (before[-1] if before else after[0])[1]
    (t0, v0), (t1, v1) = before[-1], after[0]
    return v0 + (v1 - v0) * (at - t0) / (t1 - t0)


def first_gpu() -> tuple[str, str]:
    """(UUID, product) of the GPU that all of this is about."""
    done = subprocess.run(
        ("nvidia-smi", "-i", "0", "--query-gpu=uuid,name", "--format=csv,noheader"),
        capture_output=True,
        text=True,
        check=True,
    )
    uuid, name = done.stdout.splitlines()[0].split(",", 1)
    return uuid.strip(), name.strip()


@functools.cache
def version() -> str:
    """``nvidia-smi 580.65.06``: it is the driver's."""
    command = ("nvidia-smi", "-i", "0", "--query-gpu=driver_version", "--format=csv,noheader")
    done = subprocess.run(command, capture_output=True, text=True)
    return f"nvidia-smi {done.stdout.splitlines()[0].strip() if done.stdout else 'unknown'}"


@contextmanager
def watching(uuid: str, told: Told) -> Iterator[None]:
    """Runs it, four times over, and notes what it says: names as in `QUERY` and `GPM`, and two of each process.

    Those are ``memory of PID`` (bytes) and ``sm of PID`` (a share).
    """
    query = ("--format=csv,noheader,nounits", "-i", "0")
    with ExitStack() as stack:
        for words, take in (
            ((f"--query-gpu={','.join(QUERY)}", *query, "-lms", "200"), of_gpu(told)),
            ((f"--query-compute-apps={','.join(APPS)}", *query, "-l", "1"), of_apps(told, uuid)),
            (("pmon", "-i", "0", "-s", "u", "-d", "1"), of_processes(told)),
            (("dmon", "-i", "0", "--gpm-metrics", ",".join(GPM), "--gpm-options", "d", "-d", "1"), of_gpm(told)),
        ):
            stack.enter_context(_lines(("nvidia-smi", *words), take))
        yield


Take = Callable[[float, str], None]
"""Notes what a line says, and when."""


def of_gpu(told: Told) -> Take:
    """Of `--query-gpu`."""

    def take(at: float, line: str) -> None:
        words = parse_csv(line, QUERY)
        for asked, (name, unit) in QUERY.items():
            if (value := number(words.get(asked, ""))) is not None:
                told.add(name, at, value * unit)

    return take


def of_apps(told: Told, uuid: str) -> Take:
    """Of `--query-compute-apps`."""

    def take(at: float, line: str) -> None:
        words = parse_csv(line, APPS)
        value = number(words.get("used_memory", ""))
        if words.get("gpu_uuid") == uuid and value is not None:
            told.add(f"memory of {words['pid']}", at, value * MIB)

    return take


def of_processes(told: Told) -> Take:
    """Of `pmon`; a process without a sample has ``-``: it ran nothing."""
    table = Table()

    def take(at: float, line: str) -> None:
        row = table.row(line)
        if row is not None and row.get("pid", "-") != "-":
            told.add(f"sm of {row['pid']}", at, (number(row.get("sm", "-")) or 0.0) / 100)

    return take


def of_gpm(told: Told) -> Take:
    """Of `dmon`: columns of GPM come last, in the order asked for; what they are called differs between versions."""
    table = Table()

    def take(at: float, line: str) -> None:
        words = list((table.row(line) or {}).values())[-len(GPM) :]
        for name, word in zip(GPM.values(), words, strict=False):
            if (value := number(word)) is not None:
                told.add(name, at, value / 100)

    return take


@contextmanager
def _lines(command: tuple[str, ...], take: Take) -> Iterator[None]:
    """Runs a program that prints for ever, and takes each line with its time.

    It is given a terminal: into a pipe its C library would write only when some kilobytes have come together.
    """
    ours, its = pty.openpty()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=its, stderr=subprocess.DEVNULL) as process:
        os.close(its)
        reader = threading.Thread(target=_read, args=(ours, take), daemon=True)
        reader.start()
        try:
            yield
        finally:
            process.terminate()
            reader.join(5)
    os.close(ours)


def _read(terminal: int, take: Take) -> None:
    left = b""
    while True:
        try:
            data = os.read(terminal, 65_536)
        except OSError:  # EIO: nobody has the other end any more
            return
        *lines, left = (left + data).split(b"\n")
        for line in lines:
            take(time.monotonic(), line.decode("utf-8", "replace").strip())
