"""The process tree itself: how many processes and threads, since when, how often and why they ended."""

from __future__ import annotations

from collections.abc import Iterable

from pilotfish_agent.hardware._context import Collector, HardwareContext, absent
from pilotfish_agent.hardware._kept import reason
from pilotfish_agent.target.procfs import CLOCK_TICKS, parse_boot_time
from pilotfish_agent.target.roles import MAIN, OTHER, WORKER
from pilotfish_agent.target.tree import Member, ProcessTree
from pilotfish_core.metrics import Metric, Reading, Sample

__all__ = ["METRICS", "ProcessTree", "make"]

PROCESSES = Metric(
    "pilotfish_processes",
    "gauge",
    "Live processes of the model's tree by role: main, worker, what a server calls them (docs/hardware.md), "
    "other (too many to sample one by one).",
    ("target", "role"),
)
THREADS = Metric("pilotfish_process_threads", "gauge", "Threads of the model's process tree.", ("target",))
STARTED = Metric(
    "pilotfish_process_start_time_seconds",
    "gauge",
    "When the model's main process started, seconds since the epoch.",
    ("target",),
)
EXITS = Metric(
    "pilotfish_process_exits_total",
    "counter",
    "Ended processes of the model's tree, by cause; under `run` with the one before this, where its end was recorded.",
    ("target", "cause"),
)
RESTARTS = Metric(
    "pilotfish_process_restarts_total",
    "counter",
    "How often the model's main process came back as a new one.",
    ("target",),
)
METRICS = (PROCESSES, THREADS, STARTED, EXITS, RESTARTS)


class _Tree:
    def __init__(self, context: HardwareContext) -> None:
        self._context = context
        self._boot: int | None = None
        self._roles = dict.fromkeys((MAIN, WORKER, OTHER), 0)  # and every other that was ever seen

    def collect(self) -> Iterable[Reading]:
        tree, target = self._context.tree, self._context.target
        alive = tree.living
        roles = dict.fromkeys(self._roles, 0)
        for member in alive:
            role = tree.role(member)
            roles[role] = roles.get(role, 0) + 1
        roles[OTHER] = tree.other
        self._roles = roles
        for role, count in roles.items():
            yield Sample(PROCESSES, (target, role), float(count))
        for cause, count in tree.exits.items():
            yield Sample(EXITS, (target, cause), float(count))
        yield Sample(RESTARTS, (target,), float(tree.restarts))
        if alive:
            yield Sample(THREADS, (target,), float(sum(m.stat.threads for m in alive)))
        else:
            yield from absent("tree", (THREADS,), "no_data")
        yield from self._started(tree.root)

    def _started(self, root: Member | None) -> Iterable[Reading]:
        if root is None:
            return absent("tree", (STARTED,), "no_data")
        if self._boot is None:
            try:
                with open(f"{self._context.proc}/stat", "rb") as file:
                    self._boot = parse_boot_time(file.read())
            except OSError as error:
                return absent("tree", (STARTED,), reason(error))
        if self._boot is None:
            return absent("tree", (STARTED,), "not_supported")
        return [Sample(STARTED, (self._context.target,), self._boot + root.key[1] / CLOCK_TICKS)]


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Tree(context)
