"""XID errors: the driver tells of each one once, to whoever waits for it."""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pynvml

from pilotfish_agent.gpu._nvml_errors import GapError, LostError, ask, refuse
from pilotfish_agent.gpu.backend import BackendError
from pilotfish_agent.gpu.report import GpuValue

NAME: Final = "gpu_xid_errors_total"
WAIT_MS: Final = 500
_PAUSE_SECONDS: Final = 1.0
"""After an error of the wait: a GPU that is lost makes each wait end at once."""


class Xids:
    """Waits for the XIDs of all GPUs in a thread of its own, and counts them by GPU and number.

    Counts are kept over `close` and another `open`.
    """

    def __init__(self) -> None:
        self._counts: dict[str, Counter[int]] = {}
        self._uuids: dict[int, str] = {}
        self._gaps: dict[str, GapError] = {}
        self._set: Any = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, handles: dict[str, Any]) -> None:
        """Waits for those of these GPUs, by UUID.

        Raises:
            BackendError: there is no driver any more.
        """
        self._gaps = {}
        try:
            self._set = ask(pynvml.nvmlEventSetCreate)
            for uuid, handle in handles.items():
                self._register(uuid, handle)
            self._wait(0)
        except (GapError, LostError) as error:
            gap = error if isinstance(error, GapError) else GapError("failed")
            if self._set is None or gap.lasting:
                self._gaps = dict.fromkeys(handles, gap)
                return
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name="pf-nvml-xid", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Waits no more; it takes `WAIT_MS` at most."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._set is not None:
            try:
                pynvml.nvmlEventSetFree(self._set)
            except pynvml.NVMLError:
                pass  # the library frees all at its shutdown
            self._set = None

    def read(self, uuid: str) -> Iterator[GpuValue]:
        """How often each XID was told of a GPU.

        Raises:
            GapError: the driver does not tell, and never has.
        """
        counts = self._counts.get(uuid)
        if not counts and uuid in self._gaps:
            raise self._gaps[uuid]
        for xid, count in sorted((counts or {}).items()):
            yield GpuValue(NAME, float(count), str(xid), counted_here=True)

    def _register(self, uuid: str, handle: Any) -> None:
        try:
            ask(pynvml.nvmlDeviceRegisterEvents, handle, pynvml.nvmlEventTypeXidCriticalError, self._set)
            self._uuids[_address(handle)] = uuid
        except GapError as gap:
            self._gaps[uuid] = gap
        except LostError:
            self._gaps[uuid] = GapError("failed")

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._wait(WAIT_MS)
            except GapError as gap:
                if gap.lasting:
                    return
                stop.wait(_PAUSE_SECONDS)
            except (LostError, BackendError):
                stop.wait(_PAUSE_SECONDS)  # whoever reads the numbers is told the same

    def _wait(self, ms: int) -> None:
        """Counts one, or comes back after so many milliseconds."""
        try:
            event = pynvml.nvmlEventSetWait_v2(self._set, ms)
        except pynvml.NVMLError_Timeout:
            return
        except pynvml.NVMLError as error:
            refuse(error.value)
        uuid = self._uuids.get(_address(event.device))
        if uuid is not None and event.eventType == pynvml.nvmlEventTypeXidCriticalError:
            counts = self._counts.get(uuid, Counter())
            self._counts[uuid] = counts + Counter({int(event.eventData): 1})  # replaced whole: another thread reads


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
