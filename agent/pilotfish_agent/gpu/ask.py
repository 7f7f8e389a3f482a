"""Asks for the GPUs once, for a command that tells people what works; nothing of a driver is loaded in its process."""

from __future__ import annotations

import select
import sys
import time
from typing import Final

from pilotfish_agent.gpu import drivers
from pilotfish_agent.gpu._reader import Reader
from pilotfish_agent.gpu.report import GpuReport
from pilotfish_agent.gpu.settings import Config
from pilotfish_agent.gpu.wire import Orders

READINGS: Final = 2
"""What is measured between two readings is missing in the first."""
_INTERVAL: Final = 0.2
_END_SECONDS: Final = 0.25


def once(config: Config, command: list[str] | None = None) -> GpuReport:
    """The GPUs as they are now, or why there are none. A driver that hangs costs some deadlines, see `_reader`.

    Args:
        config: section `gpu`.
        command: as `Child` takes it, for tests.
    """
    if config.mode == "off":
        return GpuReport(reason="disabled", words="gpu.mode is off")
    vendors = drivers.found(config.library)
    if not vendors:
        return GpuReport(reason="not_installed", words=drivers.NONE)
    orders = Orders(vendors, config.library, _INTERVAL, tuple(folder for folder in sys.path if folder))
    try:
        reader = Reader(orders, time.monotonic(), config.deadline, command)
    except OSError as error:
        return GpuReport(reason="failed", words=f"pf-nvml cannot be started: {error.strerror}")
    try:
        return _heard(reader, config.deadline)
    finally:
        reader.process.close(_END_SECONDS)
        if reader.process.wait(_END_SECONDS):
            reader.process.reap()


def _heard(reader: Reader, deadline: float) -> GpuReport:
    poller = select.poll()
    poller.register(reader.process.fileno(), select.POLLIN)
    while True:
        gone = reader.process.gone()
        gpus = reader.listen(time.monotonic())
        if gpus is not None and reader.rounds >= READINGS:
            return GpuReport(gpus, reason=None)
        patience = reader.patience(time.monotonic())
        said = reader.ended
        if said is not None and said.reason is not None:
            return GpuReport(reason=said.reason, words=said.words)
        if gone:
            return GpuReport(reason="failed", words="pf-nvml ended at once; its log says more")
        if patience <= 0:
            return GpuReport(reason="failed", words=f"the driver did not answer within {deadline:g} s")
        poller.poll(patience * 1_000 + 1)
