"""Open file descriptors; before Linux 6.2 for the same user, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, only."""

from __future__ import annotations

import os
from collections.abc import Iterable

from pilotfish_agent.hardware._context import Collector, HardwareContext, absent
from pilotfish_agent.target.ledger import Key
from pilotfish_agent.target.members import Refused, per_member
from pilotfish_agent.target.procfs import parse_soft_limit
from pilotfish_agent.target.tree import Member
from pilotfish_core.metrics import Metric, Reading, Sample

OPEN = Metric("pilotfish_process_open_fds", "gauge", "Open file descriptors of the model's process tree.", ("target",))
USAGE = Metric(
    "pilotfish_process_fd_usage_max_ratio",
    "gauge",
    "Open file descriptors over the soft limit, of the process nearest to it; at 1 it cannot accept connections.",
    ("target",),
)
METRICS = (OPEN, USAGE)
ENABLE = {"permission": "Linux 6.2; or run as the model's user, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"}
_LIMITS_EVERY = 60.0  # seconds; limits change by prlimit only, and rarely


class _Files:
    def __init__(self, context: HardwareContext) -> None:
        self._context = context
        self._by_size = _size_is_count(context.proc)
        self._limits: dict[Key, int | None] = {}
        self._next_limits = 0.0

    def collect(self) -> Iterable[Reading]:
        self._forget_limits()
        try:
            found = per_member(self._context.tree, self._measure, self._context.tree.living)
        except Refused as refused:
            return absent("files", METRICS, refused.reason)
        if not found:
            return absent("files", METRICS, "no_data")
        target = self._context.target
        usage = max((count / limit for count, limit in found.values() if limit), default=None)
        ratio: list[Reading] = (
            [*absent("files", (USAGE,), "no_data")] if usage is None else [Sample(USAGE, (target,), usage)]
        )
        return [Sample(OPEN, (target,), float(sum(count for count, _ in found.values()))), *ratio]

    def _measure(self, member: Member) -> tuple[int, int | None]:
        count = member.files.size("fd") if self._by_size else len(os.listdir(member.files.folder("fd")))
        if member.key not in self._limits:
            limits = member.files.read_list("limits", keep=False)
            self._limits[member.key] = parse_soft_limit(limits, b"Max open files")
        return count, self._limits[member.key]

    def _forget_limits(self) -> None:
        now = self._context.clock.monotonic()
        if now >= self._next_limits:
            self._limits.clear()
            self._next_limits = now + _LIMITS_EVERY


def _size_is_count(proc: str) -> bool:
    """Whether the size of `/proc/PID/fd` is the number of descriptors, as since Linux 6.2.

    That is 18 times cheaper, and open to everybody.
    """
    try:
        return os.stat(f"{proc}/self/fd").st_size > 0
    except OSError:
        return False


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Files(context)
