"""Processes that have left the watched tree and are still the model's.

A daemon forks twice and its middle parent ends at once, so init is its parent and no list of children leads to it. It
stays in its control group, though. That group tells nothing where others are in it too (a login session, a container
in which the agent runs as well): so it is asked only where it is the model's own. In such a group only those are taken
that init has adopted: what somebody starts in a container from outside (``kubectl exec``) has a parent outside.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from pilotfish_agent.target.group import UNIFIED, ControlGroup, Group
from pilotfish_agent.target.procfs import parse_stat
from pilotfish_agent.target.tree import INIT, LIMIT, ProcessTree


class Daemons:
    """What `ProcessTree.daemons` asks.

    Args:
        tree: the watched processes.
        group: the control groups of its root, as of their last refresh.
    """

    def __init__(self, tree: ProcessTree, group: ControlGroup) -> None:
        self._tree = tree
        self._group = group

    def __call__(self) -> Iterable[int]:
        """Their PIDs; none where the group is not the model's own: we are in it, or somebody was before the model."""
        root = self._tree.root
        if root is None or root.pid == INIT:  # who is init has adopted them itself
            return ()
        listed = {int(pid) for pid in self._listed().split()}
        if root.pid not in listed or os.getpid() in listed:
            return ()
        strangers = listed - {member.pid for member in self._tree.members}
        daemons = []
        for pid in sorted(strangers)[:LIMIT]:
            try:
                with open(f"{self._tree.proc}/{pid}/stat", "rb") as file:
                    stat = parse_stat(file.read())
            except (OSError, ValueError):
                continue  # gone meanwhile
            if stat.start_time < root.key[1]:
                return ()
            if stat.ppid == INIT:
                daemons.append(pid)
        return daemons

    def _listed(self) -> bytes:
        """`cgroup.procs` of the narrowest group there is; a root group has everybody in it."""
        for hierarchy in (UNIFIED, "memory", "cpu"):
            group = self._group.of(hierarchy)
            if isinstance(group, Group) and not group.is_root:
                try:
                    return group.read("cgroup.procs")
                except OSError:
                    continue
        return b""
