"""GPUs of AMD, by ``amdsmi`` (ROCm's own Python library), where it can be imported; written against 6.x and 7.0.

Not run on a GPU: the tests have a module that answers as the library's interface says. What the library has no number
for by the definition of the metric is a gap, not something similar: its memory controller activity is no share of the
bandwidth, its occupancy of compute units no share of the time, and its PCIe counter is in no unit that is told.
Throttling is counted by the firmware in its own ticks, so it is turned into seconds here, by the share of the ticks.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from pilotfish_agent.gpu.backend import BackendError
from pilotfish_agent.gpu.report import Gpu, GpuProcess, GpuValue
from pilotfish_core.clock import Clock, SystemClock
from pilotfish_core.metrics import Reason

LIBRARY: Final = "amdsmi"
_REASONS: Final[Mapping[int, Reason]] = {
    2: "not_supported",  # AMDSMI_STATUS_NOT_SUPPORTED
    3: "not_supported",  # NOT_YET_IMPLEMENTED
    5: "not_supported",  # FAIL_LOAD_SYMBOL
    10: "permission",  # NO_PERM
    31: "no_data",  # NOT_FOUND
    34: "not_installed",  # DRIVER_NOT_LOADED
    40: "no_data",  # NO_DATA
}
"""By `amdsmi_status_t`; every other one is a failure."""
_NEVER: Final = (
    "gpu_xid_errors_total",
    "gpu_sm_active_ratio",
    "gpu_tensor_active_ratio",
    "gpu_dram_active_ratio",
    "gpu_pcie_bytes_total",
    "process_gpu_sm_utilization_ratio",
)
_CLOCKS: Final = (("GFX", "graphics"), ("MEM", "memory"), ("VCLK0", "video"))
_RESIDENCIES: Final = (
    ("ppt_residency_acc", "power"),
    ("socket_thm_residency_acc", "thermal"),
    ("prochot_residency_acc", "hw_thermal"),
)
_NO_NUMBER: Final = 2**64 - 1
"""What the library passes on in lists of links where the firmware has no number."""
_MICROWATTS: Final = 100_000
"""The power cap is in W on a hypervisor's host and in uW elsewhere: no card has 100 kW, none has 0.1 W."""


T = TypeVar("T")
_Probe = tuple[tuple[str, ...], Callable[[], Iterator[GpuValue]]]
"""Metrics, and what asks for their values."""


class _GapError(Exception):
    """One number is not to be had."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def make(library: str | None) -> AmdBackend:
    """The backend. The library finds its own shared object: ``library`` is NVML's."""
    del library
    return AmdBackend()


