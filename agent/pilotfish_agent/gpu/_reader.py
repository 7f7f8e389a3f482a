"""One running pf-nvml, seen from the agent: what it says, and how long it may be silent."""

from __future__ import annotations

from typing import Final

from pilotfish_agent.gpu.report import Gpu
from pilotfish_agent.gpu.wire import Began, Ended, Orders, Phase, decode
from pilotfish_agent.launch.child import Child, entry

START_SECONDS: Final = 15.0
"""Until its first word: an interpreter's start on a machine that is ten times overloaded."""
OPEN_DEADLINES: Final = 4
"""Deadlines to find the GPUs in: a driver without persistence mode wakes each of them."""
MOST_GPUS: Final = 256


class Reader:
    """One reading process.

    Args:
        orders: what it shall do.
        now: monotonic seconds.
        deadline: seconds for the driver to answer in.
        command: as `Child` takes it; for tests.

    Attributes:
        process: the process itself.
        rounds: readings so far.
        ended: its last `Ended`, None before the first.
        hung: whether it was killed for its silence.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, orders: Orders, now: float, deadline: float, command: list[str] | None = None) -> None:
        self.process = Child(command or entry("nvml"), now)
        self.process.send(orders.to_bytes())
        self.rounds = 0
        self.ended: Ended | None = None
        self.hung = False
        self._silence = {None: START_SECONDS, "open": OPEN_DEADLINES * deadline, "round": deadline}
        self._idle = orders.interval + deadline
        self._phase: Phase | None = None
        self._asking = True
        self._heard = now
        self._gpus: list[Gpu] = []

    def listen(self, now: float) -> tuple[Gpu, ...] | None:
        """Takes in what it has said; the GPUs of its last whole round, None where there is no new one."""
        whole = None
        for data in self.process.messages():
            try:
                message = decode(data)
            except ValueError:
                continue  # only our own process is at the other end: a damaged message is no reason to end it
            self._heard = now
            if isinstance(message, Began):
                self._phase, self._asking, self._gpus = message.phase, True, []
            elif isinstance(message, Ended):
                self.ended, self._asking = message, False
                if message.reason is None:
                    whole, self.rounds = tuple(self._gpus), self.rounds + 1
            elif len(self._gpus) < MOST_GPUS:
                self._gpus.append(message)
        return whole

    def patience(self, now: float) -> float:
        """Seconds that it may still be silent; below 0 it hangs."""
        return (self._silence[self._phase] if self._asking else self._idle) - (now - self._heard)

    def excuse(self, now: float) -> None:
        """We did not listen ourselves: its silence until now proves nothing."""
        self._heard = now
