"""The limits that hold for a control group: the least along its path, for a limit above it stops it as well.

A container's group rarely has the only limit: its pod's is above it. Of groups that we cannot see (above a container
whose namespace we are in) only version 1 tells the memory limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pilotfish_agent.target.group import Group
from pilotfish_agent.target.groupfs import UNLIMITED, parse_bytes, parse_cpu_max, parse_quota

SLOW_EVERY: Final = 10.0
"""Seconds between looks at limits, which only an operator changes, and at `memory.stat`, 50 lines long."""


def cpu_limit(group: Group) -> tuple[float | None, int]:
    """The least of the limits along the path, in cores, and the level that sets it; (None, 0) without any.

    Raises:
        FileNotFoundError: the CPU controller is enabled at no level.
    """
    limits: list[tuple[float | None, int]] = [(found, level) for level, found in _cpu_limits(group)]
    if not limits:
        raise FileNotFoundError("no CPU limit at any level of the control group")
    return min(((cores, level) for cores, level in limits if cores is not None), default=(None, 0))


def _cpu_limits(group: Group) -> Iterator[tuple[int, float | None]]:
    for level in range(group.depth):
        try:
            if group.unified:
                yield level, parse_cpu_max(group.read("cpu.max", level, keep=False))
            else:
                quota, period = (group.read(f"cpu.cfs_{name}_us", level, keep=False) for name in ("quota", "period"))
                yield level, parse_quota(quota, period)
        except FileNotFoundError:
            continue


def memory_limit(group: Group, stat: dict[str, int]) -> int | None:
    """The least of the limits along the path in bytes, None without any.

    Args:
        group: the group.
        stat: its `memory.stat`, which in version 1 knows the limits above it, of groups that we cannot see too.
    """
    if not group.unified:
        limit = stat.get("hierarchical_memory_limit", UNLIMITED)
        return limit if limit < UNLIMITED else None
    return min(_memory_limits(group), default=None)


def _memory_limits(group: Group) -> Iterator[int]:
    for level in range(group.depth):
        try:
            limit = parse_bytes(group.read("memory.max", level, keep=False))
        except FileNotFoundError:
            continue
        if limit is not None:
            yield limit
