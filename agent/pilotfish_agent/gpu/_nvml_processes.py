"""The processes on a GPU: their memory, and the share of the time in which their kernels ran."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import pynvml

from pilotfish_agent.gpu._nvml_errors import GapError, ask
from pilotfish_agent.gpu.report import GpuProcess
from pilotfish_core.metrics import Reason

MEMORY: Final = "process_gpu_memory_bytes"
SM: Final = "process_gpu_sm_utilization_ratio"
MOST: Final = 512
"""Processes of one GPU at most, those with most memory."""
_LONGEST: Final = 3_000_000
"""Microseconds to look back at most: samples of processes that have ended stay with the driver for many seconds."""

Call = Callable[[Any], list[Any]]
_KINDS: Final[tuple[tuple[Call, ...], ...]] = (
    (pynvml.nvmlDeviceGetComputeRunningProcesses_v3, pynvml.nvmlDeviceGetComputeRunningProcesses_v2),
    (pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3, pynvml.nvmlDeviceGetGraphicsRunningProcesses_v2),
    (pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3, pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v2),
)
"""Compute, graphics and clients of the Multi-Process Service; each with what an older driver has."""


class Processes:
    """Those on one GPU or MIG instance.

    Args:
        handle: NVML's.
        sm: whether the driver tells the share of each: of an instance it does not.
    """

    def __init__(self, handle: Any, *, sm: bool) -> None:
        self._handle = handle
        self._kinds = [list(calls) for calls in _KINDS]
        self._sm = sm
        self._since = 0

    def read(self, gaps: dict[str, Reason]) -> tuple[GpuProcess, ...] | None:
        """All of them; None where they cannot be listed. What cannot be had goes into ``gaps``.

        Raises:
            LostError: there is no such GPU any more.
            BackendError: there is no driver any more.
        """
        try:
            memory = self._memory()
        except GapError as gap:
            gaps[MEMORY] = gaps[SM] = gap.reason
            return None
        shares: dict[int, float] | None = None
        try:
            shares = self._shares() if memory else {}
        except GapError as gap:
            self._sm = self._sm and not gap.lasting
            gaps[SM] = gap.reason
        largest = sorted(memory.items(), key=lambda one: (-(one[1] or 0), one[0]))[:MOST]
        return tuple(GpuProcess(pid, used, None if shares is None else shares.get(pid, 0.0)) for pid, used in largest)

    def _memory(self) -> dict[int, int | None]:
        """Bytes by pid; a process of two kinds is told twice with the same memory."""
        found: dict[int, int | None] = {}
        listed = False
        for calls in self._kinds:
            while calls:
                try:
                    processes = ask(calls[0], self._handle)
                except GapError as gap:
                    if not gap.lasting:
                        raise  # a list without some of them would be a wrong one
                    del calls[0]
                else:
                    listed = True
                    for one in processes:
                        used = max(found.get(one.pid) or 0, one.usedGpuMemory or 0)
                        found[one.pid] = used if one.usedGpuMemory is not None or found.get(one.pid) else None
                    break
        if not listed:
            raise GapError("not_supported", lasting=True)
        return found

    def _shares(self) -> dict[int, float]:
        """Share of the time by pid since the last reading; who is not there had no kernel."""
        if not self._sm:
            raise GapError("not_supported", lasting=True)
        since = max(self._since, time.time_ns() // 1_000 - _LONGEST)
        try:
            samples = ask(pynvml.nvmlDeviceGetProcessUtilization, self._handle, since)
        except GapError as gap:
            if gap.reason == "no_data":
                return {}  # no process had a kernel: that is no error
            raise
        by_pid: dict[int, list[int]] = {}
        for sample in samples:
            self._since = max(self._since, sample.timeStamp)
            if sample.timeStamp > since and sample.smUtil <= 100:  # some drivers leave garbage in unused places
                by_pid.setdefault(sample.pid, []).append(sample.smUtil)
        return {pid: sum(each) / len(each) / 100 for pid, each in by_pid.items()}
