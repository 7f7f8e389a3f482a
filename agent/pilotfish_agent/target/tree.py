"""The watched process tree: its root and every descendant, found and read through kept `/proc` descriptors.

A scan costs one `stat` and one `children` read a process, and one poll of all pidfds (docs/hardware.md). Processes are
told apart by (pid, start time), so a recycled PID is a new member, never the old one's continuation. A descendant that
was once seen stays a member when its parent dies and init adopts it.
"""

from __future__ import annotations

import os
import resource
import select
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pilotfish_agent.target import exits, roles
from pilotfish_agent.target.exits import Ends
from pilotfish_agent.target.ledger import Key, Ledger, Values, by_mode
from pilotfish_agent.target.procfs import Descriptors, ProcessFiles, Stat, is_exiting, parse_stat
from pilotfish_core.clock import Clock

LIMIT: Final = 256
"""Processes sampled one by one; more are counted as ``other``: 256 with all files cost 5-14 ms a sample."""
NEW: Final = 64
"""Members added by one scan, after the first: opening one's files costs 0.1 ms, and a storm of forks brings thousands.
The others are ``other`` until the next scan."""
THREADS_EVERY: Final = 10.0
"""Seconds between looks at the children of threads other than the main one, at who has left the tree, and at the whole
of `/proc` where the kernel has no `children` file: much dearer than the main threads' lists, and rarely of use."""
INIT: Final = 1
"""Who adopts processes whose parent has ended, in each PID namespace."""


