"""Runs the collectors: each one's success and duration, and the one broad catch of the hardware part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import ModuleType

from pilotfish_agent.hardware._context import TARGET, Collector, HardwareContext, HostContext, absent
from pilotfish_core import registry
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Metric, Reading, Sample

SUCCESS = Metric(
    "pilotfish_collector_success",
    "gauge",
    "1 when the collector's last run raised no error, 0 when it did; the agent's log says which.",
    ("collector",),
)
DURATION = Metric(
    "pilotfish_collector_duration_seconds",
    "gauge",
    "How long the collector's last run took.",
    ("collector",),
)
METRICS = (SUCCESS, DURATION)
FAILED = Event("collector_failed", "warning", "A collector failed; its signals are absent until it runs again.")
EVENTS = (FAILED,)
PACKAGE = "pilotfish_agent.hardware"


class Runner:
    """All wanted collectors of one scope: over one tree, or over the machine. One thread uses it.

    Args:
        context: what the collectors get; those of its scope run.
        names: parts of this folder; None for all.
        events: where failures are told.

    Raises:
        ConfigError: there is no such collector.
    """

    def __init__(
        self,
        context: HardwareContext | HostContext,
        names: Iterable[str] | None = None,
        *,
        events: Events | None = None,
    ) -> None:
        self._context = context
        self._events = events
        parts = [(n, part) for n, part in registry.parts(PACKAGE, names) if scope(part) == context.scope]
        self._collectors: dict[str, Collector] = {name: part.make(context) for name, part in parts}
        self._metrics: dict[str, tuple[Metric, ...]] = {name: part.METRICS for name, part in parts}
        self._every: dict[str, float] = {name: getattr(part, "EVERY", 0.0) for name, part in parts}
        self._rests: dict[str, tuple[float, list[Reading]]] = {}
        # Of each collector: they say the same at nearly every sample.
        self._success = {name: Sample(SUCCESS, (name,), 1.0) for name in self._collectors}

    def collect(self) -> list[Reading]:
        """Scans the tree, where there is one, and runs every collector; never raises.

        A part whose file says ``EVERY = 5.0`` runs that rarely, in seconds; in between it says what it said last.
        """
        readings: list[Reading] = []
        if isinstance(self._context, HardwareContext):
            self._guarded("scan", partial(_scanned, self._context))
        began = self._context.clock.monotonic()
        for name, every in self._every.items():
            rests_until, found = self._rests.get(name, (0.0, []))
            if began >= rests_until:
                ended, found = self._run(name, began)
                if every:
                    self._rests[name] = began + every, found
                began = ended
            readings += found
        return readings

    def _run(self, name: str, began: float) -> tuple[float, list[Reading]]:
        """When it ended, and what one collector says."""
        found = self._guarded(name, self._collectors[name].collect)
        ended = self._context.clock.monotonic()
        duration = Sample(DURATION, (name,), ended - began)
        if found is None:
            return ended, [*absent(name, self._metrics[name], "failed"), Sample(SUCCESS, (name,), 0.0), duration]
        return ended, [*found, self._success[name], duration]

    def _guarded(self, name: str, work: Callable[[], Iterable[Reading]]) -> Sequence[Reading] | None:
        """The readings of ``work``, None when it failed."""
        try:
            return tuple(work())
        except Exception as error:  # noqa: BLE001 - one collector's fault, whatever it is, must not take the others with it
            if self._events is not None:
                self._events.emit(FAILED, collector=name, error=f"{type(error).__name__}: {error}")
            return None

    def close(self) -> None:
        """Closes what the tree, its group and the collectors hold (those that hold something have a `close`)."""
        if isinstance(self._context, HardwareContext):
            self._context.tree.close()
            self._context.group.close()
        for collector in self._collectors.values():
            getattr(collector, "close", _nothing)()


def scope(part: ModuleType) -> str:
    """Of what a part speaks: its ``SCOPE``; most speak of a watched tree and say nothing."""
    found: str = getattr(part, "SCOPE", TARGET)
    return found


def _scanned(context: HardwareContext) -> Iterable[Reading]:
    context.tree.scan()
    context.group.refresh()
    return ()


def _nothing() -> None:
    """What most collectors have to close."""
