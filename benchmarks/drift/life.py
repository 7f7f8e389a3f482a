"""A reference's life: killed while evidence is saved, shared by fifty replicas, reloaded and accepted while it runs."""

from __future__ import annotations

import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import structlog

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.features import Config as Features
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.tables import StreamTables
from pilotfish_agent.drift.watch import DriftWatch, TableRequest
from pilotfish_agent.pipeline.model import Terms, WatchedModel
from pilotfish_agent.state import files
from pilotfish_core.clock import ManualClock
from pilotfish_core.events import Events
from pilotfish_core.nouns import ObservationBatch
from tests.agent.live import Live, until
from tests.agent.test_reload import reference as toy_reference
from tests.agent.test_reload import request

SEED = 9610
START, TICK, ROWS = 1_700_000_000.0, 10.0, 100
BEFORE, BETWEEN = 40, 6  # ticks: to the first checkpoint, with a shift from the half on, and to the second
PTRACE_TRACEME, PTRACE_SYSCALL = 0, 24
MOST_STOPS = 5_000


# -- killed at any system call


@dataclass(slots=True)
class World:
    """A model fed the same rows each time, its tables built once."""

    folder: pathlib.Path
    reference: Reference | None
    built: dict[str, list[StreamTables]]

    def model(self) -> WatchedModel:
        """A fresh one over the folder, as an agent makes it."""
        drift = Config(dependence=1.0)
        terms = Terms("m", drift, Features(), "auto", None, 1_000, str(self.folder))
        return WatchedModel("m", self.reference, terms, Events(ManualClock()))

    def give_tables(self, watch: DriftWatch) -> None:
        """What it asks for."""
        request = watch.table_request()
        if request is None:
            return
        if request.key not in self.built:
            self.built[request.key] = _tables(request)
        watch.set_tables(self.built[request.key])

    def run(self, model: WatchedModel, first: int, ticks: int) -> None:
        """Ticks number ``first`` and following."""
        for i in range(first, first + ticks):
            rng = np.random.default_rng((SEED, i))
            rows = _rows(rng, ROWS, shift=0.8 if i >= BEFORE // 2 else 0.0)
            model.add(ObservationBatch("m", None, "sdk", ROWS, features=rows), START + TICK * i + 1)
            model.advance(START + TICK * (i + 1))
            self.give_tables(model.watch)

    def restored(self) -> dict[str, Any]:
        """What a new agent finds."""
        model = self.model()
        model.restore()
        self.give_tables(model.watch)
        return state(model.watch)


def _rows(rng: np.random.Generator, n: int, shift: float = 0.0) -> dict[str, Any]:
    return {"x": rng.normal(shift, 1, n), "y": rng.exponential(1, n), "c": rng.choice(list("abcd"), n).tolist()}


def _tables(request: TableRequest) -> list[StreamTables]:
    from pilotfish_agent.drift import tables

    return tables.build(request.specs, request.budget_ticks, request.streams)


def state(watch: DriftWatch) -> dict[str, Any]:
    """All that evidence is, to be compared."""
    judge = watch.judge
    if judge is None:
        return {"none": True}
    engine = {f"{f}.{n}": a.tobytes() for f in range(len(judge.tables)) for n, a in judge.engine.dump(f).items()}
    latches = {place: (one.severity, one.crossed, one.entry.ts) for place, one in judge.latches.items()}
    return {
        "engine": engine,
        "scores": judge.scores.astype(np.float32).tobytes(),
        "latches": latches,
        "ticks": judge.history.ticks,
        "rows": judge.history.rows,
        "reference": watch.status().reference_id,
    }


def killed_at(stop: int, work: Callable[[], None]) -> bool:
    """Forks, lets the child do ``work`` up to its system call stop number ``stop``, and kills it there.

    Returns:
        False when it came to its end before.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        libc.ptrace(PTRACE_TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    for _ in range(stop):
        if libc.ptrace(PTRACE_SYSCALL, child, None, None) != 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise PermissionError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            return False
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


@dataclass(frozen=True, slots=True)
class Found:
    """What new agents found, of one that was killed at each of its stops while it saved.

    Attributes:
        kills: as many stops as there were, two a system call.
        older, newest: evidence was that of the checkpoint before, or of a run without the kill.
        other: it was anything else: zero, damaged, newer.
    """

    kills: int
    older: int
    newest: int
    other: int


def kill_everywhere(world: World, save: Callable[[WatchedModel], None]) -> Found:
    """One run of ``save`` for each stop in it."""
    model = world.model()
    world.give_tables(model.watch)
    world.run(model, 0, BEFORE)
    model.save()
    path = next(world.folder.glob("*.ckpt"))
    first = path.read_bytes()
    older = world.restored()
    world.run(model, BEFORE, BETWEEN)
    newest = state(model.watch)
    found = [0, 0, 0]
    for stop in range(1, MOST_STOPS):
        path.write_bytes(first)
        for left in world.folder.glob("*.part"):
            left.unlink()
        if not killed_at(stop, partial(save, model)):
            break
        now = world.restored()
        found[0 if now == older else 1 if now == newest else 2] += 1
    if world.restored() != newest:
        raise AssertionError("a save that nobody kills is not taken up as it was")
    return Found(stop - 1, *found)


def in_place(path: str, *payload: bytes | memoryview) -> None:
    """The mutant: as everybody writes a file at first."""
    sealed(f"{path}.sealed", *payload)
    raw = pathlib.Path(f"{path}.sealed").read_bytes()
    with open(path, "wb", buffering=0) as file:
        file.writelines(raw[at : at + 16_384] for at in range(0, len(raw), 16_384))


sealed = files.write_atomic


def save_in_place(model: WatchedModel) -> None:
    """In a child, which ends with it."""
    files.write_atomic = in_place
    model.save()


def reference(rows: int = 10_000) -> Reference:
    """What the first rows of the world are drawn from."""
    made = ReferenceBuilder()
    made.add(ObservationBatch("m", None, "sdk", rows, features=_rows(np.random.default_rng(SEED), rows)))
    return made.reference(created=START, model="m", independent=True)


@bar("killed at any system call of a checkpoint: evidence of a run without the kill, or one checkpoint older", "all")
def killed_while_saving() -> Result:
    """A given reference with an alarm, and one that is being learnt; a writer in place must be caught."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # alarms and damage are meant here
    words, holds = [], True
    for what, given, save in (
        ("given", reference(), WatchedModel.save),
        ("learnt", None, WatchedModel.save),
        ("mutant, in place", reference(), save_in_place),
    ):
        with tempfile.TemporaryDirectory(prefix="pilotfish-kill-") as folder:
            try:
                found = kill_everywhere(World(pathlib.Path(folder), given, {}), save)
            except PermissionError as error:
                return Result(f"ptrace is not permitted here: {error}", None)
        words.append(f"{what}: {found.kills} kills, {found.older} older, {found.newest} newest, {found.other} other")
        caught = found.other > 0
        holds = holds and found.kills > 20 and caught == (save is save_in_place)
        holds = holds and (save is save_in_place or (found.older > 0 and found.newest > 0))
    return Result(f"{'; '.join(words)} (seed {SEED})", holds, versions("numpy"))


# -- shared by fifty replicas

REPLICAS, AT_ONCE = 50, 8
COLUMNS, SHARED_ROWS = 25, 100_000
LARGEST = 100_000  # bytes
LOADER = """
import sys, time
from pilotfish_agent.drift import worker
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.reference import load
from pilotfish_agent.drift.watch import DriftWatch
began = time.perf_counter()
made = load(sys.argv[1])
watch = DriftWatch("m", made, Config())
asked = watch.table_request()
job = worker.start_tables(asked.specs, asked.budget_ticks, asked.streams, sys.argv[2] + "/" + asked.key + ".npz")
built = job.pid is not None
job.wait()
watch.set_tables(job.result().tables)
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(made.id, watch.judge is not None, "started" if built else "read", time.perf_counter() - began, peak)
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one replica said: reference, whether it judges, where its tables are from, seconds, KiB at most."""

    reference: str
    judges: bool
    tables: str
    seconds: float
    peak: int


def load_at_once(count: int, path: pathlib.Path, cache: pathlib.Path) -> list[Loaded]:
    """So many processes that start together."""
    cache.mkdir(exist_ok=True)
    command = [sys.executable, "-c", LOADER, str(path), str(cache)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    said = [p.communicate(timeout=300)[0].split() for p in running]
    return [Loaded(s[0], s[1] == "True", s[2], float(s[3]), int(s[4])) for s in said]


def wide(path: pathlib.Path) -> None:
    """A reference of 25 columns: 17 of numbers of several shapes, 8 of levels."""
    rng = np.random.default_rng(SEED)
    draws = (rng.normal, rng.exponential, rng.lognormal, rng.standard_cauchy)
    rows = {f"number_{i}": draws[i % 4](size=SHARED_ROWS) for i in range(17)}
    texts = {f"level_{i}": rng.choice([f"value {k}" for k in range(2 + 9 * i)], SHARED_ROWS).tolist() for i in range(8)}
    made = ReferenceBuilder()
    made.add(ObservationBatch("m", None, "sdk", SHARED_ROWS, features={**rows, **texts}))
    path.write_text(made.reference(created=START, model="m", independent=True).to_json())


@bar("one reference of 25 columns x 100,000 rows, shared by 50 replicas that start at once", "<= 100 KB, tables once")
def shared_by_replicas() -> Result:
    """Eight that find no tables: one builds them, the others wait for those; then fifty that read them."""
    with tempfile.TemporaryDirectory(prefix="pilotfish-shared-") as folder:
        path, cache = pathlib.Path(folder) / "ref.json", pathlib.Path(folder) / "tables"
        wide(path)
        size = path.stat().st_size
        first = load_at_once(AT_ONCE, path, cache)
        caches = {f.name: f.stat().st_mtime_ns for f in cache.iterdir()}
        began = time.perf_counter()
        rest = load_at_once(REPLICAS, path, cache)
        took = time.perf_counter() - began
        again = {f.name: f.stat().st_mtime_ns for f in cache.iterdir()}
    alike = {one.reference for one in (*first, *rest)}
    slowest, unbuilt = max(one.seconds for one in rest), max(one.seconds for one in first)
    words = (
        f"{size / 1000:.0f} KB; {len(rest)} loads in {took:.1f} s, the slowest {slowest:.2f} s and "
        f"{max(one.peak for one in rest) / 1024:.0f} MiB; {AT_ONCE} without tables: {unbuilt:.1f} s, {len(caches)} file"
    )
    holds = size <= LARGEST and len(alike) == 1 and all(one.judges for one in (*first, *rest))
    return Result(words, holds and len(caches) == 1 and again == caches and {o.tables for o in rest} == {"read"})


# -- reloaded and accepted

RELOADS = 100


@bar("100 reloads in a row, every other one with another reference, under 400 rows/s", "no row lost, nothing grows")
def reloaded_often() -> Result:
    """Descriptors and threads of a real agent before and after, and what it received."""
    with tempfile.TemporaryDirectory(prefix="pilotfish-reload-") as folder:
        live = Live(pathlib.Path(folder))
        path = live.root / "ref.json"
        toy_reference(path)
        live.start("--reference", str(path), PILOTFISH_DRIFT_TICK="1s")
        try:
            until(lambda: live.model().get("state") == "stable", "evidence")
            pid = live.status()["processes"]["agent"]
            request(live, b'{"do": "reload"}\n')  # the first one starts the thread that reads
            failed, before = 0, _held(pid)
            for i in range(RELOADS):
                toy_reference(path, colour="abcd" if i % 2 == 0 else "abc")
                failed += not request(live, b'{"do": "reload"}\n')["ok"]
            after, lost = _held(pid), live.metric("pilotfish_capture_dropped_total")
            until(lambda: live.model().get("state") == "stable", "evidence again")
        finally:
            live.stop()
    words = f"{failed} failed, {lost:.0f} rows lost; descriptors and threads {before} before, {after} after"
    return Result(words, failed == 0 and lost == 0 and after == before)


def _held(pid: int) -> tuple[int, int]:
    """Descriptors and threads of a process, at rest: a worker's come and go."""

    def look() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))

    seen = []
    for _ in range(20):
        time.sleep(0.1)
        seen.append(look())
    return min(seen)


@bar("reload and accept on a real agent", "evidence of other streams goes on, the alarm ends, a restart remembers")
def changed_while_it_runs() -> Result:
    """The tests that prove it, as they are."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/agent/test_reload.py"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    last = done.stdout.strip().rpartition("\n")[2]
    return Result(f"{last} (exit {done.returncode}, {time.perf_counter() - began:.0f} s)", done.returncode == 0)
