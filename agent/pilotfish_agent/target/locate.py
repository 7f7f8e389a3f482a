"""Finding the target: the process that all given selectors name.

A selector names processes; the target is the root of their tree. Of several trees the oldest is taken, because what
was started later is more often the helper than the model, and because the choice then stays the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from pilotfish_agent.target import cgroups, processes
from pilotfish_agent.target.processes import OURS, Processes
from pilotfish_core.errors import UsageError

Key = tuple[int, int]
"""(pid, start time) of a process."""
_NAME_BYTES = 4096
"""Of a command line, for `name`: more is data, not a name, and a regular expression may be slow on it."""


@dataclass(frozen=True, slots=True)
class Selector:
    """What is known of the target; everything given must hold.

    Attributes:
        pid: the process itself. A later process of the same number is another.
        port: a TCP port on which the process, or one below it, listens.
        name: a regular expression, sought in the command name and the command line.
        cgroup: a control group in which it is, or below; as in `/proc/PID/cgroup` or as its folder.
        unit: a systemd unit (`cgroups.unit_groups` has its forms).
    """

    pid: int | None = None
    port: int | None = None
    name: str | None = None
    cgroup: str | None = None
    unit: str | None = None

    def words(self) -> str:
        """``--port 8501 --name serve``, for messages; empty when nothing is given."""
        given = ((name, getattr(self, name)) for name in self.__slots__)
        return " ".join(f"--{name} {value}" for name, value in given if value is not None)


class Finder:
    """Looks for a target. One thread uses it.

    Args:
        selector: what it is known by.
        proc: where the proc file system is.

    Attributes:
        notice: of the last look: which of several was taken, or why the target cannot be seen; "" for nothing.
        refused: the right that is missing to find the target by its port; None while nothing is known to be missing.
    """

    def __init__(self, selector: Selector, proc: str = "/proc") -> None:
        self.selector = selector
        self.notice = ""
        self.refused: UsageError | None = None
        self._proc = proc
        self._born = processes.start_time(selector.pid, proc) if selector.pid is not None else None
        self._name = re.compile(selector.name) if selector.name is not None else None
        self._group = cgroups.matcher(selector.cgroup, selector.unit, proc)
        self._sockets: frozenset[int] = frozenset()

    def __call__(self, look: Callable[[], Processes] | None = None) -> Key | None:
        """The root of the target's tree, None while there is none.

        Args:
            look: gives the table of this moment, where several share it.
        """
        self.notice = ""
        self.refused = None
        sockets = None
        if self.selector.port is not None:
            sockets = self._sockets = processes.listening(self.selector.port, self._proc)
            if not sockets:
                return None
        table = look() if look is not None else Processes(self._proc)
        owners = None if sockets is None else self._owners(table, sockets)
        if owners is not None and not owners:
            return None
        root = self._by_port(table, owners or []) if self._only_port() else self._by_match(table, owners)
        if root is None and processes.start_time(1, self._proc) is None:
            # Every /proc has a PID 1, and anybody may read when it started.
            self.notice = (
                f"{self.selector.words()}: /proc shows no processes of other users (hidepid); run as the same user, in "
                "the group of its option gid=, or with CAP_SYS_PTRACE"
            )
        return None if root is None else (root, table.started(root))

    def moved(self) -> bool:
        """Whether other sockets than at the last look listen on the port: cheap, and no need to look while not.

        A target that has closed its port for a while has not moved.
        """
        if self.selector.port is None:
            return False
        now = processes.listening(self.selector.port, self._proc)
        return bool(now) and now != self._sockets

    def _only_port(self) -> bool:
        known = self.selector
        return known.pid is None and self._name is None and self._group is None

    def _by_port(self, table: Processes, owners: list[int]) -> int | None:
        root = table.common_ancestor(owners)
        if root is not None:
            return root
        return self._oldest(table, table.roots(owners))

    def _by_match(self, table: Processes, owners: list[int] | None) -> int | None:
        matching = [pid for pid in table.living if self._matches(pid, table)]
        if owners is not None:
            above = {pid for owner in owners for pid in table.chain(owner)}
            matching = [pid for pid in matching if pid in above]
        return self._oldest(table, table.roots(matching))

    def _oldest(self, table: Processes, roots: list[int]) -> int | None:
        if not roots:
            return None
        oldest = min(roots, key=lambda pid: (table.started(pid), pid))
        if len(roots) > 1:
            name = processes.command(oldest, self._proc)
            words = self.selector.words()
            self.notice = f"{words}: {len(roots)} processes match; the oldest is watched, PID {oldest} ({name})"
        return oldest

    def _matches(self, pid: int, table: Processes) -> bool:
        if self.selector.pid is not None and (pid != self.selector.pid or self._born not in (None, table.started(pid))):
            return False
        if self._group is not None and not self._group(table.file(pid, "cgroup")):
            return False
        return self._name is None or self._is_named(self._name, pid, table)

    def _is_named(self, name: re.Pattern[str], pid: int, table: Processes) -> bool:
        words = (
            table.file(pid, "cmdline")[:_NAME_BYTES].replace(b"\0", b" ").decode("utf-8", "backslashreplace").strip()
        )
        if not words or not (name.search(words) or name.search(table.command(pid))):
            return False  # no words: a thread of the kernel
        # Our own words hold the expression, and so may those of the shell or the service that started us.
        return table.command(pid) not in OURS and pid not in table.chain(os.getpid())

    def _owners(self, table: Processes, sockets: frozenset[int]) -> list[int]:
        """Processes with one of the sockets; none seen is told by `notice` and `refused`."""
        owners, denied = processes.owners(sockets, table.living, self._proc)
        if not owners:
            port = f"--port {self.selector.port}"
            who = ", ".join(map(str, processes.users(sockets, self._proc)))
            if denied:
                self.refused = UsageError(
                    port,
                    got=f"a socket of uid {who}, whose process uid {os.geteuid()} may not look at",
                    expected="to run as the same user, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
                    todo="or find it by --pid, --name, --cgroup or --unit, which need no right",
                )
                self.notice = self.refused.line()
            else:
                self.notice = f"{port}: its process (uid {who}) is not in this PID namespace; share it (docs/attach.md)"
        return owners
