"""What asks a vendor's library of its GPUs. It runs in the reading process alone: a call may hang for ever."""

from __future__ import annotations

from typing import Protocol

from pilotfish_agent.gpu.report import Gpu
from pilotfish_core.metrics import Reason


class BackendError(Exception):
    """The library cannot be asked at all; what one GPU lacks is in its `Gpu.gaps`.

    Args:
        reason: as in `pilotfish_signal_unavailable`; ``not_installed`` where there is no such library or driver.
        words: the same for people, with what the library said.
    """

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason: Reason = reason
        self.words = words


class Backend(Protocol):
    """One vendor's library. One thread uses it.

    Counters of its `GpuValue`s may fall (a driver reload, a new reading process): whoever exports them adds up.
    """

    def open(self) -> None:
        """Loads the library and finds the GPUs.

        Raises:
            BackendError: it cannot be had, or there is no GPU.
        """
        ...

    def read(self) -> tuple[Gpu, ...]:
        """All GPUs now; one that was lost is still there, with ``up`` False.

        Raises:
            BackendError: the library as a whole answers no more; `close` and `open` may help.
        """
        ...

    def close(self) -> None:
        """Lets go of the library; never raises."""
        ...
