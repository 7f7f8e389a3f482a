"""RAPL: the processor's own energy counters, as the kernel's power capping shows them.

Source: Linux' Documentation/power/powercap/powercap.rst. A zone is a folder ``intel-rapl:N`` (a package, or ``psys``:
the whole platform) or ``intel-rapl:N:M`` (a part of a package: ``core``, ``uncore``, ``dram``) of
`/sys/class/powercap`, on AMD processors too. ``intel-rapl-mmio`` shows the same packages a second time and is left out.
`energy_uj` counts microjoules, begins anew after `max_energy_range_uj` (at 100 W after about 45 minutes) and is
root's alone since CVE-2020-8694: it can tell what a processor computes.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pilotfish_agent.hardware._kept import KeptFile
from pilotfish_core.clock import Clock

PACKAGE: Final = "package"
"""How the names of the domains begin that hold whole processors; core and uncore are parts of them, dram is not."""
MOST_WATTS: Final = 5_000.0
"""Of one zone: a fall that would mean more than this is no wraparound but a counter that was set back (a resume)."""
AGAIN: Final = 60.0
"""Seconds until a refusal is tried again: a module may come, a right may be given."""
_ZONE: Final = re.compile(r"intel-rapl:\d+(:\d+)?")


@dataclass(slots=True)
class _Zone:
    name: str
    file: KeptFile
    range: int | None
    last: int
    total: int = 0


class Rapl:
    """All zones of this machine; each counts from 0 on, since its counter's own start means nothing to anybody.

    Args:
        sys: where the sys file system is.
        clock: for `MOST_WATTS` and `AGAIN`.
    """

    def __init__(self, sys: str, clock: Clock) -> None:
        self._folder = f"{sys}/class/powercap"
        self._clock = clock
        self._zones: tuple[_Zone, ...] = ()
        self._at = clock.monotonic()
        self._refused: tuple[float, OSError] | None = None

    def read(self) -> Mapping[str, float]:
        """Joules since the first look by domain; zones of one name (the cores of two packages) are one domain.

        Raises:
            OSError: there are none, or they are not for us; tried again after `AGAIN`. No total is lost by that.
        """
        now = self._clock.monotonic()
        if self._refused is not None and now < self._refused[0]:
            raise self._refused[1].with_traceback(None)  # else each raise makes it longer
        try:
            self._zones = self._zones or _zones(self._folder)
            joules = self._count(max(now - self._at, 1.0))
        except OSError as error:
            self._refused = now + AGAIN, error
            raise
        self._refused, self._at = None, now
        return joules

    def _count(self, seconds: float) -> dict[str, float]:
        joules: dict[str, float] = {}
        for zone in self._zones:
            value = int(zone.file.read())
            zone.total += grown(zone.last, value, zone.range, seconds)
            zone.last = value
            joules[zone.name] = joules.get(zone.name, 0.0) + zone.total / 1e6
        return joules

    def close(self) -> None:
        """Closes the descriptors."""
        for zone in self._zones:
            zone.file.close()


def packages(joules: Mapping[str, float]) -> float:
    """What the processors took: their packages' sum, whose parts are in it already."""
    return sum(value for name, value in joules.items() if name.startswith(PACKAGE))


def grown(before: int, now: int, limit: int | None, seconds: float) -> int:
    """By how much a counter has grown, in microjoules.

    Args:
        before: the reading before.
        now: this one.
        limit: its largest value, None where the kernel does not say.
        seconds: between the two.
    """
    if now >= before:
        return now - before
    wrapped = now + limit - before if limit is not None else -1
    return wrapped if 0 <= wrapped <= MOST_WATTS * seconds * 1e6 else now


def _zones(folder: str) -> tuple[_Zone, ...]:
    found: list[_Zone] = []
    try:
        found.extend(_opened(f"{folder}/{name}") for name in sorted(filter(_ZONE.fullmatch, os.listdir(folder))))
    except BaseException:
        for zone in found:
            zone.file.close()
        raise
    if not found:
        raise FileNotFoundError(errno.ENOENT, "no RAPL zone", folder)
    return tuple(found)


def _opened(folder: str) -> _Zone:
    with open(f"{folder}/name", encoding="ascii") as file:
        name = file.read().strip()
    try:
        with open(f"{folder}/max_energy_range_uj", encoding="ascii") as file:
            limit = int(file.read())
    except FileNotFoundError:
        limit = None
    kept = KeptFile(f"{folder}/energy_uj")
    return _Zone(name, kept, limit, int(kept.read()))