class AmdBackend:
    """All GPUs of AMD here; it fulfils `backend.Backend`.

    Args:
        clock: where time comes from.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._smi: Any = None
        self._devices: list[_Device] = []

    def open(self) -> None:
        """Imports the library and finds the GPUs.

        Raises:
            BackendError: it cannot be had, or there is no GPU.
        """
        try:
            self._smi = importlib.import_module(LIBRARY)
        except (ImportError, OSError, AttributeError, KeyError) as error:  # the last two: its .so is of another version
            raise BackendError("not_installed", f"{LIBRARY} cannot be loaded: {_words(error)}") from None
        try:
            self._smi.amdsmi_init(self._smi.AmdSmiInitFlags.INIT_AMD_GPUS)
            handles = self._smi.amdsmi_get_processor_handles()
        except self._smi.AmdSmiException as error:
            raise BackendError(_reason(error), f"{LIBRARY}: {_words(error)}") from None
        try:
            self._devices = [_Device(self._smi, handle, str(number)) for number, handle in enumerate(handles)]
        except _GapError as gap:
            raise BackendError(gap.reason, f"{LIBRARY}: a GPU does not say who it is") from None
        if not self._devices:
            raise BackendError("no_data", f"{LIBRARY} finds no GPU")

    def read(self) -> tuple[Gpu, ...]:
        """All GPUs; one of which nothing at all can be read is lost."""
        return tuple(device.read(self._clock.monotonic()) for device in self._devices)

    def close(self) -> None:
        """Lets go of the library."""
        if self._smi is not None:
            try:
                self._smi.amdsmi_shut_down()
            except self._smi.AmdSmiException:
                pass  # it was down already
            self._smi, self._devices = None, []


class _Device:
    """One GPU, or one partition of it.

    Args:
        smi: the library.
        handle: the library's.
        gpu: its label.

    Raises:
        _GapError: it does not say who it is.
    """

    def __init__(self, smi: Any, handle: Any, gpu: str) -> None:
        self._smi = smi
        self._handle = handle
        uuid = str(self._ask("amdsmi_get_gpu_device_uuid"))
        name = self._told("amdsmi_get_gpu_asic_info", "market_name")
        self._known = Gpu(uuid, gpu, name, self._told("amdsmi_get_gpu_driver_info", "driver_version"), up=True)
        self._ticks: dict[str, float] = {}
        self._throttled = dict.fromkeys((label for _, label in _RESIDENCIES), 0.0)
        self._probes: tuple[_Probe, ...] = (
            (("gpu_utilization_ratio",), self._utilization),
            (("gpu_memory_used_bytes", "gpu_memory_total_bytes"), self._memory),
            (("gpu_energy_joules_total",), self._energy),
            (("gpu_power_watts",), self._power),
            (("gpu_power_limit_watts",), self._power_limit),
            (("gpu_temperature_celsius",), self._temperature),
            (("gpu_clock_hertz",), self._clocks),
            (("gpu_ecc_errors_total",), self._ecc),
            (("gpu_nvlink_bytes_total",), self._links),
        )

    def read(self, now: float) -> Gpu:
        """All its numbers; down where it has none."""
        values: list[GpuValue] = []
        gaps: dict[str, Reason] = dict.fromkeys(_NEVER, "not_supported")
        throttling: _Probe = ("gpu_throttle_seconds_total",), partial(self._throttling, now)
        for names, probe in (*self._probes, throttling):
            try:
                values += _understood(partial(_all, probe))
            except _GapError as gap:
                gaps |= dict.fromkeys(names, gap.reason)
        before, self._known = self._known, replace(self._known, at=now)
        if not values:
            return replace(before, up=False, processes=None, at=now)
        processes: tuple[GpuProcess, ...] | None = None
        try:
            processes = _understood(lambda: tuple(map(_process, self._ask("amdsmi_get_gpu_process_list"))))
        except _GapError as gap:
            gaps["process_gpu_memory_bytes"] = gap.reason
        return replace(self._known, values=tuple(values), gaps=tuple(gaps.items()), processes=processes)

    def _ask(self, call: str, *arguments: Any) -> Any:
        """The answer of a function of the library.

        Raises:
            _GapError: it has none, or there is no such function in this version.
        """
        try:
            return getattr(self._smi, call)(self._handle, *arguments)
        except AttributeError:
            raise _GapError("not_supported") from None
        except self._smi.AmdSmiException as error:
            raise _GapError(_reason(error)) from None

    def _told(self, call: str, key: str) -> str:
        try:
            return str(_understood(lambda: _of(self._ask(call), key)))
        except _GapError:
            return ""

    def _utilization(self) -> Iterator[GpuValue]:
        yield GpuValue("gpu_utilization_ratio", _number(self._ask("amdsmi_get_gpu_activity"), "gfx_activity") / 100)

    def _memory(self) -> Iterator[GpuValue]:
        kind = self._smi.AmdSmiMemoryType.VRAM
        used, total = self._ask("amdsmi_get_gpu_memory_usage", kind), self._ask("amdsmi_get_gpu_memory_total", kind)
        yield GpuValue("gpu_memory_used_bytes", float(used))
        yield GpuValue("gpu_memory_total_bytes", float(total))

    def _energy(self) -> Iterator[GpuValue]:
        told = self._ask("amdsmi_get_energy_count")
        microjoules = _number(told, "energy_accumulator", "power") * _number(told, "counter_resolution")
        yield GpuValue("gpu_energy_joules_total", microjoules * 1e-6)

    def _power(self) -> Iterator[GpuValue]:
        told = self._ask("amdsmi_get_power_info")
        yield GpuValue("gpu_power_watts", _number(told, "current_socket_power", "average_socket_power"))

    def _power_limit(self) -> Iterator[GpuValue]:
        cap = _number(self._ask("amdsmi_get_power_cap_info"), "power_cap")
        yield GpuValue("gpu_power_limit_watts", cap * 1e-6 if cap > _MICROWATTS else cap)

    def _temperature(self) -> Iterator[GpuValue]:
        places, current = self._smi.AmdSmiTemperatureType, self._smi.AmdSmiTemperatureMetric.CURRENT
        try:
            degrees = self._ask("amdsmi_get_temp_metric", places.EDGE, current)
        except _GapError:  # MI300 has no sensor at the edge
            degrees = self._ask("amdsmi_get_temp_metric", places.HOTSPOT, current)
        yield GpuValue("gpu_temperature_celsius", float(degrees))

    def _clocks(self) -> Iterator[GpuValue]:
        found: list[GpuValue] = []
        for kind, label in _CLOCKS:
            try:
                told = self._ask("amdsmi_get_clock_info", getattr(self._smi.AmdSmiClkType, kind))
                found.append(GpuValue("gpu_clock_hertz", _number(told, "clk", "cur_clk") * 1e6, label))
            except (_GapError, AttributeError):  # a clock that this GPU, or this version, does not have
                continue
        if not found:
            raise _GapError("not_supported")
        yield from found

    def _ecc(self) -> Iterator[GpuValue]:
        told = self._ask("amdsmi_get_gpu_total_ecc_count")
        yield GpuValue("gpu_ecc_errors_total", _number(told, "correctable_count"), "corrected")
        yield GpuValue("gpu_ecc_errors_total", _number(told, "uncorrectable_count"), "uncorrected")

    def _links(self) -> Iterator[GpuValue]:
        told = self._ask("amdsmi_get_link_metrics")
        links = [(_number(one, "read"), _number(one, "write")) for one in _of(told, "links")]
        counted = [one for one in links[: int(_number(told, "num_links"))] if float(_NO_NUMBER) not in one]
        if not counted:
            raise _GapError("not_supported")
        for label, kibibytes in zip(("receive", "transmit"), zip(*counted, strict=True), strict=True):
            yield GpuValue("gpu_nvlink_bytes_total", 1024 * sum(kibibytes), label)

    def _throttling(self, now: float) -> Iterator[GpuValue]:
        told = self._ask("amdsmi_get_gpu_metrics_info")
        ticks = {name: _number(told, name) for name in ("accumulation_counter", *(name for name, _ in _RESIDENCIES))}
        before, self._ticks = self._ticks or ticks, ticks
        passed = ticks["accumulation_counter"] - before["accumulation_counter"]
        for name, label in _RESIDENCIES:
            share = (ticks[name] - before[name]) / passed if passed > 0 else 0.0
            self._throttled[label] += min(max(share, 0.0), 1.0) * (now - self._known.at)
            yield GpuValue("gpu_throttle_seconds_total", self._throttled[label], label, counted_here=True)


def _understood(answer: Callable[[], T]) -> T:
    """What ``answer`` gives; an answer in a form that we do not know costs its number, not the reading process.

    Raises:
        _GapError: there is none, or it is of another form: versions of the library differ.
    """
    try:
        return answer()
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _GapError("failed") from None


def _all(probe: Callable[[], Iterator[GpuValue]]) -> list[GpuValue]:
    return list(probe())


def _of(told: Mapping[str, Any], *names: str) -> Any:
    """The first of ``names`` that an answer has: versions of the library call things differently.

    Raises:
        _GapError: it has none of them, or says ``N/A`` to all.
    """
    for name in names:
        if told.get(name, "N/A") != "N/A":
            return told[name]
    raise _GapError("not_supported")


def _number(told: Mapping[str, Any], *names: str) -> float:
    """As `_of`, of a number."""
    return float(_of(told, *names))


def _process(told: Mapping[str, Any]) -> GpuProcess:
    """Its memory on the device; what it has mapped of the host's is in `process_memory_bytes` already."""
    return GpuProcess(int(_number(told, "pid")), int(_number(_of(told, "memory_usage"), "vram_mem")))


def _reason(error: Exception) -> Reason:
    code = getattr(error, "err_code", None)
    return _REASONS.get(code, "failed") if isinstance(code, int) else "failed"


def _words(error: Exception) -> str:
    """The library puts newlines and tabs into what it says."""
    return re.sub(r"\s+", " ", str(error)).strip()
