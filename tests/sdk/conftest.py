"""An agent's intake beside the SDK, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilotfish import Monitor
from pilotfish_agent.intake.listener import Intake
from pilotfish_core.clock import ManualClock
from pilotfish_core.events import Events
from pilotfish_core.nouns import ObservationBatch


class Agent:
    """A started intake, and what it received."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.intake = Intake(self.path, events=Events(ManualClock()))
        self.intake.start()

    def received(self, monitor: Monitor) -> list[ObservationBatch]:
        """All that the monitor has sent up to now."""
        assert monitor.flush(5)
        return self.intake.drain()

    def one(self, monitor: Monitor) -> ObservationBatch:
        """The only batch."""
        (batch,) = self.received(monitor)
        return batch

    def counters(self) -> dict[str, float]:
        """label -> value of the intake's counters."""
        found = {}
        for sample in self.intake.samples():
            assert isinstance(sample.value, float)
            found[str(sample.labels[0])] = sample.value
        return found


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    running = Agent(tmp_path / "intake.sock")
    yield running
    running.intake.stop()


@pytest.fixture
def monitor(agent: Agent) -> Iterator[Monitor]:
    made = Monitor("ranker", "3", socket=agent.path)
    yield made
    made.close()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits until something holds; fails after 20 s, which no healthy run comes near."""

    def wait(holds: Callable[[], bool]) -> None:
        for _ in range(2_000):
            if holds():
                return
            time.sleep(0.01)
        raise AssertionError("did not happen within 20 s")

    return wait
