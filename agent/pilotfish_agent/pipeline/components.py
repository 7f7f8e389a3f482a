"""What Pilotfish itself costs: CPU and memory of each of its processes, and how often the agent was started anew."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator

from pilotfish_agent.target.procfs import CLOCK_TICKS, Descriptors, ProcessFiles, parse_stat, read_some
from pilotfish_core.metrics import Metric, Sample

CPU = Metric(
    "pilotfish_component_cpu_seconds_total",
    "counter",
    "CPU time of a Pilotfish process, user and system; worker: of all its finished jobs. What watching costs.",
    ("component",),
)
MEMORY = Metric(
    "pilotfish_component_resident_memory_bytes",
    "gauge",
    "Resident memory of a Pilotfish process that runs now; compare it with limits.memory.",
    ("component",),
)
RESTARTS = Metric(
    "pilotfish_component_restarts_total",
    "counter",
    "How often the guard started a component anew; more than 0 means that it crashed or hung: see its log.",
    ("component",),
)
METRICS = (CPU, MEMORY, RESTARTS)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_KEPT = 16
"""Descriptors: two files of guard, capture and worker, and room while one takes another's place."""


class Components:
    """Our own processes.

    Args:
        guard: the guard's pid, None where there is none.
        restarts: how often the guard has started this agent anew.
        proc: where the proc file system is.

    Attributes:
        pids: process by component, None while it does not run.
        restarts: by component. ended: CPU seconds of a component's processes that have ended.
    """

    def __init__(self, guard: int | None, restarts: int, proc: str = "/proc") -> None:
        self._proc = proc
        self._descriptors = Descriptors(_MOST_KEPT)
        self._files: dict[int, ProcessFiles] = {}
        self._own = _opened(f"{proc}/self/statm")
        self.restarts = {"agent": restarts}
        self.ended: dict[str, float] = {}
        self.pids: dict[str, int | None] = {"agent": os.getpid()}
        if guard is not None:
            self.pids["guard"] = guard

    def resident(self) -> int:
        """The agent's own resident bytes, 0 when they cannot be read; from any thread."""
        return 0 if self._own is None else _resident(read_some(self._own))

    def samples(self) -> Iterator[Sample]:
        """One CPU and one memory series a live process."""
        self._let_go()
        for name, pid in self.pids.items():
            seconds, resident = self._read(pid) if pid is not None else (None, 0)
            if seconds is not None:
                yield Sample(MEMORY, (name,), float(resident))
            if name != "worker" and (seconds is not None or name in self.ended):
                yield Sample(CPU, (name,), (seconds or 0.0) + self.ended.get(name, 0.0))
        done = resource.getrusage(resource.RUSAGE_CHILDREN)
        yield Sample(CPU, ("worker",), max(done.ru_utime + done.ru_stime - sum(self.ended.values()), 0.0))
        yield from (Sample(RESTARTS, (name,), float(count)) for name, count in self.restarts.items())

    def _read(self, pid: int) -> tuple[float | None, int]:
        if pid == os.getpid():
            return time.process_time(), self.resident()
        try:
            files = self._files.get(pid)
            if files is None:
                files = self._files[pid] = ProcessFiles(f"{self._proc}/{pid}", self._descriptors)
            return sum(parse_stat(files.read("stat")).cpu) / CLOCK_TICKS, _resident(files.read("statm"))
        except (OSError, ValueError, IndexError):
            return None, 0

    def _let_go(self) -> None:
        """Closes the files of processes that are ours no longer."""
        for pid in self._files.keys() - self.pids.values():
            self._files.pop(pid).close()


def _resident(statm: bytes) -> int:
    return int(statm.split()[1]) * _PAGE


def _opened(path: str) -> int | None:
    """Kept open for good: the kernel answers in a microsecond, and opening it costs twenty."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
