"""A pipeline with a clock and a source in hand; processes, folders and jobs are real."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from pilotfish_agent.capture.settings import Config as CaptureConfig
from pilotfish_agent.capture.supervisor import Supervisor
from pilotfish_agent.decode._runner import Decoders
from pilotfish_agent.drift.features import Config as Features
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.watch import Config
from pilotfish_agent.gpu.settings import Config as GpuConfig
from pilotfish_agent.gpu.supervisor import Supervisor as GpuSupervisor
from pilotfish_agent.hardware._context import HostContext
from pilotfish_agent.intake.exchanges import Assembly, Captured
from pilotfish_agent.pipeline.components import Components
from pilotfish_agent.pipeline.model import Terms
from pilotfish_agent.pipeline.references import LastRead, References
from pilotfish_agent.pipeline.step import Identity, Pipeline
from pilotfish_agent.pipeline.targets import Wanted, Watched
from pilotfish_agent.state.history import History
from pilotfish_agent.state.store import Store
from pilotfish_agent.target.processes import start_time
from pilotfish_core.clock import ManualClock
from pilotfish_core.events import Events
from pilotfish_core.metrics import Sample
from pilotfish_core.nouns import ObservationBatch, Snapshot


def number(value: object) -> float:
    """A sample's value that is no histogram."""
    assert isinstance(value, float)
    return value


class Given:
    """A source that gives what it was given."""

    def __init__(self) -> None:
        self.waiting: list[ObservationBatch] = []
        self.frames: list[bytes] = []
        self._assembly = Assembly()

    def drain(self) -> list[ObservationBatch]:
        """All of it."""
        taken, self.waiting = self.waiting, []
        return taken

    def exchanges(self, now: float) -> Captured:
        """All of them."""
        taken, self.frames = self.frames, []
        for frame in taken:
            self._assembly.add(frame, now)
        return self._assembly.take(now)

    def samples(self) -> Iterator[Sample]:
        """None."""
        return iter(())


class Rig:
    """The pipeline of one agent that watches this process."""

    def __init__(self, folder: pathlib.Path, reference: Reference | None = None, **drift: Any) -> None:
        self.clock = ManualClock()
        self.events = Events(self.clock)
        self.source = Given()
        self.store = Store()
        self.history = History()
        self.capture = Supervisor(CaptureConfig(mode="off"), "", events=self.events)
        wanted = Wanted("me", (os.getpid(), start_time(os.getpid()) or 0), None)
        terms = Terms("me", Config(**{"dependence": 1.0, **drift}), Features(), "auto", None, 1000, str(folder))
        identity = Identity("me", "me", "mine", started=1.0, notices=())
        self.pipeline = Pipeline(
            identity,
            terms,
            References(reference),
            LastRead(ok=True, at=1.0),
            interval=1.0,
            source=self.source,
            decoders=Decoders(events=self.events),
            targets=[Watched(wanted, host=HostContext(self.clock), events=self.events)],
            components=Components(None, 0),
            capture=self.capture,
            gpus=GpuSupervisor(GpuConfig(mode="off"), 1.0, events=self.events),
            store=self.store,
            history=self.history,
            listen=lambda: None,
            clock=self.clock,
            events=self.events,
        )

    def rows(self, model: str = "mine", n: int = 50, version: str | None = None, shift: float = 0.0) -> None:
        """``n`` rows of one numeric feature arrive."""
        x = np.random.default_rng(int(self.clock.monotonic() * 1000) + n).normal(shift, 1, n)
        self.source.waiting.append(ObservationBatch(model, version, "sdk", n, features={"x": x}, latency=[0.01] * n))

    def step(self, seconds: float = 1.0) -> Snapshot:
        """Time passes, one step; the newest Snapshot."""
        self.clock.advance(seconds)
        self.pipeline.step()
        snapshot = self.store.latest()
        assert snapshot is not None
        return snapshot

    def settle(self) -> None:
        """Waits for the worker's real processes."""
        end = time.monotonic() + 60
        while self.step().status.processes.get("worker") is not None:
            assert time.monotonic() < end, "a worker job took more than a minute"
            time.sleep(0.05)

    def counted(self, event: str) -> float:
        """How often an event was told."""
        return sum(number(s.value) for s in self.events.samples() if s.labels[0] == event)

    def drift_threshold(self, model: str) -> float:
        """T of a model, nats."""
        snapshot = self.step()
        named = [s for s in snapshot.samples if s.metric.name == "pilotfish_drift_evidence_threshold_nats"]
        return next(number(s.value) for s in named if model in s.labels)
