"""What every collector is given, and what it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar

from pilotfish_agent.gpu.report import GpuSource
from pilotfish_agent.target.exit_feed import Feed
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import Clock
from pilotfish_core.events import Events
from pilotfish_core.metrics import Metric, Reading, Reason, Unavailable

T = TypeVar("T")


Scope = Literal["target", "host"]
"""Of what a collector speaks: of each watched tree, or once of the machine. A part's file says ``SCOPE = "host"``."""
TARGET: Final[Scope] = "target"
HOST: Final[Scope] = "host"


@dataclass(frozen=True, slots=True)
class HostContext:
    """The machine: what a collector of scope `HOST` is given.

    Attributes:
        clock: where time comes from.
        proc: where the proc file system is.
        sys: where the sys file system is.
        state: the folder in which the agent keeps its state; None where it keeps none.
        gpus: what was last read of the GPUs; None where nobody reads them.
        exits: the kernel's records of ended processes; None where nobody listens.
    """

    clock: Clock
    proc: str = "/proc"
    sys: str = "/sys"
    state: str | None = None
    gpus: GpuSource | None = None
    exits: Feed | None = None

    @property
    def scope(self) -> Scope:
        """Which collectors this is for."""
        return HOST


@dataclass(frozen=True, slots=True)
class HardwareContext:
    """A watched tree: what a collector of scope `TARGET` is given.

    Attributes:
        host: the machine on which it runs.
        tree: the watched processes; the runner scans it before each round.
        target: value of the label `target`.
        group: the control groups of the tree's root; the runner refreshes it after each scan.
        events: where what is worth a log line is told; None where nobody reads.
    """

    host: HostContext
    tree: ProcessTree
    target: str
    group: ControlGroup
    events: Events | None = None

    @property
    def scope(self) -> Scope:
        """Which collectors this is for."""
        return TARGET

    @property
    def proc(self) -> str:
        """Where the proc file system is."""
        return self.host.proc

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        return self.host.clock


class Collector(Protocol):
    """One collector: reads the machine, or the tree as of its last scan."""

    def collect(self) -> Iterable[Reading]:
        """Samples, and `Unavailable` for what cannot be read. May raise: the runner answers."""
        ...


def absent(collector: str, metrics: Iterable[Metric], reason: Reason) -> tuple[Unavailable, ...]:
    """One `Unavailable` a metric."""
    return tuple(Unavailable(collector, metric.name, reason) for metric in metrics)
