"""What of each GPU is the model's: memory, share of the time, and by which rule that is known (gpu/attribution.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pilotfish_agent.gpu.report import Gpu
from pilotfish_agent.hardware._context import Collector, HardwareContext, absent
from pilotfish_agent.hardware._gpu_use import GpuUse
from pilotfish_core.metrics import Metric, Reading, Reason, Sample

_GPU: Final = ("target", "uuid", "gpu")
MEMORY = Metric(
    "pilotfish_process_gpu_memory_bytes",
    "gauge",
    "Device memory that the model's process tree holds; growing without end is a leak, a pool (vLLM) stands still.",
    _GPU,
)
SM = Metric(
    "pilotfish_process_gpu_sm_utilization_ratio",
    "gauge",
    "Share of time in which kernels of the model's process tree ran; much less than the GPU's: others use it too.",
    _GPU,
)
SECONDS = Metric(
    "pilotfish_process_gpu_seconds_total",
    "counter",
    "Time in which kernels of the model's process tree ran; over requests or tokens, what one of them costs.",
    _GPU,
)
ATTRIBUTION = Metric(
    "pilotfish_process_gpu_attribution_info",
    "gauge",
    "How the model's part of the GPU is known: pid, nspid, or device: the GPU was given to it alone, so all counts.",
    (*_GPU, "method"),
)
METRICS = (MEMORY, SM, SECONDS, ATTRIBUTION)
ENABLE: dict[Reason, str] = {
    "permission": "hostPID, shareProcessNamespace with a newer driver, or the model's user (docs/gpu.md)",
    "not_supported": "hostPID, or a GPU that the model has alone (docs/gpu.md)",
    "not_installed": "a GPU with its driver, visible here",
    "disabled": "`gpu: {mode: auto}` in the configuration",
}
_REMEMBERED: Final = 256
"""GPUs and MIG instances whose seconds are kept."""


class _GpuProcess:
    def __init__(self, context: HardwareContext) -> None:
        self._target = context.target
        self._use = GpuUse(context)
        self._seconds: dict[str, float] = {}  # by UUID, those used last at the end
        self._read_at: dict[str, float] = {}  # when each GPU was read that answered last time, used by the model or not

    def collect(self) -> Iterable[Reading]:
        uses = self._use.now()
        answering = (gpu for gpu in uses.report.gpus if gpu.up and uses.report.reason is None)
        before, self._read_at = self._read_at, {gpu.uuid: gpu.at for gpu in answering}
        if not uses.report.gpus:
            return absent("gpu_process", (ATTRIBUTION,), uses.reason)
        readings: list[Sample] = []
        for gpu, use in uses.gpus:
            at = (self._target, gpu.uuid, gpu.gpu)
            readings.append(Sample(ATTRIBUTION, (*at, use.method), 1.0))
            if use.memory is not None:
                readings.append(Sample(MEMORY, at, float(use.memory)))
            if use.sm is not None:
                readings.append(Sample(SM, at, use.sm))
                readings.append(Sample(SECONDS, at, self._add(gpu, use.sm, before)))
        given = {r.metric for r in readings}
        missing = [m for m in METRICS if m not in given]
        return [*readings, *absent("gpu_process", missing, "not_supported" if readings else uses.reason)]

    def _add(self, gpu: Gpu, sm: float, before: dict[str, float]) -> float:
        """Adds the interval that ended with this reading, of which alone the share is known."""
        interval = max(0.0, gpu.at - before.get(gpu.uuid, gpu.at))
        total = self._seconds[gpu.uuid] = self._seconds.pop(gpu.uuid, 0.0) + sm * interval
        if len(self._seconds) > _REMEMBERED:
            self._seconds.pop(next(iter(self._seconds)))
        return total


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _GpuProcess(context)
