"""CPU of the whole process tree: live members, the children they waited for, and those nobody waited for."""

from __future__ import annotations

from collections.abc import Iterable

from pilotfish_agent.hardware._context import Collector, HardwareContext
from pilotfish_agent.target.ledger import Key
from pilotfish_agent.target.procfs import CLOCK_TICKS
from pilotfish_agent.target.roles import OTHER
from pilotfish_core.metrics import Metric, Reading, Sample

CPU = Metric(
    "pilotfish_process_cpu_seconds_total",
    "counter",
    "CPU time of the model's process tree, ended children included; its rate is the number of cores in use.",
    ("target", "mode"),
)
BY_ROLE = Metric(
    "pilotfish_process_role_cpu_seconds_total",
    "counter",
    "CPU time of the model's process tree by role of the process; other: of processes that ended between two samples.",
    ("target", "role"),
)
METRICS = (CPU, BY_ROLE)


class _Cpu:
    def __init__(self, context: HardwareContext) -> None:
        self._tree = context.tree
        self._target = context.target
        self._seen: dict[Key, int] = {}  # clock ticks of each member, as of the last sample
        self._roles: dict[str, int] = {}

    def collect(self) -> Iterable[Reading]:
        user, system, *_ = self._tree.used
        self._add()
        # What no member was seen with: the sum knows it from the parents that waited.
        unseen = user + system - sum(ticks for role, ticks in self._roles.items() if role != OTHER)
        self._roles[OTHER] = max(int(unseen), self._roles.get(OTHER, 0))
        readings = [
            Sample(CPU, (self._target, "user"), user / CLOCK_TICKS),
            Sample(CPU, (self._target, "system"), system / CLOCK_TICKS),
        ]
        readings += [Sample(BY_ROLE, (self._target, role), t / CLOCK_TICKS) for role, t in self._roles.items()]
        return readings

    def _add(self) -> None:
        """What each member has used since the last sample is its present role's: a role may become known late."""
        seen = {}
        for member in self._tree.members:
            seen[member.key] = ticks = member.stat.usage[0][0]
            role = self._tree.role(member)
            self._roles[role] = self._roles.get(role, 0) + ticks - self._seen.get(member.key, 0)
        self._seen = seen


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Cpu(context)
