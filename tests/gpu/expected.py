"""What an error of each function of NVML must do to what is reported; of the driver's side of `nvml.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pynvml

from pilotfish_agent.gpu.backend import BackendError
from pilotfish_agent.gpu.report import Gpu

CODES: Final = tuple(
    sorted(
        value
        for name, value in vars(pynvml).items()
        if name.startswith("NVML_ERROR_") and isinstance(value, int) and value != pynvml.NVML_SUCCESS
    )
)
"""Every error code that nvidia-ml-py knows."""
LOST: Final = frozenset({15, 16, 28})
DOWN: Final = frozenset({1, 9, 12, 18})
NEVER: Final = frozenset({2, 3, 13, 22, 24, 25, 26})
NOTHING_YET: Final = frozenset({6, 21, 27})
TIMEOUT: Final = 10

Answer = Literal["lost", "down", "never", "nothing", "permission", "failed"]


def answer(code: int) -> Answer:
    """What a code says of the call that gave it."""
    for codes, word in ((LOST, "lost"), (DOWN, "down"), (NEVER, "never"), (NOTHING_YET, "nothing")):
        if code in codes:
            found: Answer = word  # type: ignore[assignment]
            return found
    return "permission" if code == pynvml.NVML_ERROR_NO_PERMISSION else "failed"


REASON: Final = {"never": "not_supported", "nothing": "no_data", "permission": "permission", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class Expected:
    """Of one function.

    Attributes:
        names: metrics that it gives.
        fine: answers after which nothing is missing: there is another way, or they are no error.
    """

    names: tuple[str, ...]
    fine: frozenset[Answer] = frozenset()


NOT_IN_THIS_DRIVER: Final[frozenset[Answer]] = frozenset({"never"})
NOT_SINCE: Final[frozenset[Answer]] = frozenset({"nothing"})
ANY: Final[frozenset[Answer]] = frozenset({"never", "nothing", "permission", "failed"})
GPM: Final = ("gpu_sm_active_ratio", "gpu_tensor_active_ratio", "gpu_dram_active_ratio")
PROCESSES: Final = ("process_gpu_memory_bytes", "process_gpu_sm_utilization_ratio")
FIELDS: Final = ("gpu_throttle_seconds_total", "gpu_pcie_bytes_total", "gpu_nvlink_bytes_total")

OF_A_GPU: Final = {
    "nvmlDeviceGetMemoryInfo_v2": Expected(("gpu_memory_used_bytes", "gpu_memory_total_bytes"), NOT_IN_THIS_DRIVER),
    "nvmlDeviceGetUtilizationRates": Expected(("gpu_utilization_ratio",)),
    "nvmlDeviceGetSamples": Expected(("gpu_utilization_ratio",), ANY),
    "nvmlDeviceGetPowerUsage": Expected(("gpu_power_watts",), NOT_IN_THIS_DRIVER),
    "nvmlDeviceGetEnforcedPowerLimit": Expected(("gpu_power_limit_watts",), NOT_IN_THIS_DRIVER),
    "nvmlDeviceGetTemperature": Expected(("gpu_temperature_celsius",)),
    "nvmlDeviceGetClockInfo": Expected(("gpu_clock_hertz",)),
    "nvmlDeviceGetRemappedRows": Expected(("gpu_ecc_errors_total",), ANY),  # the counts of ECC are there
    "nvmlDeviceGetFieldValues": Expected(FIELDS),
    "nvmlDeviceGetComputeRunningProcesses_v3": Expected(PROCESSES, NOT_IN_THIS_DRIVER),
    "nvmlDeviceGetGraphicsRunningProcesses_v3": Expected(PROCESSES, NOT_IN_THIS_DRIVER),
    "nvmlDeviceGetMPSComputeRunningProcesses_v3": Expected(PROCESSES, NOT_IN_THIS_DRIVER),
    "nvmlDeviceGetProcessUtilization": Expected(PROCESSES[1:], NOT_SINCE),
    "nvmlGpmQueryDeviceSupport": Expected(GPM),
    "nvmlGpmSampleAlloc": Expected(GPM),
    "nvmlGpmSampleGet": Expected(GPM),
    "nvmlGpmMetricsGet": Expected(GPM),
}
"""Functions that are asked in each reading, of one GPU."""
WHOLE: Final[dict[str, object]] = {"links": 2, "pid.0": 42, "memory.0": 1 << 30, "gpm_apart_ms": 0, "samples": 0}
"""One GPU that lacks nothing; its utilisation is the driver's last, whatever the time."""
XID: Final = ("gpu_xid_errors_total",)
AT_OPEN: Final[dict[str, Expected | None]] = {
    "nvmlInitWithFlags": None,
    "nvmlDeviceGetCount_v2": None,
    "nvmlDeviceGetHandleByIndex_v2": None,
    "nvmlDeviceGetUUID": None,
    "nvmlSystemGetDriverVersion": Expected((), ANY),
    "nvmlDeviceGetName": Expected((), ANY),
    "nvmlDeviceGetMigMode": Expected((), ANY),
    "nvmlEventSetCreate": Expected(XID),
    "nvmlDeviceRegisterEvents": Expected(XID),
    "nvmlEventSetWait_v2": Expected(XID),
}
"""Functions that are asked once; None: without it there is no GPU."""
AT_INIT: Final = {3: "not_supported", 4: "permission", 9: "not_installed", 12: "not_installed", 13: "not_supported"}
"""Reasons by code of the first call; all others: failed."""
WITHOUT_EFFECT: Final = frozenset(
    {
        "nvmlDeviceGetComputeRunningProcesses_v2",
        "nvmlDeviceGetDeviceHandleFromMigDeviceHandle",
        "nvmlDeviceGetGpuInstanceId",
        "nvmlDeviceGetGraphicsRunningProcesses_v2",
        "nvmlDeviceGetIndex",
        "nvmlDeviceGetMPSComputeRunningProcesses_v2",
        "nvmlDeviceGetMaxMigDeviceCount",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetMigDeviceHandleByIndex",
        "nvmlDeviceGetSupportedEventTypes",
        "nvmlDeviceGetTotalEccErrors",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlErrorString",
        "nvmlEventSetFree",
        "nvmlGpmMigSampleGet",
        "nvmlGpmSampleFree",
        "nvmlInit_v2",
        "nvmlShutdown",
    }
)
"""Functions that a GPU of now can do without: for instances, for old drivers, to clean up, or not called."""


