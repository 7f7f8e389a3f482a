"""Real control groups, made below the hierarchies of this machine and removed again; needs root."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pilotfish_agent.target import cgroups

UNIFIED = ""
SIDECAR = """
import json, os, sys
from pilotfish_agent.target.group import ControlGroup, Group
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import SystemClock
if sys.argv[2] == "nobody":
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
tree = ProcessTree(int(sys.argv[1]), None, clock=SystemClock())
tree.scan()
group = ControlGroup(tree)
group.refresh()
found = group.of("")
print(json.dumps(found if isinstance(found, str) else [found.depth, found.identity]))
"""
_number = itertools.count()


def hierarchy(controller: str) -> Path | None:
    """Where a controller of version 1, or version 2 as a whole (`UNIFIED`), is mounted and can be written to."""
    for mount in cgroups.mounts():
        mine = controller in mount.controllers if controller else not mount.controllers
        if mine and mount.root == "/" and os.access(mount.point, os.W_OK):
            return Path(mount.point)
    return None


def needs_group(*controllers: str) -> pytest.MarkDecorator:
    """Marks a test that makes groups of its own."""
    lacking = [c or "version 2" for c in controllers if hierarchy(c) is None]
    return pytest.mark.skipif(
        bool(lacking), reason=f"no control groups of {', '.join(lacking)} can be made here (root, and mounted writable)"
    )


@contextmanager
def made(controller: str, *, below: Path | None = None) -> Iterator[Path]:
    """A new group. At the end what is still in it is killed, and it goes."""
    parent = below if below is not None else hierarchy(controller)
    assert parent is not None
    folder = parent / f"pilotfish-{os.getpid()}-{next(_number)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


def join(folder: Path, pid: int) -> None:
    """Moves a process into a group."""
    (folder / "cgroup.procs").write_text(str(pid))


def counts(folder: Path, name: str) -> dict[str, int]:
    """The kernel's own numbers."""
    lines = (folder / name).read_text().splitlines()
    return {line.split()[0]: int(line.split()[1]) for line in lines}


def remove(folder: Path) -> None:
    """Kills the group's processes and removes it; a dead process leaves its group a moment after its parent knows."""
    end = time.monotonic() + 10
    while True:
        for pid in (folder / "cgroup.procs").read_text().split():
            os.kill(int(pid), 9)
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def contained(group: Path, user: str) -> Iterator[int]:
    """The PID of a model in a container of its own: control group, and namespaces for that and for mounts."""
    sleep = f"setpriv --reuid {user} --regid nogroup --clear-groups sh -c 'echo up; exec sleep 60'"
    inside = f"umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec {sleep}"
    script = f'echo $$ > {group}/cgroup.procs && exec unshare -C -m sh -c "{inside}"'
    with subprocess.Popen(("sh", "-c", script), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process.pid
        finally:
            process.kill()


def seen_by_sidecar(group: Path, model: int, user: str, *, before: str = "true") -> object:
    """What `ControlGroup` in a container beside the model's finds of it: the reason, or levels and identity.

    Args:
        group: the sidecar's.
        model: PID of the model.
        user: whose rights the sidecar has.
        before: a shell command in its mount namespace.
    """
    inside = f"umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec {sys.executable} -c '{SIDECAR}'"
    script = f'echo $$ > {group}/cgroup.procs && {before} && exec unshare -C -m sh -c "$INSIDE" sh {model} {user}'
    done = subprocess.run(
        ("unshare", "-m", "sh", "-c", script),
        env={**os.environ, "INSIDE": inside + ' "$@"'},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
