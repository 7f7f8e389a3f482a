"""What Pilotfish itself costs, told of its own processes."""

import os
import pathlib
import subprocess
import time

import pytest

from pilotfish_agent.pipeline.components import CPU, MEMORY, Components
from pilotfish_core.metrics import Metric


def told(ours: Components, metric: Metric) -> dict[str | None, float]:
    return {s.labels[0]: s.value for s in ours.samples() if s.metric is metric and isinstance(s.value, float)}


def test_the_agent_tells_its_own_cpu_and_memory() -> None:
    """CPU of all threads, finer than a clock tick; the memory is the kernel's number."""
    ours = Components(None, 0)
    before = time.process_time()
    cpu = told(ours, CPU)["agent"]
    assert before <= cpu <= time.process_time()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    assert ours.resident() == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE"), rel=0.1)
    assert told(ours, MEMORY)["agent"] == pytest.approx(ours.resident(), rel=0.1)


def test_another_process_is_read_until_it_ends_and_then_its_successor() -> None:
    """Its descriptors are kept, so the number is never that of a process which got its PID; none stays open."""
    ours, opened = Components(None, 0), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as capture:
            ours.pids["capture"] = capture.pid
            assert told(ours, MEMORY)["capture"] > 0
            assert "capture" in told(ours, CPU)
        assert "capture" not in told(ours, MEMORY)
        ours.ended["capture"] = 2.5
        assert told(ours, CPU)["capture"] == 2.5
    ours.pids["capture"] = None
    assert "capture" not in told(ours, MEMORY)
    assert len(os.listdir("/proc/self/fd")) == opened
