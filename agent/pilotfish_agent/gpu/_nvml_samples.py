"""What the driver samples by itself several times a second: utilisation, and power where it counts no energy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pynvml

from pilotfish_agent.gpu._nvml_errors import GapError, ask
from pilotfish_agent.gpu._nvml_fields import number
from pilotfish_agent.gpu.report import GpuValue


class Samples:
    """New samples of one kind; the driver keeps those of some seconds.

    Args:
        handle: of the GPU.
        kind: ``NVML_..._SAMPLES``.
    """

    def __init__(self, handle: Any, kind: int) -> None:
        self._handle = handle
        self._kind = kind
        self._since = 0

    def new(self) -> list[tuple[int, float]]:
        """(microseconds, value), ascending, of those since the last call; the first call gives what is kept.

        Raises:
            GapError: there are none.
        """
        kind, samples = ask(pynvml.nvmlDeviceGetSamples, self._handle, self._kind, self._since)
        found = sorted((int(s.timeStamp), number(kind, s.sampleValue)) for s in samples if s.timeStamp > self._since)
        if not found:
            raise GapError("no_data")
        self._since = found[-1][0]
        return found


class Utilization:
    """Share of the time in which a kernel ran.

    Args:
        handle: of the GPU.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._samples = Samples(handle, pynvml.NVML_GPU_UTILIZATION_SAMPLES)
        self._begun = False

    def average(self, name: str) -> Iterator[GpuValue]:
        """Over the time since the last reading: what happens between two readings is seen too.

        Raises:
            GapError: the driver has no samples.
        """
        try:
            found = [min(value, 100.0) for _, value in self._samples.new()]
        except GapError as gap:
            if gap.lasting:
                raise
            found = []
        if not found or not self._begun:  # at first those of many seconds are there
            self._begun = True
            return self.last(name)
        return iter((GpuValue(name, sum(found) / len(found) / 100),))

    def last(self, name: str) -> Iterator[GpuValue]:
        """Over the driver's own last period, 1/6 to 1 second.

        Raises:
            GapError: it cannot be read.
        """
        rate = ask(pynvml.nvmlDeviceGetUtilizationRates, self._handle).gpu
        if rate > 100:
            raise GapError("no_data")
        yield GpuValue(name, rate / 100)


class Energy:
    """Joules since this process began, from power: for GPUs before Volta, whose driver does not count them.

    Args:
        handle: of the GPU.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._samples = Samples(handle, pynvml.NVML_TOTAL_POWER_SAMPLES)
        self._last: tuple[int, float] | None = None
        self._joules = 0.0

    def of_samples(self, name: str) -> Iterator[GpuValue]:
        """From the driver's samples.

        Raises:
            GapError: it has none.
        """
        try:
            found = self._samples.new()
        except GapError as gap:
            if gap.lasting or self._last is None:
                raise
            found = []  # nothing new yet: what was counted stands
        return self._add(name, found if self._last is not None else found[-1:])

    def of_power(self, name: str) -> Iterator[GpuValue]:
        """From what power is at the readings.

        Raises:
            GapError: it cannot be read.
        """
        milliwatts = ask(pynvml.nvmlDeviceGetPowerUsage, self._handle)
        return self._add(name, [(time.monotonic_ns() // 1000, float(milliwatts))])

    def _add(self, name: str, found: list[tuple[int, float]]) -> Iterator[GpuValue]:
        """The trapezium rule."""
        for at, milliwatts in found:
            if self._last is not None:
                before, earlier = self._last
                self._joules += (at - before) * (milliwatts + earlier) / 2 * 1e-9
            self._last = at, milliwatts
        return iter((GpuValue(name, self._joules, counted_here=True),))
