"""What a check is given, and what it says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from pilotfish_agent.capture.settings import Config as Capture
from pilotfish_agent.hardware._context import HostContext
from pilotfish_agent.target import processes
from pilotfish_core import registry
from pilotfish_core.metrics import Reason

PACKAGE = "pilotfish_agent.doctor"
State = Literal["works", "partly", "missing"]
CAPABILITIES = {
    1: "CAP_DAC_OVERRIDE",
    2: "CAP_DAC_READ_SEARCH",
    12: "CAP_NET_ADMIN",
    13: "CAP_NET_RAW",
    19: "CAP_SYS_PTRACE",
    21: "CAP_SYS_ADMIN",
}
"""Those that any check speaks of, by bit (linux/capability.h)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that works here, or does not.

    Attributes:
        name: what, as the user knows it: a metric, a capture mode, a kernel interface.
        state: ``partly``: less of it than there could be.
        reason: why it is missing, one of the reasons of `pilotfish_signal_unavailable`; None while it works.
        words: what was found.
        enable: what would give it; empty where nothing would.
    """

    name: str
    state: State
    reason: Reason | None = None
    words: str = ""
    enable: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the checks look at.

    Attributes:
        pid: the watched process; where none was named it is ourselves, who stand for a model of the same user; None
            where the one that was named cannot be found.
        named: whether one was named.
        refused: whether it cannot be found for want of a right.
        uid: of its user, as far as known; else ours.
        port: that was given for it.
        capture: section `capture` of the configuration.
        machine: the machine on which it runs, with its GPUs.
    """

    pid: int | None
    named: bool
    refused: bool
    uid: int
    port: int | None
    capture: Capture
    machine: HostContext

    @property
    def same_user(self) -> bool:
        """Whether the process is of our own user."""
        return self.uid == os.geteuid()


class Area(Protocol):
    """A file of this folder."""

    TITLE: str
    ORDER: int

    def check(self, situation: Situation) -> Iterator[Finding]:
        """Tries everything of its area. May raise: `examine` answers."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """What an area found."""

    name: str
    title: str
    findings: tuple[Finding, ...]


def examine(situation: Situation) -> list[Report]:
    """Every area, in its order; a check that breaks is a finding."""
    areas = sorted(registry.parts(PACKAGE), key=lambda part: (part[1].ORDER, part[0]))
    return [Report(name, area.TITLE, tuple(_checked(name, area, situation))) for name, area in areas]


def _checked(name: str, area: Area, situation: Situation) -> Iterator[Finding]:
    try:
        yield from area.check(situation)
    except Exception as error:  # noqa: BLE001 - a check that breaks must not take the others with it
        words = f"the check broke: {type(error).__name__}: {error}"
        yield Finding(name, "missing", "failed", words, "please report this line")


def capabilities(proc: str = "/proc") -> frozenset[str]:
    """Our effective capabilities, of those that matter here."""
    for line in processes.read(f"{proc}/self/status").splitlines():
        if line.startswith(b"CapEff:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for bit, name in CAPABILITIES.items() if bits >> bit & 1)
    return frozenset()


def user_of(pid: int, proc: str = "/proc") -> int | None:
    """The effective uid of a process, from its `status`: `/proc/PID` is root's where it may not be traced."""
    for line in processes.read(f"{proc}/{pid}/status").splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[2])
    return None
