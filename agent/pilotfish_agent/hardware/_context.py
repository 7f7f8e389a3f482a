"""What every collector is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pilotfish_agent.hardware._ledger import Key
from pilotfish_agent.hardware._tree import Member, ProcessTree
from pilotfish_core.clock import Clock
from pilotfish_core.metrics import Metric, Reading, Reason, Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HardwareContext:
    """The surroundings of a collector.

    Attributes:
        proc: where the proc file system is.
        tree: the watched processes; the runner scans it before each round.
        target: value of the label `target`.
        clock: where time comes from.
    """

    proc: str
    tree: ProcessTree
    target: str
    clock: Clock


class Collector(Protocol):
    """One collector: reads the tree as of its last scan."""

    def collect(self) -> Iterable[Reading]:
        """Samples, and `Unavailable` for what cannot be read. May raise: the runner answers."""
        ...


class Refused(Exception):  # noqa: N818 - a private answer, never seen outside
    """A file of a member that lives could not be read."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def per_member(tree: ProcessTree, read: Callable[[Member], T], members: Iterable[Member] | None = None) -> dict[Key, T]:
    """``read`` of every member (or of ``members``); those that have gone since the scan are left out.

    Raises:
        Refused: one could not be read for another cause: a sum over the others would be a wrong number.
    """
    found: dict[Key, T] = {}
    for member in tree.members if members is None else members:
        try:
            found[member.key] = read(member)
        except ProcessLookupError:
            continue
        except PermissionError:
            raise Refused("permission") from None
        except FileNotFoundError:
            if member.files.gone():
                continue
            raise Refused("not_supported") from None
    return found


def absent(collector: str, metrics: Iterable[Metric], reason: Reason) -> tuple[Unavailable, ...]:
    """One `Unavailable` a metric."""
    return tuple(Unavailable(collector, metric.name, reason) for metric in metrics)
