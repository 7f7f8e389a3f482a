"""GPM, the GPU performance monitors of Hopper and newer: what the SMs, tensor cores and memory really did.

A number speaks of the time between two samples. It needs no lock on the counters: profilers and DCGM run beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Final

import pynvml

from pilotfish_agent.gpu._nvml_errors import GapError, ask, refuse
from pilotfish_agent.gpu.report import GpuValue

APART_SECONDS: Final = 0.1
"""Between the two samples at least."""


class Gpm:
    """The monitors of one GPU, or of a MIG instance.

    Args:
        handle: of the whole GPU.
        instance: number of the GPU instance; None: all of it.
    """

    METRICS: ClassVar = {
        "gpu_sm_active_ratio": pynvml.NVML_GPM_METRIC_SM_UTIL,
        "gpu_tensor_active_ratio": pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
        "gpu_dram_active_ratio": pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL,
    }

    def __init__(self, handle: Any, instance: int | None = None) -> None:
        self._handle = handle
        self._instance = instance
        self._samples: list[Any] = []
        self._request: Any = None
        self._earlier: float | None = None
        self._gap: GapError | None = None
        self._found: dict[str, float | GapError] = {}

    def refresh(self, now: float) -> None:
        """Takes a sample, and compares it with the one before.

        Raises:
            LostError: there is no such GPU any more.
            BackendError: there is no driver any more.
        """
        if self._gap is not None and self._gap.lasting:
            return
        if self._earlier is not None and now - self._earlier < APART_SECONDS:
            return  # what the last round found still holds
        self._gap = None
        try:
            self._prepare()
            self._take()
            if self._earlier is not None:
                self._compare()
            else:
                self._gap = GapError("no_data")
        except GapError as gap:
            self._gap = gap
            self._earlier = None
        else:
            self._earlier = now
            self._samples.reverse()

    def read(self, name: str) -> Iterator[GpuValue]:
        """One of `METRICS` as of the last `refresh`.

        Raises:
            GapError: it could not be read.
        """
        found = self._gap or self._found.get(name) or GapError("no_data")
        if isinstance(found, GapError):
            raise found
        yield GpuValue(name, found)

    def close(self) -> None:
        """Frees the samples."""
        for sample in self._samples:
            try:
                pynvml.nvmlGpmSampleFree(sample)
            except pynvml.NVMLError:
                pass  # the library frees all at its shutdown
        self._samples = []

    def _prepare(self) -> None:
        if self._request is not None:
            return
        if not ask(pynvml.nvmlGpmQueryDeviceSupport, self._handle).isSupportedDevice:
            raise GapError("not_supported", lasting=True)
        while len(self._samples) < 2:
            self._samples.append(ask(pynvml.nvmlGpmSampleAlloc))
        self._request = pynvml.c_nvmlGpmMetricsGet_t()
        self._request.version = pynvml.NVML_GPM_METRICS_GET_VERSION

    def _take(self) -> None:
        if self._instance is None:
            ask(pynvml.nvmlGpmSampleGet, self._handle, self._samples[1])
        else:
            ask(pynvml.nvmlGpmMigSampleGet, self._handle, self._instance, self._samples[1])

    def _compare(self) -> None:
        request = self._request
        request.sample1, request.sample2 = self._samples
        request.numMetrics = len(self.METRICS)
        for place, metric in enumerate(self.METRICS.values()):
            request.metrics[place].metricId = metric
        ask(pynvml.nvmlGpmMetricsGet, request)
        self._found = {name: _ratio(request.metrics[place]) for place, name in enumerate(self.METRICS)}


def _ratio(metric: Any) -> float | GapError:
    """Per cent to a share; a number that cannot be is none."""
    try:
        if metric.nvmlReturn != pynvml.NVML_SUCCESS:
            refuse(metric.nvmlReturn)
    except GapError as gap:
        return gap
    share = float(metric.value) / 100
    return min(share, 1.0) if 0.0 <= share <= 1.01 else GapError("no_data")