@dataclass(slots=True, eq=False)
class Member:
    """One process of the tree.

    Attributes:
        key: (pid, start_time).
        parent: the key of its parent in the tree, None for the root and for orphans.
        stat: as of the last scan.
        files: its other files, for collectors.
        role: what it does for its server, one of `roles.ROLES`; `ProcessTree.role` knows the main process too.
        ended: it is a zombie. Its pidfd says so: the state in `stat` is that of the main thread, which may end first.
    """

    key: Key
    parent: Key | None
    stat: Stat
    files: ProcessFiles
    pidfd: int | None
    role: str
    ended: bool
    children: str  # the list of its children, below its folder
    listed: bytes | None = field(default=None)  # that list when all in it were members or excluded
    of_threads: bytes = field(default=b"")  # the same of its other threads, as of the last slow look
    settled: bool = field(default=False)  # seen twice: a fork that is still to become another program is told by then
    exit_counted: bool = field(default=False)
    told: set[int] = field(default_factory=set)  # PIDs of zombies below it of which the kernel's records tell

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
        used: CPU clock ticks in user mode and in the system, minor and major page faults of the tree, ended children
            included; they never fall.
        exits: ended processes by cause. ends: how that is found out.
        other: processes that are too many to be members.
        oom_kills: asks how many the out-of-memory killer has ended in the root's control group; None: nobody to ask.
        daemons: asks for processes that have left the tree and are still the model's; None: nobody to ask.
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
        self.ends = Ends()
        self.exits = self.ends.counts
        self.other = 0
        self.used: Values = (0, 0, 0, 0)
        self.oom_kills: Callable[[], int | None] | None = None
        self.daemons: Callable[[], Iterable[int]] | None = None
        self._root = (root_pid, start_time)
        self._clock = clock
        self._limit = limit
        self._exclude = exclude
        self._pidfds = os.path.realpath(proc) == "/proc" if pidfds is None else pidfds
        # Half of what this process may open: intake, HTTP connections and state need the rest.
        self._descriptors = Descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._ledger = Ledger(len(self.used))
        self._members: dict[int, Member] = {}
        self._exiting = select.poll()  # the pidfds of all members
        self._gone: set[int] = set()  # PIDs that this scan has found gone
        self._next_slow = 0.0
        self._seen_root = False
        self._openings = 0  # that this scan may still do
        self._all: tuple[Member, ...] | None = ()
        self._living: tuple[Member, ...] | None = ()
        self._alive: dict[Key, Key | None] | None = {}

    @property
    def members(self) -> tuple[Member, ...]:
        """All processes, zombies too, parents before their children; the same object until somebody comes or goes."""
        if self._all is None:
            self._all = tuple(self._members.values())
        return self._all

    @property
    def living(self) -> tuple[Member, ...]:
        """Those that have not ended: zombies hold no memory and no descriptors any more. Kept as `members` is."""
        if self._living is None:
            self._living = tuple(m for m in self._members.values() if not m.ended)
        return self._living

    @property
    def alive(self) -> Mapping[Key, Key | None]:
        """Each member's key with its parent's, as a `Ledger` wants it. Kept as `members` is."""
        if self._alive is None:
            self._alive = {m.key: m.parent for m in self._members.values()}
        return self._alive

    @property
    def root(self) -> Member | None:
        """The watched process itself, None while it is not there or has ended."""
        member = self._members.get(self._root[0])
        if member is None or member.ended or self._root[1] not in (None, member.key[1]):
            return None
        return member

    def role(self, member: Member) -> str:
        """What a member does: ``main`` for the root, else one of `roles.ROLES`."""
        return roles.MAIN if member.key == self._root else member.role

    def ended(self) -> list[Key]:
        """Members that have ended since the scan: what was asked by number may be of another process by now."""
        over = {fd for fd, _ in self._exiting.poll(0)}
        return [m.key for m in self.members if m.pidfd in over and not m.ended]

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
        """Reads every member's `stat`, finds new members, counts those that have ended, and sums up what was used."""
        now = self._clock.monotonic()
        slow = now >= self._next_slow
        if slow:
            self._next_slow = now + THREADS_EVERY
        self.other = 0
        self._gone.clear()
        self._openings = NEW if self._members else self._limit
        if not self._seen_root:  # who has its number after it is somebody else, started in the same clock tick or not
            self._add_root()
        ended = {fd for fd, _ in self._exiting.poll(0)}
        queue = list(self._members.values())
        known = len(queue)
        if slow and self.daemons is not None:
            queue += self._adopt(None, self.daemons())
        table: dict[int, list[int]] | None = None
        for at, member in enumerate(queue):  # grows while it is walked: children come after their parents
            if (at < known and not self._refresh(member, ended)) or member.ended:
                continue
            children = self._children(member, slow=slow)
            if children is None:
                table = self._by_parent() if table is None and slow else table
                children = (table or {}).get(member.pid, ())
            if children:
                queue += self._adopt(member, children)
        self._settle(now)
        self.used = by_mode(self.used, self._ledger.update(self.alive, {m.key: m.stat.usage for m in self.members}))

    def _settle(self, now: float) -> None:
        """Counts the exits, and hands on what the kernel's records tell of the dead."""
        kills = self.oom_kills() if self.oom_kills is not None else None
        self.ends.settle(self.alive, self._exclude, kills, now)
        for key, record in self.ends.final.items():
            self._ledger.final(key, record.usage)
        owed: dict[Key, list[Values]] = {}
        for record, above in self.ends.unseen:
            owed.setdefault(above, []).append(record.usage)
        for above, usages in owed.items():
            self._ledger.owe(above, tuple(map(sum, zip(*usages, strict=True))), self.alive)

    def close(self) -> None:
        """Closes every descriptor."""
        for member in self.members:
            self._drop(member)

    def _changed(self) -> None:
        """Somebody has come, gone, ended, or got another parent."""
        self._all = self._living = self._alive = None

    def _add_root(self) -> None:
        pid, start_time = self._root
        known = self._members.get(pid)
        member = known or self._open(pid, None)
        if member is None:
            return
        if start_time is not None and member.key[1] != start_time:
            if known is None:
                self._drop(member)  # somebody else has the number now
            return
        self._root = member.key
        self._seen_root = True
        self._members = {pid: member, **self._members}  # parents come first
        self._changed()

    def _open(self, pid: int, parent: Key | None) -> Member | None:
        try:
            files = ProcessFiles(f"{self.proc}/{pid}", self._descriptors)
        except OSError:
            return None
        # The folder's descriptor came first: if `stat` answers through it after this, the pidfd is the same process'.
        pidfd = exits.open_pidfd(pid) if self._pidfds else None
        if pidfd is not None:
            self._descriptors.take(must=True)
            self._exiting.register(pidfd, select.POLLIN)
        try:
            stat = files.parsed("stat", parse_stat)
        except (OSError, ValueError):
            self._close(files, pidfd)
            return None
        role = roles.role(stat.comm, _command_line(files))
        member = Member((pid, stat.start_time), parent, stat, files, pidfd, role, stat.ended, f"task/{pid}/children")
        self._members[pid] = member
        self._changed()
        return member

    def _refresh(self, member: Member, ended: set[int]) -> bool:
        """Reads `stat` again; False when the process has gone.

        Args:
            member: whose.
            ended: the pidfds of processes that had ended before.
        """
        try:
            stat = member.files.parsed("stat", parse_stat)
        except (ProcessLookupError, FileNotFoundError, ValueError):
            self._count_exit(member, exits.wait_status(member.pidfd) if member.pidfd is not None else None)
            self.ends.gone(member.key)
            self._drop(member)
            self._gone.add(member.pid)
            return False
        except OSError:  # it may well live: no descriptor is left, say
            stat = member.stat
        if stat is not member.stat:
            if not member.settled or stat.comm != member.stat.comm:
                member.settled = True
                member.role = roles.role(stat.comm, _command_line(member.files))
            member.stat = stat
        parent = self._members.get(stat.ppid)
        above = parent.key if parent is not None and member.key != self._root else None
        over = stat.ended if member.pidfd is None else member.pidfd in ended
        if above != member.parent or over != member.ended:
            member.parent, member.ended = above, over
            self._changed()
        if over and stat.exit_code:
            self._count_exit(member, stat.exit_code)
        return True

    def _count_exit(self, member: Member, status: int | None) -> None:
        if not member.exit_counted:
            member.exit_counted = True
            self.ends.ended(member.key, status, root=member.key == self._root)

    def _children(self, member: Member, *, slow: bool) -> Iterable[int] | None:
        """PIDs of its children as the kernel lists them, none where all are members; None without such a list."""
        try:
            listed = member.files.read_list(member.children)
        except FileNotFoundError:
            return () if member.files.gone() else None
        except OSError:
            return ()
        if slow:
            member.of_threads = self._thread_children(member) if member.stat.threads > 1 else b""
        listed += member.of_threads
        if listed == member.listed:
            return ()
        member.listed = listed
        pids = [int(pid) for pid in listed.split()]
        if member.told:
            member.told.intersection_update(pids)
        return pids

    def _thread_children(self, member: Member) -> bytes:
        listed = b""
        try:
            for tid in os.listdir(f"{self.proc}/{member.pid}/task"):
                if tid != str(member.pid):
                    listed += member.files.read_list(f"task/{tid}/children", keep=False)
        except OSError:  # a thread that ended meanwhile: its children are in another thread's list at the next look
            pass
        return listed

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

    def _adopt(self, parent: Member | None, pids: Iterable[int]) -> Iterator[Member]:
        """New members among ``pids``: children of ``parent``, or of init where there is none."""
        for pid in pids:
            if pid in self._members or pid in self._exclude or (parent is not None and pid in parent.told):
                continue
            member = None
            # One that went in this scan is a member again in the next one, lest two that started within one clock
            # tick have one key in one sample.
            if len(self._members) >= self._limit or self._openings <= 0:
                self.other += 1
            elif pid not in self._gone:
                self._openings -= 1
                member = self._open(pid, parent.key if parent is not None else None)
            if member is not None and member.stat.ppid == (parent.pid if parent is not None else INIT):
                if parent is None or not self._is_told(member):
                    yield member
                    continue
                parent.told.add(pid)
            if member is not None:  # gone and replaced between the list and the look
                self._drop(member)
            if parent is not None:
                parent.listed = None  # to be looked at again

    def _is_told(self, member: Member) -> bool:
        """Whether it is over, and its record has come or will: as a member it would be counted twice."""
        if self.ends.records is None or member.stat.threads > 1:
            return False
        try:
            return member.ended or is_exiting(member.files.read("stat"))
        except (OSError, ValueError):
            return True

    def _drop(self, member: Member) -> None:
        self._members.pop(member.pid, None)
        self._close(member.files, member.pidfd)
        parent = self._members.get(member.parent[0]) if member.parent is not None else None
        if parent is not None:
            parent.listed = None  # the same number there may be another process now
        self._changed()

    def _close(self, files: ProcessFiles, pidfd: int | None) -> None:
        files.close()
        if pidfd is not None:
            self._exiting.unregister(pidfd)
            os.close(pidfd)
            self._descriptors.give(1)


def _command_line(files: ProcessFiles) -> bytes:
    """Its words, each ended by a zero byte.

    Read where a process is new or has another name, and not at each sample: the kernel takes the lock of its memory.
    """
    try:
        return files.read_list("cmdline", keep=False)
    except OSError:
        return b""