def wrong(function: str, code: int, told: Gpu | BackendError, whole: Gpu) -> str:
    """What is wrong with what was told when a function gave a code; empty where it is right.

    Args:
        function: of NVML.
        code: that it gave.
        told: in the second reading, of one GPU.
        whole: the same where nothing fails.
    """
    says = answer(code)
    expected = OF_A_GPU[function] if function in OF_A_GPU else AT_OPEN[function]
    no_gpu = says == "lost" and function in AT_OPEN and expected is not None and expected.names != XID
    if isinstance(told, BackendError):
        reason = AT_INIT.get(code, "failed") if function == "nvmlInitWithFlags" else told.reason
        right = (expected is None or says == "down" or no_gpu) and told.words and told.reason == reason
        return "" if right else f"no GPU: {told.reason}, {told.words!r}"
    if expected is None or says == "down" or no_gpu:
        return "the GPU is told"
    if says == "lost" and function in OF_A_GPU:
        return "" if (told.up, told.values, told.processes) == (False, (), None) else "a lost GPU has numbers"
    none_came = function == "nvmlEventSetWait_v2" and code == TIMEOUT
    fine = says in expected.fine or none_came
    gaps = {} if fine else dict.fromkeys(expected.names, REASON.get(says, "failed"))
    if dict(told.gaps) != gaps or not told.up:
        return f"gaps {dict(told.gaps)}, expected {gaps}"
    names = {value.name for value in whole.values}
    left = names - set(gaps)
    return "" if {value.name for value in told.values} == left else f"told {sorted(v.name for v in told.values)}"
