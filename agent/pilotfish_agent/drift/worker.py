"""``pf-worker``: builds tables and phi in a short-lived process of low priority, so that scipy is never resident.

It compares versions as well. The job is a JSON file; tables come back as their cache file, all else as JSON. Nothing is
unpickled. A job that fails or takes longer than ten minutes is ended and told.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pilotfish_agent.drift import tables as table_file
from pilotfish_agent.drift import version_looks
from pilotfish_agent.drift.tables import StreamTables, TableSpec
from pilotfish_agent.launch.proc import introduce

if TYPE_CHECKING:  # the worker itself needs none of what comes with it
    from pilotfish_agent.drift.phi import PhiRequest

LIMIT_SECONDS: Final = 600.0
"""A thousand streams of 65 levels take about a minute of CPU; this is for a machine that is ten times busier."""
_START: Final = (
    "import sys; sys.path.extend(p for p in sys.argv[3:] if p not in sys.path); "
    "from pilotfish_agent.drift.worker import main; sys.exit(main(sys.argv[1], sys.argv[2]))"
)
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


class JobError(Exception):
    """The worker failed; the text says how."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Result of `start_tables`."""

    tables: list[StreamTables]


@dataclass(frozen=True, slots=True)
class Phis:
    """Result of `start_phi`: phi by stream."""

    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Compared:
    """Result of `start_look`: answers by stream."""

    answers: Mapping[str, version_looks.Answer]


