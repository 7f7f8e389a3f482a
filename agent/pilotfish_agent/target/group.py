"""The control group of the watched process: where its files are, in version 1, hybrid and version 2.

`/proc/PID/cgroup` names a group for each hierarchy, as a path seen from our own control group namespace: from a sidecar
container the model's group is ``/../cri-containerd-….scope``, outside of what our own `/sys/fs/cgroup` holds. A folder
is looked for below the hierarchies mounted here, and below those that the model itself has mounted
(`/proc/PID/mountinfo` and `/proc/PID/root`, for those who may ptrace it). It is taken only when its `cgroup.procs`
lists the process: so what is read is never another group's, our own least of all.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from typing import Final

from pilotfish_agent.target import cgroups
from pilotfish_agent.target.cgroups import Mount
from pilotfish_agent.target.groupfs import parse_keyed
from pilotfish_agent.target.ledger import Key
from pilotfish_agent.target.procfs import Descriptors, ProcessFiles
from pilotfish_agent.target.tree import Member, ProcessTree
from pilotfish_core.metrics import Reason

UNIFIED: Final = ""
"""In place of a controller: the hierarchy of version 2, which has pressure even where version 1 has the controllers."""
_UP: Final = ".."
_BUDGET: Final = 64
"""Descriptors kept at most on the files of one target's groups; a container needs about 15."""

_RETRY: Final = 10
"""Samples until a group that was closed to us is tried again; twice as many each time."""


