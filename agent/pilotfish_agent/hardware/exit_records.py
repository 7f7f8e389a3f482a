"""The kernel's records of ended processes: whether they come, and how many were lost."""

from __future__ import annotations

from collections.abc import Iterable

from pilotfish_agent.hardware._context import HOST, Collector, HostContext, absent
from pilotfish_core.metrics import Metric, Reading, Sample

SCOPE = HOST
LOST = Metric(
    "pilotfish_exit_records_lost_total",
    "counter",
    "Records of ended processes of the whole host that were not read; short-lived workers may be among them, whose CPU "
    "is then known only where their parent waited for them.",
)
METRICS = (LOST,)
ENABLE = {
    "permission": "CAP_NET_ADMIN, in the host's user namespace",
    "not_supported": "Linux 6.0; the host's PID and network namespace (hostPID, hostNetwork)",
}


class _ExitRecords:
    def __init__(self, context: HostContext) -> None:
        self._exits = context.exits

    def collect(self) -> Iterable[Reading]:
        lost = "disabled" if self._exits is None else self._exits.lost
        return [Sample(LOST, (), float(lost))] if isinstance(lost, int) else absent("exit_records", METRICS, lost)


def make(context: HostContext) -> Collector:
    """The collector."""
    return _ExitRecords(context)
