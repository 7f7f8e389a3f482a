"""The watched process tree: its root and every descendant, found and read through kept `/proc` descriptors.

A scan costs one `stat` and one `children` read a process (docs/hardware.md has the numbers). Processes are
told apart by (pid, start time), so a recycled PID is a new member, never the old one's continuation. A descendant that
was once seen stays a member when its parent dies and init adopts it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pilotfish_agent.hardware import _exits
from pilotfish_agent.hardware._ledger import Key
from pilotfish_agent.hardware._procfs import Descriptors, ProcessFiles, Stat, parse_stat
from pilotfish_core.clock import Clock

LIMIT: Final = 256
"""Processes sampled one by one; more are counted as ``other``: 256 with all files cost 5-14 ms a sample."""
THREADS_EVERY: Final = 10.0
"""Seconds between looks at the children of threads other than the main one, and at the whole of `/proc` where the
kernel has no `children` file: 50 times dearer than the main threads' lists, and few programs fork from threads."""


@dataclass(slots=True)
class Member:
    """One process of the tree.

    Attributes:
        key: (pid, start_time).
        parent: the key of its parent in the tree, None for the root and for orphans.
        stat: as of the last scan.
        files: its other files, for collectors.
    """

    key: Key
    parent: Key | None
    stat: Stat
    files: ProcessFiles
    pidfd: int | None
    exit_counted: bool = field(default=False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.key[0]


class ProcessTree:
    """The processes below a root, of one moment; `scan` moves it on. One thread uses it.

    Args:
        root_pid: the watched process.
        start_time: its start in clock ticks since boot; None takes whoever has the PID at the first scan.
        proc: where the proc file system is.
        clock: for the slow looks.
        limit: processes sampled one by one.
        exclude: PIDs that are no members, with all below them: our own processes, where they hang in the same tree.
        pidfds: whether the PIDs of ``proc`` are this process' own PIDs, so that pidfds may be opened for them.

    Attributes:
        oom_kills: asks how many the out-of-memory killer has ended in the root's control group; None: nobody to ask.
    """

    def __init__(
        self,
        root_pid: int,
        start_time: int | None,
        proc: str = "/proc",
        *,
        clock: Clock,
        limit: int = LIMIT,
        exclude: frozenset[int] = frozenset(),
        pidfds: bool | None = None,
    ) -> None:
        self.proc = proc
        self.restarts = 0
        self.exits: dict[str, int] = dict.fromkeys(_exits.CAUSES, 0)
        self.other = 0
        self.oom_kills: Callable[[], int | None] | None = None
        self._root = (root_pid, start_time)
        self._clock = clock
        self._limit = limit
        self._exclude = exclude
        self._pidfds = os.path.realpath(proc) == "/proc" if pidfds is None else pidfds
        # Half of what this process may open: intake, HTTP connections and state need the rest.
        self._descriptors = Descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._members: dict[int, Member] = {}
        self._next_slow = 0.0
        self._seen_root = False

    @property
    def members(self) -> tuple[Member, ...]:
        """All processes, zombies too, parents before their children."""
        return tuple(self._members.values())

    @property
    def living(self) -> tuple[Member, ...]:
        """Those that have not ended: zombies hold no memory and no descriptors any more."""
        return tuple(m for m in self._members.values() if not m.stat.ended)

    @property
    def alive(self) -> Mapping[Key, Key | None]:
        """Each member's key with its parent's, as a `Ledger` wants it."""
        return {m.key: m.parent for m in self._members.values()}

    @property
    def root(self) -> Member | None:
        """The watched process itself, None while it is not there or has ended."""
        member = self._members.get(self._root[0])
        if member is None or member.stat.ended or self._root[1] not in (None, member.key[1]):
            return None
        return member

    def follow(self, root_pid: int, start_time: int | None, *, restarted: bool = True) -> None:
        """Goes on with another root; counts and sums go on too.

        Args:
            root_pid: the watched process now.
            start_time: as of the constructor.
            restarted: it is the target's next process, a restart if there was one before; else it is above the old one.
        """
        self.restarts += self._seen_root and restarted
        self._root = (root_pid, start_time)
        self._seen_root = False
        self._next_slow = 0.0

    def scan(self) -> None:
        """Reads every member's `stat`, finds new members, and counts those that have ended."""
        now = self._clock.monotonic()
        slow = now >= self._next_slow
        if slow:
            self._next_slow = now + THREADS_EVERY
        self.other = 0
        if self._root[0] not in self._members:
            self._add_root()
        queue = list(self._members.values())
        table: dict[int, list[int]] | None = None
        for member in queue:  # grows while it is walked: children come after their parents
            if not self._refresh(member) or member.stat.ended:
                continue
            children = self._children(member, slow=slow)
            if children is None:
                table = self._by_parent() if table is None and slow else table
                children = (table or {}).get(member.pid, [])
            queue.extend(self._adopt(member, children))

    def count(self, cause: str) -> None:
        """One more process of the tree has ended; a cause that was never told has no number."""
        self.exits[cause] = self.exits.get(cause, 0) + 1

    def close(self) -> None:
        """Closes every descriptor."""
        for member in self.members:
            self._drop(member)

    def _add_root(self) -> None:
        pid, start_time = self._root
        member = self._open(pid, None)
        if member is None:
            return
        if start_time is not None and member.key[1] != start_time:
            self._drop(member)  # somebody else has the number now
            return
        self._root = member.key
        self._seen_root = True
        self._members = {pid: member, **self._members}  # parents come first

    def _open(self, pid: int, parent: Key | None) -> Member | None:
        try:
            files = ProcessFiles(f"{self.proc}/{pid}", self._descriptors)
        except OSError:
            return None
        # The folder's descriptor came first: if `stat` answers through it after this, the pidfd is the same process'.
        pidfd = _exits.open_pidfd(pid) if self._pidfds else None
        if pidfd is not None:
            self._descriptors.take(must=True)
        try:
            stat = parse_stat(files.read("stat"))
        except (OSError, ValueError):
            self._close(files, pidfd)
            return None
        member = Member((pid, stat.start_time), parent, stat, files, pidfd)
        self._members[pid] = member
        return member

    def _refresh(self, member: Member) -> bool:
        """Reads `stat` again; False when the process has gone."""
        try:
            member.stat = parse_stat(member.files.read("stat"))
        except (OSError, ValueError):
            self._count_exit(member, _exits.wait_status(member.pidfd) if member.pidfd is not None else None)
            self._drop(member)
            return False
        parent = self._members.get(member.stat.ppid)
        member.parent = parent.key if parent is not None and member.key != self._root else None
        if member.stat.ended and member.stat.exit_code and not member.exit_counted:
            self._count_exit(member, member.stat.exit_code)
        return True

    def _count_exit(self, member: Member, status: int | None) -> None:
        if not member.exit_counted:
            member.exit_counted = True
            self.count("unknown" if status is None else _exits.cause(status))

    def _children(self, member: Member, *, slow: bool) -> list[int] | None:
        """PIDs of its children as the kernel lists them; None where this kernel has no such list."""
        main = f"task/{member.pid}/children"
        try:
            children = member.files.read_list(main).split()
        except FileNotFoundError:
            return [] if member.files.gone() else None
        except OSError:
            return []
        if slow and member.stat.threads > 1:
            children += self._thread_children(member)
        return [int(pid) for pid in children if pid.isdigit()]

    def _thread_children(self, member: Member) -> list[bytes]:
        children: list[bytes] = []
        try:
            for tid in os.listdir(f"{self.proc}/{member.pid}/task"):
                if tid != str(member.pid):
                    children += member.files.read_list(f"task/{tid}/children", keep=False).split()
        except OSError:  # a thread that ended meanwhile: its children are in another thread's list at the next look
            pass
        return children

    def _by_parent(self) -> dict[int, list[int]]:
        """Children by parent of the whole `/proc`, for kernels without CONFIG_PROC_CHILDREN."""
        found: dict[int, list[int]] = {}
        for name in filter(str.isdigit, os.listdir(self.proc)):
            try:
                with open(f"{self.proc}/{name}/stat", "rb") as file:
                    found.setdefault(parse_stat(file.read()).ppid, []).append(int(name))
            except (OSError, ValueError):
                continue
        return found

    def _adopt(self, parent: Member, pids: list[int]) -> Iterator[Member]:
        for pid in pids:
            if pid in self._members or pid in self._exclude:
                continue
            if len(self._members) >= self._limit:
                self.other += 1
                continue
            member = self._open(pid, parent.key)
            if member is None:
                continue
            if member.stat.ppid != parent.pid:  # gone and replaced between the list and the look
                self._drop(member)
                continue
            yield member

    def _drop(self, member: Member) -> None:
        self._members.pop(member.pid, None)
        self._close(member.files, member.pidfd)

    def _close(self, files: ProcessFiles, pidfd: int | None) -> None:
        files.close()
        if pidfd is not None:
            os.close(pidfd)
            self._descriptors.give(1)