class Group:
    """The files of one group in one hierarchy, and of the groups above it as far as they can be seen.

    Args:
        folder: of the group.
        top: where its hierarchy is mounted, ``folder`` or above it.
        unified: of version 2.
        descriptors: the shared budget.

    Attributes:
        identity: tells groups apart, one that was made again under the same path too.
        unified: as given.
    """

    def __init__(self, folder: str, top: str, descriptors: Descriptors, *, unified: bool) -> None:
        status = os.stat(folder)
        self.identity = (status.st_dev, status.st_ino)
        self.unified = unified
        paths = [folder]
        while paths[-1] != top:
            paths.append(os.path.dirname(paths[-1]))
        self._levels: list[ProcessFiles] = []
        for path in paths:
            if _is_root(path, unified=unified):
                break
            try:
                self._levels.append(ProcessFiles(path, descriptors))
            except OSError:  # a level that is closed to us hides those above it
                if not self._levels:
                    raise
                break

    @property
    def is_root(self) -> bool:
        """Whether it is the root of the whole hierarchy: it has no limits, and its numbers are the machine's."""
        return not self._levels

    @property
    def depth(self) -> int:
        """How many groups can be seen: itself and those above it without the root."""
        return len(self._levels)

    def read(self, name: str, level: int = 0, *, keep: bool = True) -> bytes:
        """The present content of a file; ``level`` counts upwards; its descriptor is kept where it is read often.

        Raises:
            FileNotFoundError: the kernel has no such file, or the controller is not enabled here.
            OSError: the group is gone (ENODEV), or the file is not for us.
        """
        return self._levels[level].read_list(name, keep=keep)

    def open(self, name: str, flags: int) -> int:
        """A fresh descriptor of a file of its own, the caller's to close."""
        folder = self._levels[0].open(".")
        try:
            return os.open(name, flags | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Closes every descriptor."""
        for level in self._levels:
            level.close()


class Total:
    """One counter over groups that follow each other: it never falls.

    The first group counts whole. The next, which may be new or have been there before the model was, counts from when
    it was first seen: its past is not this model's.
    """

    def __init__(self) -> None:
        self.value: float | None = None
        self._identity: object = None
        self._last = 0.0

    def add(self, identity: object, reading: float) -> float:
        """The sum with the present reading of the group ``identity``."""
        if self.value is None:
            self.value, self._identity, self._last = reading, identity, reading
        elif identity != self._identity:
            self._identity, self._last = identity, reading
        elif reading > self._last:
            self.value, self._last = self.value + reading - self._last, reading
        return self.value


class ControlGroup:
    """The groups of the tree's root, looked for again when it is another process or has moved. One thread uses it.

    Args:
        tree: the watched processes.
        sys: where the sys file system is.
    """

    def __init__(self, tree: ProcessTree, sys: str = "/sys") -> None:
        self._tree = tree
        self._sys = sys
        self._of: tuple[Key, bytes] | None = None
        self._found: dict[frozenset[str], Group | Reason] = {}
        self._reason: Reason = "no_data"
        self._descriptors = Descriptors(_BUDGET)
        self._kills = Total()
        self._pause = self._wait = _RETRY

    def refresh(self) -> None:
        """Looks again where the root is another process or is in other groups; else it costs one `pread`.

        While no process is there the last groups stay: they tell how it ended, as long as they live.
        """
        root = self._tree.root
        if root is None:
            return
        try:
            text = root.files.read("cgroup")
        except ProcessLookupError:
            return
        except OSError as error:
            self._forget("permission" if isinstance(error, PermissionError) else "not_supported")
            return
        if self._of != (root.key, text):
            self._forget("not_supported")
            self._of = (root.key, text)
            self._pause = self._wait = _RETRY
        elif "permission" not in self._found.values() or not self._due():
            return
        for controllers, path in _lines(text):
            if not isinstance(self._found.get(controllers), Group):
                self._found[controllers] = self._look(root, controllers, path)

    def of(self, controller: str) -> Group | Reason:
        """The group that a controller (``cpu``, ``memory``) acts on, of whichever version, or why it is not seen.

        `UNIFIED` asks for the hierarchy of version 2.
        """
        for controllers, found in self._found.items():
            if controller in controllers:
                return found
        return self._found.get(frozenset(), self._reason)

    def oom_kills(self) -> int | None:
        """Processes of the group that the out-of-memory killer has ended, never falling; None where it cannot be told.

        The first answer is what the kernel has counted since the group was made: only a rise says anything.
        """
        root = self._tree.root
        if root is not None and (self._of is None or self._of[0] != root.key):
            self.refresh()
        group = self.of("memory")
        if isinstance(group, Group) and not group.is_root:
            try:
                counts = parse_keyed(group.read("memory.events" if group.unified else "memory.oom_control"))
            except OSError:  # the group has gone
                counts = {}
            if "oom_kill" in counts:  # version 1 has it since Linux 4.13
                self._kills.add(group.identity, counts["oom_kill"])
        return None if self._kills.value is None else int(self._kills.value)

    def close(self) -> None:
        """Closes every descriptor."""
        self._forget("no_data")

    def _due(self) -> bool:
        """Whether what was closed is worth another try: a container's entry point may still become its final user."""
        self._wait -= 1
        if self._wait > 0:
            return False
        self._pause = self._wait = min(2 * self._pause, _RETRY << 6)
        return True

    def _forget(self, reason: Reason) -> None:
        for found in self._found.values():
            if isinstance(found, Group):
                found.close()
        self._found, self._of, self._reason = {}, None, reason

    def _look(self, root: Member, controllers: frozenset[str], path: str) -> Group | Reason:
        """The group of one hierarchy, proven by its list of processes."""
        reason: Reason = "not_supported"
        for folder, top in self._candidates(root, controllers, path):
            try:
                if _holds(folder, root.pid):
                    return Group(folder, top, self._descriptors, unified=not controllers)
            except PermissionError:
                reason = "permission"
            except OSError:
                continue
        return reason

    def _candidates(self, root: Member, controllers: frozenset[str], path: str) -> Iterator[tuple[str, str]]:
        """(folder, mount point) where the group may be: our own mounts come first, they need no rights."""
        for pid, prefix in (("self", ""), (str(root.pid), f"{self._tree.proc}/{root.pid}/root")):
            for mount in cgroups.mounts(self._tree.proc, pid):
                if mount.controllers == controllers:
                    point = prefix + mount.point if prefix else self._here(mount.point)
                    for folder in _folders(mount, path, point):
                        yield folder, point

    def _here(self, point: str) -> str:
        return self._sys + point.removeprefix("/sys") if point.startswith("/sys/") else point


def _lines(text: bytes) -> Iterator[tuple[frozenset[str], str]]:
    """The hierarchies that have something to tell: `cpu`, `memory`, and that of version 2."""
    for controllers, path in cgroups.lines(text):
        if not controllers or controllers & {"cpu", "memory"}:
            yield controllers, path


def _folders(mount: Mount, path: str, point: str) -> Iterator[str]:
    """Where a group is below a mount point.

    Both paths are as seen from our namespace, with ``..`` for what is above it. Of a mount that begins further up than
    the group's path the names in between are not known: every folder of that depth is one to try.
    """
    (above, begin), (up, names) = _split(mount.root), _split(path)
    if above == up and names[: len(begin)] == begin:
        yield os.path.join(point, *names[len(begin) :])
    elif above > up and not begin:
        yield from glob.iglob(os.path.join(glob.escape(point), *["*"] * (above - up), *map(glob.escape, names)))


def _split(path: str) -> tuple[int, list[str]]:
    """(how far above our namespace's root it begins, the names below that)."""
    names = [name for name in path.split("/") if name]
    up = names.count(_UP)
    return up, names[up:]


def _holds(folder: str, pid: int) -> bool:
    """Whether a group's own list names the process."""
    try:
        listed = _read(f"{folder}/cgroup.procs")
    except OSError as error:
        if isinstance(error, PermissionError | FileNotFoundError):
            raise
        listed = _read(f"{folder}/cgroup.threads")  # a threaded group has no list of processes (EOPNOTSUPP)
    return str(pid).encode() in listed.split()


def _is_root(folder: str, *, unified: bool) -> bool:
    """A hierarchy's real root, not the one of a namespace: some files are only there, some are everywhere else."""
    if unified:
        return not os.path.exists(f"{folder}/cgroup.type")
    return os.path.exists(f"{folder}/cgroup.sane_behavior")


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
