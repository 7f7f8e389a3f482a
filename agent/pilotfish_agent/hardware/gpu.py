"""The machine's GPUs, as the reading process last reported them: nothing here asks a driver, so nothing here waits.

A machine without a GPU gives one absent signal, `gpu_up`, not one for each metric. A GPU that was lost, or whose driver
answers no more, has `gpu_up` 0 and the XIDs that were seen (they say why); all else of it is gone. Counters never fall:
who reports adds up what a driver reload or a new reading process begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from pilotfish_agent.gpu.report import Gpu
from pilotfish_agent.hardware._context import HOST, Collector, HostContext, absent
from pilotfish_core.metrics import PREFIX, Metric, Reading, Reason, Sample, Unavailable

SCOPE = HOST
_GPU: Final = ("uuid", "gpu")
INFO = Metric(
    "pilotfish_gpu_info",
    "gauge",
    "Product and driver of each GPU or MIG instance; join on uuid: indices differ between CUDA and the driver.",
    (*_GPU, "name", "driver"),
)
UP = Metric(
    "pilotfish_gpu_up",
    "gauge",
    "1 while the driver answers for the GPU, 0 when it was lost or the driver hangs: drain the host and reset it.",
    _GPU,
)
UTILIZATION = Metric(
    "pilotfish_gpu_utilization_ratio",
    "gauge",
    "Share of time in which any kernel ran: busy, not saturated, one thread is enough for 1; "
    "for headroom look at gpu_sm_active_ratio, the queue and the batch size.",
    _GPU,
)
MEMORY_USED = Metric(
    "pilotfish_gpu_memory_used_bytes",
    "gauge",
    "Device memory in use by all processes; a server that takes its pool at the start (vLLM) is always near the total.",
    _GPU,
)
MEMORY_TOTAL = Metric("pilotfish_gpu_memory_total_bytes", "gauge", "Device memory that the GPU has.", _GPU)
ENERGY = Metric(
    "pilotfish_gpu_energy_joules_total",
    "counter",
    "Energy of the GPU since the driver was loaded, board and memory included; its rate is the true average power.",
    _GPU,
)
POWER = Metric(
    "pilotfish_gpu_power_watts",
    "gauge",
    "Power as the driver last measured it; peaks between samples are not in it: for averages use the energy's rate.",
    _GPU,
)
POWER_LIMIT = Metric(
    "pilotfish_gpu_power_limit_watts",
    "gauge",
    "Power limit in force; while power stays at it, clocks fall and requests get slower.",
    _GPU,
)
TEMPERATURE = Metric(
    "pilotfish_gpu_temperature_celsius",
    "gauge",
    "Temperature of the GPU's die; what it costs is in gpu_throttle_seconds_total, alert on that.",
    _GPU,
)
CLOCK = Metric(
    "pilotfish_gpu_clock_hertz",
    "gauge",
    "Present clock by domain; a fall under load is throttling, when idle it is saving.",
    (*_GPU, "domain"),
)
THROTTLE = Metric(
    "pilotfish_gpu_throttle_seconds_total",
    "counter",
    "Time in which clocks were held down, by reason: the thermal ones want cooling, hw_power_brake a look at the power "
    "supply; power is the limit that somebody set, and normal under full load.",
    (*_GPU, "reason"),
)
ECC = Metric(
    "pilotfish_gpu_ecc_errors_total",
    "counter",
    "Memory errors by kind: corrected ones are harmless, an uncorrected one killed or corrupted a computation; "
    "remapped_row and remap_failure say what became of bad rows.",
    (*_GPU, "kind"),
)
XID = Metric(
    "pilotfish_gpu_xid_errors_total",
    "counter",
    "Errors the driver reported, by XID; 13, 31, 43, 45, 68 and 109 are the program's, most others the hardware's.",
    (*_GPU, "xid"),
)
PCIE = Metric(
    "pilotfish_gpu_pcie_bytes_total",
    "counter",
    "Bytes over PCIe as the GPU sees it; near the link's limit, inputs are copied too often or not in batches.",
    (*_GPU, "direction"),
)
NVLINK = Metric(
    "pilotfish_gpu_nvlink_bytes_total",
    "counter",
    "Bytes over all NVLinks; of a model spread over GPUs, one whose rate differs from its peers' has a bad link.",
    (*_GPU, "direction"),
)
SM_ACTIVE = Metric(
    "pilotfish_gpu_sm_active_ratio",
    "gauge",
    "Share of the multiprocessors that had work, averaged over time: the nearest to saturation; Hopper and newer.",
    _GPU,
)
TENSOR_ACTIVE = Metric(
    "pilotfish_gpu_tensor_active_ratio",
    "gauge",
    "Share of time in which the tensor cores worked; near 0 under load, the model does not use them; Hopper and newer.",
    _GPU,
)
DRAM_ACTIVE = Metric(
    "pilotfish_gpu_dram_active_ratio",
    "gauge",
    "Share of the memory bandwidth in use; near 1 with idle tensor cores, the model waits for memory: batch more.",
    _GPU,
)
METRICS = (
    INFO,
    UP,
    UTILIZATION,
    MEMORY_USED,
    MEMORY_TOTAL,
    ENERGY,
    POWER,
    POWER_LIMIT,
    TEMPERATURE,
    CLOCK,
    THROTTLE,
    ECC,
    XID,
    PCIE,
    NVLINK,
    SM_ACTIVE,
    TENSOR_ACTIVE,
    DRAM_ACTIVE,
)
ENABLE: dict[Reason, str] = {
    "not_installed": "a GPU with its driver, visible here (in a container: the vendor's runtime, capability `utility`)",
    "not_supported": "another GPU or driver: this one does not tell (docs/gpu.md)",
    "disabled": "`gpu: {mode: auto}` in the configuration",
}
_BY_NAME: Final = {m.name.removeprefix(PREFIX): m for m in METRICS}


class _Gpus:
    def __init__(self, context: HostContext) -> None:
        self._source = context.gpus

    def collect(self) -> Iterable[Reading]:
        if self._source is None:
            return absent("gpu", (UP,), "disabled")
        report = self._source.report
        if not report.gpus:
            return absent("gpu", (UP,), report.reason or "no_data")
        answering = [gpu for gpu in report.gpus if gpu.up] if report.reason is None else []
        readings: list[Sample] = []
        for gpu in report.gpus:
            readings += _samples(gpu, up=gpu.up and report.reason is None)
        gaps: dict[str, Reason] = {PREFIX + name: reason for gpu in answering for name, reason in gpu.gaps}
        given = {r.metric.name for r in readings}
        if answering and XID.name not in gaps:
            given.add(XID.name)  # no error so far is not a signal that cannot be read
        missing = (m.name for m in METRICS if m.name not in given)
        return [*readings, *(Unavailable("gpu", n, gaps.get(n) or report.reason or "no_data") for n in missing)]


def _samples(gpu: Gpu, *, up: bool) -> Iterator[Sample]:
    at = (gpu.uuid, gpu.gpu)
    yield Sample(UP, at, float(up))
    if up:
        yield Sample(INFO, (*at, gpu.name, gpu.driver), 1.0)
    for value in gpu.values:
        metric = _BY_NAME[value.name]
        if up or metric is XID:
            yield Sample(metric, at if value.label is None else (*at, value.label), value.value)


def make(context: HostContext) -> Collector:
    """The collector."""
    return _Gpus(context)