class Job:
    """One job: a process, or a result that was there already. See `start_tables` and `start_phi`.

    Args:
        order: what the worker is asked for, JSON.
        cache: where tables stay; None: they go with the job.
        done: the result, where it was there already.
    """

    def __init__(self, order: Mapping[str, Any], cache: str | None = None, *, done: Tables | None = None) -> None:
        self._order = order
        self._done = done
        self._process: subprocess.Popen[bytes] | None = None
        self._late = False
        if done is None:
            self._folder = tempfile.TemporaryDirectory(prefix="pilotfish-job-")
            self._output = cache or os.path.join(self._folder.name, "result")
            self._errors = os.path.join(self._folder.name, "errors")
            self._until = time.monotonic() + LIMIT_SECONDS
            self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        path = os.path.join(self._folder.name, "order.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self._order, file)
        with open(self._errors, "wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-I", "-c", _START, path, self._output, *(p for p in sys.path if p)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **_ONE_THREAD},
                cwd="/",
            )

    @property
    def pid(self) -> int | None:
        """Its process, None where there is none (any more)."""
        return None if self._process is None else self._process.pid

    def poll(self) -> bool:
        """Whether it has ended; a job over its time is ended."""
        if self._process is None or self._process.poll() is not None:
            return True
        if time.monotonic() > self._until:
            self._late = True
            self._process.kill()
            self._process.wait()
        return self._late

    def wait(self) -> None:
        """Until it has ended."""
        while not self.poll():
            time.sleep(0.02)

    def result(self) -> Tables | Phis | Compared:
        """What it made; call once, after `poll` said True.

        Raises:
            JobError: it failed, or was ended.
        """
        if self._done is not None:
            return self._done
        if self._process is None:
            raise JobError("pf-worker was ended before it had a result")
        try:
            self._check(self._process.returncode)
            return self._read()
        finally:
            self._close()

    def _check(self, code: int) -> None:
        if self._late:
            raise JobError(f"pf-worker took longer than {LIMIT_SECONDS:g} s; is the machine overloaded?")
        if code:
            with open(self._errors, encoding="utf-8", errors="replace") as file:
                last = file.read().strip().rpartition("\n")[2][-2000:]
            raise JobError(f"pf-worker ended with {code}; {last or 'it said nothing'}")

    def _read(self) -> Tables | Phis | Compared:
        order = self._order
        if order["kind"] != "tables":
            with open(self._output, encoding="utf-8") as file:
                found = json.load(file)
            if order["kind"] == "phi":
                return Phis(found)
            return Compared({name: version_looks.Answer(*answer) for name, answer in found.items()})
        specs = [_spec(s) for s in order["specs"]]
        made = table_file.load(self._output, specs, order["budget_ticks"], order["streams"])
        if made is None:
            raise JobError("pf-worker left no tables that fit; is the disk full?")
        return Tables(made)

    def kill(self) -> None:
        """Ends it; there is no result."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._close()

    def _close(self) -> None:
        self._process = None
        self._folder.cleanup()


def start_tables(specs: Sequence[TableSpec], budget_ticks: float, streams: int, cache: str | None) -> Job:
    """Tables of ``specs``: read from the file ``cache`` where it fits, else built by a worker, which writes it."""
    found = table_file.load(cache, specs, budget_ticks, streams) if cache else None
    order = {"kind": "tables", "budget_ticks": budget_ticks, "streams": streams, "specs": [_plain(s) for s in specs]}
    return Job(order, cache, done=None if found is None else Tables(found))


def start_phi(request: PhiRequest) -> Job:
    """Phi of the streams whose sums were measured."""
    sums = {
        name: {"squares": one.sums.squares.tolist(), "differences": one.sums.differences.tolist()}
        for name, one in zip(request.names, request.sums, strict=True)
    }
    return Job({"kind": "phi", "sums": sums})


def start_look(sides: Sequence[version_looks.Side]) -> Job:
    """The comparison of two versions, stream by stream."""
    return Job({"kind": "versions", "sides": version_looks.plain(sides)})


def _plain(spec: TableSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "kind": spec.kind,
        "counts": np.asarray(spec.counts).tolist(),
        "special": list(spec.special),
        "phi": spec.phi,
        "min_effect": spec.min_effect,
        "strata": None if spec.strata is None else np.asarray(spec.strata).tolist(),
    }


def _spec(plain: Mapping[str, Any]) -> TableSpec:
    counts = np.array(plain["counts"], np.float64)
    strata = None if plain["strata"] is None else np.array(plain["strata"], np.float64)
    special, phi = tuple(plain["special"]), plain["phi"]
    return TableSpec(plain["name"], plain["kind"], counts, special, phi, plain["min_effect"], strata)


def main(order_path: str, output: str) -> int:
    """The worker's own process."""
    _give_way()
    with open(order_path, encoding="utf-8") as file:
        order = json.load(file)
    if order["kind"] == "phi":
        _make_phis(order["sums"], output)
    elif order["kind"] == "versions":
        with open(output, "w", encoding="utf-8") as file:
            json.dump(version_looks.look(version_looks.of_plain(order["sides"])), file)
    else:
        _make_tables(order, output)
    return 0


def _make_tables(order: Mapping[str, Any], output: str) -> None:
    """Of fifty replicas that start at once with one cache, one builds and the others find what it has built."""
    specs, ticks, streams = [_spec(s) for s in order["specs"]], order["budget_ticks"], order["streams"]
    lock = os.open(f"{output}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # until the process ends
    if table_file.load(output, specs, ticks, streams) is None:
        table_file.save(output, specs, ticks, table_file.build(specs, ticks, streams))
    try:
        os.unlink(f"{output}.lock")  # who waits for it finds the tables
    except FileNotFoundError:
        pass  # who built them has removed it


def _make_phis(measured: Mapping[str, Any], output: str) -> None:
    from pilotfish_agent.drift.dependence import Sums

    sums = {name: Sums(np.array(s["squares"]), np.array(s["differences"])) for name, s in measured.items()}
    with open(output, "w", encoding="utf-8") as file:
        json.dump({name: one.value() for name, one in sums.items()}, file)


def _give_way() -> None:
    """Everybody else first: CPU, and memory when it runs out."""
    try:
        os.nice(19)
    except OSError:
        pass  # a sandbox that forbids setpriority(2): then at the agent's own priority
    introduce("pf-worker", 1_000)
