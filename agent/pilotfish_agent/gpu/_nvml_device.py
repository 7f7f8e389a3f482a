"""One GPU, or MIG instance, asked through NVML: each number by the first way that its driver has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import pynvml

from pilotfish_agent.gpu import _nvml_fields as fields
from pilotfish_agent.gpu._nvml_errors import GapError, ask
from pilotfish_agent.gpu._nvml_gpm import Gpm
from pilotfish_agent.gpu._nvml_processes import Processes
from pilotfish_agent.gpu._nvml_samples import Energy, Utilization
from pilotfish_agent.gpu.report import Gpu, GpuValue
from pilotfish_core.metrics import Reason

_CLOCKS: Final = {
    "graphics": pynvml.NVML_CLOCK_GRAPHICS,
    "sm": pynvml.NVML_CLOCK_SM,
    "memory": pynvml.NVML_CLOCK_MEM,
    "video": pynvml.NVML_CLOCK_VIDEO,
}
_ECC: Final = {
    "corrected": (pynvml.NVML_FI_DEV_ECC_SBE_VOL_TOTAL, pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
    "uncorrected": (pynvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
}
_BLANK: Final = frozenset({2**64 - 1, 2**32 - 1})
"""`NVML_VALUE_NOT_AVAILABLE`: the call worked, and the driver does not know."""

Way = Callable[[], Iterable[GpuValue]]


class Probe:
    """What gives one series, or a few, in one of several ways: the first that this driver has, found by asking.

    Args:
        names: of the metrics, without prefix.
        ways: the best first.
    """

    __slots__ = ("_ways", "names")

    def __init__(self, names: Iterable[str], *ways: Way) -> None:
        self.names = tuple(names)
        self._ways = list(ways)

    def read(self) -> list[GpuValue]:
        """The values.

        Raises:
            GapError: they cannot be had.
            LostError: there is no such GPU any more.
            BackendError: there is no driver any more.
        """
        while self._ways:
            try:
                return list(self._ways[0]())
            except GapError as gap:
                if not gap.lasting:
                    raise
                del self._ways[0]
        raise GapError("not_supported", lasting=True)


class Device:
    """One GPU or MIG instance.

    Args:
        handle: NVML's.
        gpu: its label: ``0``, or ``0/1`` of an instance.
        parent: of a MIG instance: the handle of its GPU, and its GPU instance's number there.
        split: whether it is a GPU split into MIG instances: its processes are theirs.

    Raises:
        GapError: it does not say who it is.
        LostError: there is no such GPU any more.
        BackendError: there is no driver any more.
    """

    def __init__(self, handle: Any, gpu: str, *, parent: tuple[Any, int] | None = None, split: bool = False) -> None:
        self.handle = handle
        self.gpu = gpu
        self.uuid = str(ask(pynvml.nvmlDeviceGetUUID, handle))
        self.name = _name(handle)
        self._parent = parent
        self._split = split
        self._gpm: Gpm | None = None
        self.forget()

    def forget(self) -> None:
        """Asks for everything anew at the next reading: after a reset other calls may work."""
        self.close()
        whole = self._parent is None
        self._gpm = gpm = Gpm(self.handle) if self._parent is None else Gpm(*self._parent)
        self._fields = fields.Fields(self.handle) if whole else None
        self._processes = None if self._split else Processes(self.handle, sm=whole)
        self._probes = [
            Probe(("gpu_memory_used_bytes", "gpu_memory_total_bytes"), self._memory_v2, self._memory),
            *(Probe((name,), partial(gpm.read, name)) for name in Gpm.METRICS),
            *(self._of_whole(self._fields) if self._fields is not None else ()),
        ]

    def read(self, now: float, driver: str) -> Gpu:
        """All its numbers.

        Raises:
            LostError: there is no such GPU any more.
            BackendError: there is no driver any more.
        """
        if self._gpm is not None:
            self._gpm.refresh(now)
        if self._fields is not None:
            self._fields.refresh()
        values: list[GpuValue] = []
        gaps: dict[str, Reason] = {}
        for probe in self._probes:
            try:
                values += probe.read()
            except GapError as gap:
                gaps |= {name: gap.reason for name in probe.names if not gap.lasting or name not in gaps}
        processes = self._processes.read(gaps) if self._processes is not None else ()
        for name in {value.name for value in values}:
            gaps.pop(name, None)  # another of its series is there
        return Gpu(self.uuid, self.gpu, self.name, driver, True, tuple(values), tuple(gaps.items()), processes, now)

    def down(self, driver: str) -> Gpu:
        """What is told of it while it is lost."""
        return Gpu(self.uuid, self.gpu, self.name, driver, up=False, processes=None)

    def close(self) -> None:
        """Gives back what the library holds for it."""
        if self._gpm is not None:
            self._gpm.close()
            self._gpm = None

    def _of_whole(self, known: fields.Fields) -> Iterator[Probe]:
        """What only a whole GPU has: an instance answers none of it, so it is not asked."""
        utilization, energy = Utilization(self.handle), Energy(self.handle)
        call, field = self._call, partial(_field, known)
        name = "gpu_utilization_ratio"
        yield Probe((name,), partial(utilization.average, name), partial(utilization.last, name))
        name = "gpu_energy_joules_total"
        yield Probe(
            (name,),
            _either(
                partial(field, name, fields.ENERGY, scale=1e-3),
                partial(call, name, pynvml.nvmlDeviceGetTotalEnergyConsumption, scale=1e-3),
            ),
            partial(energy.of_samples, name),
            partial(energy.of_power, name),
        )
        name = "gpu_power_watts"  # the first way is an average over a second, which nvidia-smi shows too
        watts = partial(call, name, pynvml.nvmlDeviceGetPowerUsage, scale=1e-3)
        yield Probe((name,), watts, partial(field, name, fields.POWER, scale=1e-3))
        name = "gpu_power_limit_watts"
        limit = partial(call, name, pynvml.nvmlDeviceGetEnforcedPowerLimit, scale=1e-3)
        yield Probe((name,), limit, partial(field, name, fields.POWER_LIMIT, scale=1e-3))
        name = "gpu_temperature_celsius"
        yield Probe((name,), partial(call, name, pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU))
        name = "gpu_clock_hertz"
        for label, domain in _CLOCKS.items():
            yield Probe((name,), partial(call, name, pynvml.nvmlDeviceGetClockInfo, domain, scale=1e6, label=label))
        name = "gpu_throttle_seconds_total"
        for number, label in fields.THROTTLE.items():
            yield Probe((name,), partial(field, name, number, scale=1e-9, label=label))
        name = "gpu_ecc_errors_total"
        for label, (number, kind) in _ECC.items():
            counted = (pynvml.nvmlDeviceGetTotalEccErrors, kind, pynvml.NVML_VOLATILE_ECC)
            yield Probe(
                (name,),
                _either(partial(field, name, number, label=label), partial(call, name, *counted, label=label)),
            )
        yield Probe((name,), partial(self._rows, name))
        name = "gpu_pcie_bytes_total"
        for number, label in fields.PCIE.items():
            yield Probe((name,), partial(field, name, number, label=label))
        name = "gpu_nvlink_bytes_total"
        yield Probe((name,), partial(known.nvlink, name))

    def _memory_v2(self) -> Iterator[GpuValue]:
        return _memory(ask(pynvml.nvmlDeviceGetMemoryInfo, self.handle, version=pynvml.nvmlMemory_v2))

    def _memory(self) -> Iterator[GpuValue]:
        """Of drivers before R510: what the driver keeps for itself counts as used."""
        return _memory(ask(pynvml.nvmlDeviceGetMemoryInfo, self.handle))

    def _call(
        self, name: str, call: Callable[..., int], *more: Any, scale: float = 1.0, label: str | None = None
    ) -> Iterator[GpuValue]:
        yield GpuValue(name, _known(ask(call, self.handle, *more)) * scale, label)

    def _rows(self, name: str) -> Iterator[GpuValue]:
        """Rows of the memory that were replaced by spare ones, and whether one could not be."""
        corrected, uncorrected, _, failed = ask(pynvml.nvmlDeviceGetRemappedRows, self.handle)
        yield GpuValue(name, float(corrected + uncorrected), "remapped_row")
        yield GpuValue(name, float(bool(failed)), "remap_failure")


def _field(
    known: fields.Fields, name: str, number: int, *, scale: float = 1.0, label: str | None = None
) -> Iterator[GpuValue]:
    yield GpuValue(name, known.get(number) * scale, label)


def _either(first: Way, second: Way) -> Way:
    """Two ways to one count: one may stand in for the other in any reading."""

    def read() -> Iterable[GpuValue]:
        try:
            return list(first())
        except GapError as gap:
            try:
                return list(second())
            except GapError as other:
                raise (other if gap.lasting else gap) from None

    return read


def _memory(info: Any) -> Iterator[GpuValue]:
    yield GpuValue("gpu_memory_used_bytes", _known(info.used))
    yield GpuValue("gpu_memory_total_bytes", _known(info.total))


def _known(number: int) -> float:
    if number in _BLANK:
        raise GapError("no_data")
    return float(number)


def _name(handle: Any) -> str:
    """Its product name; a GPU without one is read all the same."""
    try:
        return str(ask(pynvml.nvmlDeviceGetName, handle))
    except GapError:
        return ""
