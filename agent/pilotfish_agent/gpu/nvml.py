"""GPUs of NVIDIA, by NVML through nvidia-ml-py. Each call may hang for ever: see gpu/process.py, where this runs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pynvml

from pilotfish_agent.gpu import _nvml_errors as errors
from pilotfish_agent.gpu._nvml_device import Device
from pilotfish_agent.gpu._nvml_errors import GapError, LostError, ask
from pilotfish_agent.gpu._nvml_xid import NAME as XID
from pilotfish_agent.gpu._nvml_xid import Xids
from pilotfish_agent.gpu.backend import BackendError
from pilotfish_agent.gpu.report import Gpu
from pilotfish_core.clock import Clock, SystemClock

REOPEN_SECONDS: Final = 30.0
"""Until the library is opened anew where every GPU stays lost: after a reset it may have another handle."""
REOPEN_SOME_SECONDS: Final = 300.0
"""The same where some still answer: they lose a reading, and the lost one may make the library slow to open."""
LAYOUT_SECONDS: Final = 60.0
"""Between two looks for MIG instances that were made or taken apart."""
PLACES: Final = (
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    "/home/kubernetes/bin/nvidia/lib64/libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
)
"""Where it is when it is not on the loader's path: WSL, the GPU operator's driver, GKE (in a pod, on a node), NixOS."""


class NvmlBackend:
    """All GPUs of NVIDIA here; it fulfils `backend.Backend`.

    Args:
        library: path of ``libnvidia-ml.so.1``; None: the loader's, or one of `PLACES`.
        clock: where time comes from.
    """

    def __init__(self, library: str | None = None, clock: Clock | None = None) -> None:
        self._library = library
        self._clock = clock or SystemClock()
        self._driver = ""
        self._count = 0
        self._devices: list[Device] = []
        self._seen: dict[str, Gpu] = {}
        self._xids = Xids()
        self._opened = self._looked = self._clock.monotonic()

    def open(self) -> None:
        """Loads the library and finds the GPUs.

        Raises:
            BackendError: it cannot be had, or there is no GPU.
        """
        _preload(self._library)
        try:
            pynvml.nvmlInitWithFlags(0)
        except pynvml.NVMLError as error:
            raise errors.down(error.value) from None
        try:
            self._driver = str(_else("", ask, pynvml.nvmlSystemGetDriverVersion))
            self._find()
        except LostError as error:
            self.close()
            raise BackendError("failed", f"NVML: a GPU is lost ({error})") from None
        except BackendError:
            self.close()
            raise

    def read(self) -> tuple[Gpu, ...]:
        """All GPUs and MIG instances now; one that was lost is still there, with ``up`` False.

        Raises:
            BackendError: the driver was unloaded or exchanged: this process cannot ask it any more.
        """
        now = self._clock.monotonic()
        found = [gpu for device in self._devices if (gpu := self._read(device, now)) is not None]
        up = {gpu.uuid for gpu in found}
        lost = [self._with_xids(replace(gpu, at=now)) for uuid, gpu in self._seen.items() if uuid not in up]
        if not lost:
            self._opened = now
        elif now - self._opened >= (REOPEN_SOME_SECONDS if found else REOPEN_SECONDS):
            self._opened = now
            self._open_anew()
        if not lost and now - self._looked >= LAYOUT_SECONDS:
            self._looked = now
            if self._layout() != {device.uuid for device in self._devices}:
                self._open_anew()
        return tuple(found + lost)

    def close(self) -> None:
        """Lets go of the library; never raises."""
        self._xids.close()
        for device in self._devices:
            device.close()
        self._devices = []
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            pass  # it is gone already

    def _open_anew(self) -> None:
        self.close()
        self.open()

    def _layout(self) -> set[str]:
        """UUIDs of all GPUs and instances as they are now."""
        found = [one for index in range(self._count) for one in _devices(index, [])]
        for device in found:
            device.close()
        return {device.uuid for device in found}

    def _read(self, device: Device, now: float) -> Gpu | None:
        """None: it is lost. It may be back at the next call, with other abilities: the driver was reset."""
        try:
            return self._with_xids(device.read(now, self._driver))
        except LostError:
            device.forget()
            return None

    def _with_xids(self, gpu: Gpu) -> Gpu:
        if "/" in gpu.gpu:
            return gpu  # they are told of the whole GPU
        try:
            return replace(gpu, values=(*gpu.values, *self._xids.read(gpu.uuid)))
        except GapError as gap:
            return replace(gpu, gaps=(*gpu.gaps, (XID, gap.reason))) if gpu.up else gpu

    def _find(self) -> None:
        try:
            self._count = int(ask(pynvml.nvmlDeviceGetCount))
        except GapError as gap:
            raise BackendError(gap.reason, f"NVML cannot count its GPUs: {gap.reason}") from None
        problems: list[str] = []
        self._devices = [device for index in range(self._count) for device in _devices(index, problems)]
        whole = {device.uuid: device.handle for device in self._devices if "/" not in device.gpu}
        known = {device.uuid for device in self._devices}
        self._seen = {uuid: gpu for uuid, gpu in self._seen.items() if "/" not in gpu.gpu}
        for device in self._devices:
            self._seen[device.uuid] = device.down(self._driver)
        if not known and not self._seen:
            words = "; ".join(problems) or "the NVIDIA driver knows none"
            raise BackendError("failed" if problems else "not_supported", f"no GPU can be read: {words}")
        self._xids.open(whole)


def make(library: str | None) -> NvmlBackend:
    """The backend, not yet open."""
    return NvmlBackend(library)


def _devices(index: int, problems: list[str]) -> Iterator[Device]:
    """A GPU and its MIG instances; nothing but a line in ``problems`` where it is not ours to use, or lost."""
    try:
        handle = ask(pynvml.nvmlDeviceGetHandleByIndex, index)
        split = bool(_else((0, 0), ask, pynvml.nvmlDeviceGetMigMode, handle)[0])
        yield Device(handle, str(index), split=split)
    except GapError as gap:
        problems.append(f"GPU {index}: {gap.reason}")
        return
    except LostError:
        problems.append(f"GPU {index} is lost, or needs a reset")
        return
    if not split:
        return
    for place in range(_else(0, ask, pynvml.nvmlDeviceGetMaxMigDeviceCount, handle)):
        try:
            instance = ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place)
            number = ask(pynvml.nvmlDeviceGetGpuInstanceId, instance)
            yield Device(instance, f"{index}/{number}", parent=(handle, number))
        except (GapError, LostError):
            continue  # a place without an instance


def _else(otherwise: Any, call: Any, *args: Any) -> Any:
    """What a call gives, or ``otherwise`` where it gives nothing."""
    try:
        return call(*args)
    except GapError:
        return otherwise


def _preload(library: str | None) -> None:
    """Loads the library from its own path: the loader then finds it by its name, by which nvidia-ml-py asks.

    Raises:
        BackendError: a library was named that cannot be loaded.
    """
    if library is None:
        try:
            ctypes.CDLL("libnvidia-ml.so.1")
            return
        except OSError:
            library = next((place for place in PLACES if os.path.exists(place)), None)
    if library is None:
        return  # nvidia-ml-py says so
    try:
        ctypes.CDLL(library)
    except OSError as error:
        raise BackendError("not_installed", f"gpu.driver_library: cannot load {library}: {error}") from None
