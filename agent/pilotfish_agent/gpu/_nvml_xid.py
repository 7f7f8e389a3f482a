"""XID errors: the driver tells of each one once, to whoever waits for it."""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pynvml

from pilotfish_agent.gpu._nvml_errors import GapError, LostError, ask
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
        self._gap: GapError | None = None
        self._set: Any = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, handles: dict[str, Any]) -> None:
        """Waits for those of these GPUs, by UUID.

        Raises:
            BackendError: there is no driver any more.
        """
        self._gaps, self._gap = {}, None
        try:
            self._set = ask(pynvml.nvmlEventSetCreate)
        except (GapError, LostError) as error:
            self._gap = _gap(error)
            return
        for uuid, handle in handles.items():
            self._register(uuid, handle)
        if not self._wait(0):
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
            GapError: the driver does not tell, and has told none.
        """
        counts = self._counts.get(uuid)
        gap = self._gaps.get(uuid) or self._gap
        if gap is not None and not counts:
            raise gap
        for xid, count in sorted((counts or {}).items()):
            yield GpuValue(NAME, float(count), str(xid), counted_here=True)

    def _register(self, uuid: str, handle: Any) -> None:
        try:
            ask(pynvml.nvmlDeviceRegisterEvents, handle, pynvml.nvmlEventTypeXidCriticalError, self._set)
            self._uuids[_address(handle)] = uuid
        except (GapError, LostError) as error:
            self._gaps[uuid] = _gap(error)

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                if not self._wait(WAIT_MS):
                    return
            except BackendError:
                return  # whoever reads the numbers is told the same
            if self._gap is not None:
                stop.wait(_PAUSE_SECONDS)

    def _wait(self, ms: int) -> bool:
        """Counts one, or comes back after so many milliseconds; whether there is any use in waiting again.

        Raises:
            BackendError: there is no driver any more.
        """
        try:
            event = ask(_next, self._set, ms)
        except (GapError, LostError) as error:
            self._gap = _gap(error)
            return not self._gap.lasting
        self._gap = None
        if event is None:
            return True
        uuid = self._uuids.get(_address(event.device))
        if uuid is not None and event.eventType == pynvml.nvmlEventTypeXidCriticalError:
            counts = self._counts.get(uuid, Counter())
            self._counts[uuid] = counts + Counter({int(event.eventData): 1})  # replaced whole: another thread reads
        return True


def _next(events: Any, ms: int) -> Any:
    """The next event, None where there was none in so many milliseconds."""
    try:
        return pynvml.nvmlEventSetWait_v2(events, ms)
    except pynvml.NVMLError_Timeout:
        return None


def _gap(error: GapError | LostError) -> GapError:
    return error if isinstance(error, GapError) else GapError("failed")


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
