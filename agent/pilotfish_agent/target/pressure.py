"""Pressure (PSI): how long tasks waited, and triggers, by which the kernel says when they begin to wait too much.

Source: Linux' Documentation/accounting/psi.rst. Nobody polls a value for a trigger. It lives as long as the descriptor
it was written to, fires at most once a window, and shows as EPOLLPRI. Without CAP_SYS_RESOURCE windows are multiples of
2 s, and such a trigger costs the kernel nothing beyond the averages it keeps anyway. Writing one needs the right to
write to the group's `*.pressure`, which root and the owner of a delegated group have.

Whoever reads such a file in the instant when its 2 s are over takes the kernel's turn to look at the triggers
(kernel/sched/psi.c, psi_show): a file read 50 times a second may never fire, nor one that is read in step with it.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Mapping
from typing import Final

from pilotfish_agent.target.group import Group
from pilotfish_core.metrics import Reason

WINDOW: Final = 2.0
"""Seconds, the shortest window that needs no capability."""
THRESHOLDS: Final[Mapping[str, float]] = {"cpu": 1.0, "memory": 0.15, "io": 0.5}
"""Seconds of a window in which at least one task waited. Memory: what is waited for there was not needed an instant
ago, and is the last sign before the out-of-memory killer. A model with more threads than CPUs always waits for some."""
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def parse_pressure(data: bytes) -> tuple[float, float | None]:
    """Seconds in which some, and in which all tasks that had work waited; None where a kernel does not tell the latter.

    Raises:
        ValueError: no pressure file.
    """
    totals = {line[:4]: int(line[line.rindex(b"=") + 1 :]) / 1e6 for line in data.splitlines() if b"total=" in line}
    if b"some" not in totals:
        raise ValueError(f"no pressure file: {data[:60]!r}")
    return totals[b"some"], totals.get(b"full")


class Triggers:
    """The triggers of one group at a time. One thread uses it."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._armed: dict[int, str] = {}
        self.refused: dict[str, Reason] = {}

    def arm(self, group: Group | None) -> None:
        """Sets the triggers of a group in place of those of the last one; what could not be set is in ``refused``."""
        self.close()
        if group is None:
            return
        self._epoll = select.epoll()
        for resource, seconds in THRESHOLDS.items():
            try:
                fd = group.open(f"{resource}.pressure", os.O_RDWR | os.O_NONBLOCK)
            except OSError as error:
                self.refused[resource] = _reason(error)
                continue
            try:
                if os.fstat(fd).st_size:  # the kernel's own have none: a copy, into which nothing must be written
                    raise OSError(errno.EOPNOTSUPP, "no pressure file of the kernel's")
                os.write(fd, b"some %d %d\0" % (seconds * 1e6, WINDOW * 1e6))
                self._epoll.register(fd, select.EPOLLPRI)
            except OSError as error:
                os.close(fd)
                self.refused[resource] = _reason(error)
            else:
                self._armed[fd] = resource

    @property
    def armed(self) -> tuple[str, ...]:
        """The resources that are watched."""
        return tuple(self._armed.values())

    def fired(self) -> list[str]:
        """The resources whose trigger has fired since the last call; waits for nothing."""
        found: list[str] = []
        if self._epoll is None or not self._armed:
            return found
        for fd, events in self._epoll.poll(0):
            if events & select.EPOLLERR:  # the group has gone
                self._epoll.unregister(fd)
            elif events & select.EPOLLPRI:
                found.append(self._armed[fd])
        return found

    def close(self) -> None:
        """Takes the triggers away."""
        if self._epoll is not None:
            self._epoll.close()
        for fd in self._armed:
            os.close(fd)
        self._epoll, self._armed, self.refused = None, {}, {}


def _reason(error: OSError) -> Reason:
    return "permission" if error.errno in _DENIED else "not_supported"
