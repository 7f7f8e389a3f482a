"""A supervisor around the real pf-nvml on a library that plays GPUs, and ways to wait for what it must do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pilotfish_agent.gpu.report import Gpu, GpuReport
from pilotfish_agent.gpu.settings import Config
from pilotfish_agent.gpu.supervisor import Supervisor
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Events
from tests.capture_process.watched import until
from tests.gpu import fake


class Watched:
    """A supervisor in haste, and what it told.

    Args:
        deadline: seconds.
        look: as `Supervisor` takes it; None: a driver is found.
        again: seconds between two looks for a driver, and until the first new attempt.
        mode: as in the configuration.
    """

    def __init__(
        self,
        deadline: float = 20.0,
        *,
        look: Callable[[str | None], tuple[str, ...]] | None = None,
        again: float = 0.05,
        mode: str = "auto",
    ) -> None:
        self.events = Events(SystemClock())
        config = Config(mode=mode, driver_library=str(fake.driver_library()), deadline=deadline)
        find = look or (lambda _: ("nvidia",))
        self.supervisor = Supervisor(config, 0.05, events=self.events, look=find, look_every=again, again=again)

    @property
    def report(self) -> GpuReport:
        """What is known."""
        return self.supervisor.report

    def until(self, what: Callable[[GpuReport], bool], why: str) -> GpuReport:
        """The first report that is as it must become."""

        def found() -> GpuReport | None:
            report = self.report
            return report if what(report) else None

        report = until(found, why)
        assert report is not None
        return report

    def first(self) -> GpuReport:
        """The first with GPUs."""
        return self.until(lambda report: bool(report.gpus) and report.reason is None, "a first reading")

    def count(self, event: str) -> float:
        """How often an event was told."""
        found = [s.value for s in self.events.samples() if s.labels[0] == event]
        return float(found[0]) if found and isinstance(found[0], float) else 0.0


@contextmanager
def running(watched: Watched) -> Iterator[Watched]:
    """Started, and stopped at the end."""
    watched.supervisor.start()
    try:
        yield watched
    finally:
        watched.supervisor.stop()


def xids(gpu: Gpu) -> dict[str | None, float]:
    """How often each XID was told."""
    return {value.label: value.value for value in gpu.values if value.name == "gpu_xid_errors_total"}
