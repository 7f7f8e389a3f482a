"""The GPUs, asked as the agent asks them: by a process of its own, which a driver in trouble may keep for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pilotfish_agent.gpu._reader import OPEN_DEADLINES, START_SECONDS
from pilotfish_agent.gpu.report import GpuReport, GpuSource
from pilotfish_agent.gpu.settings import Config
from pilotfish_agent.gpu.supervisor import Supervisor
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Events

INTERVAL: Final = 0.5
"""Seconds between the two readings: what is a mean over time is known after the second."""
_LOOK: Final = 0.01


@contextmanager
def asked(config: Config) -> Iterator[GpuSource]:
    """Who knows of them; where there is no driver, at once."""
    quiet = Events(SystemClock(), burst=0)  # the findings say it all
    supervisor = Supervisor(config, INTERVAL, events=quiet)
    supervisor.start()
    try:
        _wait(lambda: supervisor.report.reason != "no_data", START_SECONDS + (OPEN_DEADLINES + 1) * config.deadline)
        first = _times(supervisor.report)
        if first:
            _wait(lambda: _times(supervisor.report) != first, INTERVAL + config.deadline)
        yield supervisor
    finally:
        supervisor.stop()


def _times(report: GpuReport) -> list[float]:
    return [gpu.at for gpu in report.gpus if report.reason is None]


def _wait(until: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(_LOOK)
