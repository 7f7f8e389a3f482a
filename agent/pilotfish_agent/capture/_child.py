"""One running pf-capture, seen from the agent: given orders and listened to."""

from __future__ import annotations

from collections.abc import Mapping

from pilotfish_agent.capture.control import Orders, Report
from pilotfish_agent.launch import child


class Child:
    """One capture process.

    Args:
        orders: its first ones.
        now: monotonic seconds.
        command: as `child.Child` takes it; for tests.

    Attributes:
        process: started, ended and waited for by the supervisor.
        orders: those it has.
        heard: when it last said that it is well; the start counts.
        beats: heartbeats so far.
        report: the last one, None before the first.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, orders: Orders, now: float, command: list[str] | None = None) -> None:
        self.process = child.Child(command or child.entry("capture"), now)
        self.orders = orders
        self.heard = now
        self.beats = 0
        self.report: Report | None = None
        self.send(orders)

    def send(self, orders: Orders) -> None:
        """Gives new orders."""
        self.orders = orders
        self.process.send(orders.to_bytes())

    def listen(self, now: float) -> None:
        """Takes in what it has said."""
        for data in self.process.messages():
            try:
                self.report = Report.from_bytes(data)
            except (ValueError, TypeError):
                continue
            self.heard = now
            self.beats += 1

    def reap(self, now: float) -> int:
        """Waits for its end; its exit code, negative for a signal. What it had said last is taken in."""
        self.listen(now)
        return self.process.reap()

    @property
    def counters(self) -> Mapping[str, int]:
        """Its absolute counts as it last told them."""
        return {} if self.report is None else self.report.counters
