"""What the files of a control group say, as pure parsers, version 1 and 2.

Sources: Linux' Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from typing import Final

UNLIMITED: Final = 1 << 62
"""Version 1 writes no limit as the largest multiple of the page size below 2^63."""


def parse_keyed(data: bytes) -> dict[str, int]:
    """The lines ``NAME NUMBER`` of `cpu.stat`, `memory.stat`, `memory.events`; other lines are left out."""
    found = {}
    for line in data.splitlines():
        name, _, number = line.partition(b" ")
        if number.isdigit():
            found[name.decode("ascii", "backslashreplace")] = int(number)
    return found


def parse_cpu_max(data: bytes) -> float | None:
    """Cores that `cpu.max` allows, None without a limit.

    Raises:
        ValueError: no such file.
    """
    quota, period = data.split()
    return None if quota == b"max" else _cores(int(quota), int(period))


def parse_quota(quota: bytes, period: bytes) -> float | None:
    """Cores that `cpu.cfs_quota_us` and `cpu.cfs_period_us` allow, None without a limit (-1).

    Raises:
        ValueError: no such files.
    """
    return _cores(int(quota), int(period))


def _cores(quota: int, period: int) -> float | None:
    if period <= 0:
        raise ValueError(f"a period of {period} us")
    return quota / period if quota >= 0 else None


def parse_bytes(data: bytes) -> int | None:
    """A number of bytes, None for ``max``, or what version 1 writes for it.

    Raises:
        ValueError: neither.
    """
    text = data.strip()
    value = UNLIMITED if text == b"max" else int(text)
    return value if value < UNLIMITED else None
