"""What an agent is given, by `run` or `attach`, and by the tests in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pilotfish_agent.config import Settings
from pilotfish_agent.launch.handover import Handover
from pilotfish_agent.pipeline.references import References
from pilotfish_agent.pipeline.targets import Wanted
from pilotfish_agent.reload import Origin
from pilotfish_core.clock import Clock


class Voice(Protocol):
    """Who hears that the agent is well and prints its first lines: a guard (`Heart`), or `attach` and systemd."""

    alone: bool

    def beat(self) -> None:
        """It is well."""

    def warn(self, text: str) -> None:
        """One line for the user, until it is ready."""

    def ready(self, text: str) -> None:
        """The start line."""

    def tell(self, text: str) -> None:
        """What is watched now, when that has changed."""

    def ended(self, cause: str) -> None:
        """How the model ended, where that is known better than its wait status tells."""

    def leave(self) -> None:
        """The end begins."""


@dataclass(slots=True)
class Surroundings:
    """Everything.

    Attributes:
        handover: folders, options, the model's pid.
        settings: the configuration as it was read.
        origin: where it was read, for a reload.
        references: None: not read yet; what is wrong with them is then a line, not an end.
        config_ok: nothing was wrong with configuration, options or references.
        notices: lines for `status` that hold as long as the agent runs.
        faults: those that a good reload takes away.
    """

    handover: Handover
    settings: Settings
    origin: Origin
    clock: Clock
    heart: Voice
    targets: Sequence[Wanted]
    references: References | None = None
    config_ok: bool = True
    notices: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
