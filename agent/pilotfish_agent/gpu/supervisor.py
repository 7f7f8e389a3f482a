"""Who looks after pf-nvml, in a thread of the agent: starts it where a driver is found, and ends it when that hangs.

The thread lives as long as the process it has started: the kernel ends that one with the thread (PR_SET_PDEATHSIG).
Other threads read `Supervisor.report`, which is replaced whole.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from pilotfish_agent.gpu import drivers
from pilotfish_agent.gpu._reader import Reader
from pilotfish_agent.gpu.report import Gpu, GpuReport
from pilotfish_agent.gpu.settings import Config
from pilotfish_agent.gpu.totals import Totals
from pilotfish_agent.gpu.wire import CODE_UNAVAILABLE, Orders
from pilotfish_agent.launch.guard import Backoff
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Reason

STARTED = Event("gpu_started", "info", "GPUs are read.")
ENDED = Event("gpu_ended", "warning", "The process that reads the GPUs ended; it is started again.")
HUNG = Event("gpu_hung", "warning", "A GPU's driver did not answer in time; pf-nvml was ended, and is started again.")
UNAVAILABLE = Event("gpu_unavailable", "info", "A GPU's driver is there, but cannot be asked.")
LOST = Event("gpu_lost", "warning", "A GPU does not answer any more: it fell off the bus, or waits for a reset.")
BACK = Event("gpu_back", "info", "A GPU that was lost answers again.")
EVENTS = (STARTED, ENDED, HUNG, UNAVAILABLE, LOST, BACK)

LOOK_SECONDS: Final = 60.0
"""Between two looks for a driver."""
AGAIN_SECONDS: Final = 5.0
"""Until the next start where the driver could not be asked, as while it is upgraded; then twice that, and so on."""
LONGEST_AGAIN_SECONDS: Final = 600.0
"""A container without GPUs, on a host that has some, sees the driver all the time."""
STUCK_SECONDS: Final = 0.2
"""For a killed one to go, when the agent leaves; one that hangs inside the kernel is left to init."""
LONGEST_WAIT: Final = 5.0


class Supervisor:
    """Looks after one reading process; it is a `report.GpuSource`.

    Args:
        config: section `gpu`.
        interval: seconds between two readings.
        events: where things are told.
        command: as `Child` takes it, for tests.
        look: vendors whose driver is there.
        look_every: seconds as `LOOK_SECONDS`.
        again: seconds as `AGAIN_SECONDS`.

    Attributes:
        report: the last that is known; replaced whole, read from any thread, never waits.
    """

    def __init__(
        self,
        config: Config,
        interval: float,
        *,
        events: Events,
        command: list[str] | None = None,
        look: Callable[[str | None], tuple[str, ...]] = drivers.found,
        look_every: float = LOOK_SECONDS,
        again: float = AGAIN_SECONDS,
    ) -> None:
        self._config = config
        self._interval = interval
        self._events = events
        self._command = command
        self._look = look
        self._look_every = look_every
        self._again = again
        self._reader: Reader | None = None
        self._totals = Totals()
        self._backoff = Backoff()
        self._starts = self._refusals = 0
        self._next_start = 0.0
        self._read_at = 0.0
        self._thread: threading.Thread | None = None
        self._stopper: tuple[int, int] | None = None
        off = config.mode == "off"
        self.report = GpuReport(reason="disabled", words="gpu.mode is off") if off else GpuReport()

    # -- for other threads

    def start(self) -> None:
        """Begins; does nothing where GPUs are not wanted."""
        if self._thread is None and self._config.mode != "off":
            self._stopper = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._thread = threading.Thread(target=self._run, name="pf-nvml-guard", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends pf-nvml, which has nothing to save, and the thread; it takes `STUCK_SECONDS` at most."""
        if self._thread is not None and self._stopper is not None:
            os.write(self._stopper[1], b"x")
            self._thread.join()
            for fd in self._stopper:
                os.close(fd)
            self._thread = self._stopper = None

    def notices(self) -> tuple[str, ...]:
        """A line for `status` where a driver is there and its GPUs cannot be read."""
        report = self.report
        fine = report.reason in {None, "disabled", "no_data", "not_installed"}
        return () if fine else (f"gpu: {report.words}",)

    # -- the thread

    def _run(self) -> None:
        asked = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if now - asked > LONGEST_WAIT + 1.0 and self._reader is not None:
                    self._reader.excuse(now)  # we were stopped ourselves: its silence proves nothing
                self._step_safely(now)
                asked = time.monotonic()
                if self._wait(asked):
                    return
        finally:
            self._end()

    def _step_safely(self, now: float) -> None:
        try:
            self._step(now)
        except Exception as error:  # noqa: BLE001 - a fault costs the GPUs a pause, not the thread, which must stop it
            words = f"{type(error).__name__}: {error}"
            self._events.emit(UNAVAILABLE, reason="failed", words=words, exc_info=True)
            self._end()
            self._down("failed", words, now)
            self._next_start = now + self._look_every

    def _wait(self, now: float) -> bool:
        """Until something happens or is due; whether it is time to end."""
        assert self._stopper is not None
        poller = select.poll()
        poller.register(self._stopper[0], select.POLLIN)
        due = self._next_start - now
        if self._reader is not None:
            process = self._reader.process
            poller.register(process.fileno(), select.POLLIN)
            if process.pidfd >= 0:
                poller.register(process.pidfd, select.POLLIN)
            due = LONGEST_WAIT if self._reader.hung else min(self._reader.patience(now), LONGEST_WAIT)
        elif self._stale_at:
            due = min(due, self._stale_at - now)
        return any(fd == self._stopper[0] for fd, _ in poller.poll(max(due, 0.01) * 1_000 + 1))

    def _step(self, now: float) -> None:
        if self._reader is not None:
            self._mind(self._reader, now)
        elif now >= self._next_start:
            self._begin(now)
        if self._stale_at and now >= self._stale_at:
            self._down("failed", "nothing newer than the deadline is known", now)

    @property
    def _stale_at(self) -> float:
        """When what is shown is too old to be shown; 0 where nothing is."""
        shown = any(gpu.up for gpu in self.report.gpus)
        return self._read_at + self._interval + self._config.deadline if shown else 0.0

    def _begin(self, now: float) -> None:
        vendors = self._look(self._config.driver_library)
        self._next_start = now + self._look_every
        if not vendors:
            self._down("not_installed", drivers.NONE, now)
            return
        orders = Orders(
            vendors, self._config.driver_library, self._interval, tuple(folder for folder in sys.path if folder)
        )
        try:
            self._reader = Reader(orders, now, self._config.deadline, self._command)
        except OSError as error:
            self._unavailable("failed", f"pf-nvml cannot be started: {error.strerror}", now)
            return
        self._starts += 1
        self._totals.anew()
        self._show(pid=self._reader.process.pid, restarts=self._starts - 1)

    def _mind(self, reader: Reader, now: float) -> None:
        gone = reader.process.gone()  # before what it has said last is read
        gpus = reader.listen(now)
        if gpus is not None and not reader.hung:
            self._hear(gpus, now, reader.rounds == 1)
        if gone:
            self._bury(reader, now)
        elif reader.patience(now) <= 0 and not reader.hung:
            self._events.emit(HUNG, pid=reader.process.pid, deadline=self._config.deadline)
            reader.process.kill()
            reader.hung = True  # it is buried when it is gone; while it is stuck in the kernel, no other one is started
            self._down("failed", f"the driver did not answer within {self._config.deadline:g} s", now)

    def _hear(self, gpus: tuple[Gpu, ...], now: float, first: bool) -> None:
        told = {gpu.uuid: self._totals.add(gpu) for gpu in gpus}
        for gpu in self.report.gpus:  # one that is told of no more is lost; an instance was taken apart
            if gpu.uuid not in told and "/" not in gpu.gpu:
                told[gpu.uuid] = self._lost(gpu, now)
        before = {gpu.uuid: gpu.up for gpu in self.report.gpus}
        for gpu in told.values():
            if before.get(gpu.uuid, True) != gpu.up and not first:
                self._events.emit(BACK if gpu.up else LOST, uuid=gpu.uuid, gpu=gpu.gpu)
        if first:
            self._events.emit(STARTED, gpus=[f"{gpu.gpu}: {gpu.name}" for gpu in told.values()])
        self._read_at, self._refusals = now, 0
        self._show(gpus=tuple(sorted(told.values(), key=_place)), reason=None, words="")

    def _bury(self, reader: Reader, now: float) -> None:
        code = reader.process.reap()
        self._reader = None
        self._show(pid=None, ended_cpu=self.report.ended_cpu + reader.process.usage)
        said = reader.ended
        if code == CODE_UNAVAILABLE and said is not None and said.reason is not None:
            self._unavailable(said.reason, said.words, now)
            return
        # One that never had an answer is waited for ever longer, however long it has lived.
        self._backoff.death(reader.process.started if reader.rounds else now, now)
        self._next_start = now + self._backoff.delay
        if not reader.hung:
            why = said.words if said is not None and said.reason is not None else None
            self._events.emit(ENDED, pid=reader.process.pid, code=code, error=why, again=round(self._backoff.delay, 2))
            if not self._stale_at:  # what is known stays for a deadline: the next one may know it again
                self._down("failed", why or f"pf-nvml ended with {code}; it is started again", now)

    def _unavailable(self, reason: Reason, words: str, now: float) -> None:
        if words != self.report.words:
            self._events.emit(UNAVAILABLE, reason=reason, words=words)
        self._down(reason, words, now)
        self._next_start = now + min(self._again * 2**self._refusals, LONGEST_AGAIN_SECONDS)
        self._refusals = min(self._refusals + 1, 20)

    def _down(self, reason: Reason, words: str, now: float) -> None:
        """Nothing is known of any GPU."""
        gpus = tuple(self._lost(gpu, now) for gpu in self.report.gpus if "/" not in gpu.gpu)
        self._show(gpus=gpus, reason=reason, words=words)

    def _lost(self, gpu: Gpu, now: float) -> Gpu:
        xids = tuple(self._totals.xids(gpu.uuid))
        return replace(gpu, up=False, values=xids, gaps=(), processes=None, at=now)

    def _end(self) -> None:
        reader, self._reader = self._reader, None
        if reader is None:
            return
        reader.process.kill()
        if reader.process.wait(STUCK_SECONDS):
            reader.process.reap()
        self._show(pid=None, ended_cpu=self.report.ended_cpu + reader.process.usage)

    def _show(self, **changes: Any) -> None:
        self.report = replace(self.report, **changes)


def _place(gpu: Gpu) -> tuple[list[int], str]:
    """By number, an instance after its GPU."""
    return [int(part) if part.isdecimal() else 0 for part in gpu.gpu.split("/")], gpu.uuid
