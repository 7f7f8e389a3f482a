"""Whole pages over frozen machines: every collector of both scopes, rendered as `/metrics` is.

``python -m tests.hardware.exposed`` writes the golden pages anew: read the diff.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pilotfish_agent.hardware._runner import Runner
from pilotfish_core.metrics import Reading, Sample, Unavailable
from pilotfish_core.nouns import Snapshot
from pilotfish_exporters import prometheus
from tests.hardware.fake_proc import GOLDEN, context, frozen
from tests.standard import AT, standard_snapshot

PROCESSES: Final = "prefork"
DENIED: Final = "denied"
MACHINES: Final = {
    "bare-debian": (PROCESSES, "debian-12"),
    "kubernetes-pod-v2": ("cgroup-pod-v2", PROCESSES, "virtual-machine"),
    "docker-v1": ("cgroup-docker-v1", PROCESSES, "old-kernel"),
    "hybrid": ("cgroup-hybrid", PROCESSES, "virtual-machine"),
    "no-cgroup": ("cgroup-none", PROCESSES, "virtual-machine"),
    DENIED: (PROCESSES, "debian-12"),
}
"""Name of the page -> the trees that make its machine, a later one's files over those of an earlier one."""
NOBODY: Final = 65534
_OF_THIS_RUN: Final = ("pilotfish_build_info", "process_", "python_")
_ALWAYS: Final = ("stat", "children")
"""What any user may read of a process: with it the tree is known, and what is missing is missing for want of rights."""


def unpacked(name: str, folder: Path) -> Path:
    """The machine of a page, below ``folder``."""
    for layer in MACHINES[name]:
        frozen(layer, folder / "proc")
    return folder / "proc"


@contextlib.contextmanager
def refused(proc: Path) -> Iterator[None]:
    """All files are closed to us but what every user may read of a process; root becomes nobody for that long."""
    for path in sorted(proc.rglob("*"), reverse=True):  # a folder after what is in it
        if path.name == "fd" or (path.is_file() and not (path.name in _ALWAYS and path.parent != proc)):
            path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def readings(proc: Path) -> list[Reading]:
    """Of one round of all collectors, those of the tree and those of the machine."""
    tree = context(proc)  # no state folder, no GPU, no exit records: those speak of the machine that runs this
    found: list[Reading] = []
    for surroundings in (tree, tree.host):
        runner = Runner(surroundings)
        found += runner.collect()
        runner.close()
    return found


def page(found: list[Reading]) -> str:
    """What `/metrics` shows of them; lines that speak of the process that renders are left out."""
    status = standard_snapshot().status
    samples = tuple(r for r in found if isinstance(r, Sample))
    gaps = tuple(r for r in found if isinstance(r, Unavailable))
    text = prometheus.render(Snapshot(AT, samples, gaps, status, ())).body.decode()
    return "".join(line for line in text.splitlines(keepends=True) if not _of_this_run(line))


def _of_this_run(line: str) -> bool:
    words = line.removeprefix("# HELP ").removeprefix("# TYPE ")
    return words.startswith(_OF_THIS_RUN)


def shown(name: str, folder: Path) -> str:
    """The page of a machine."""
    proc = unpacked(name, folder)
    if name != DENIED:
        return page(readings(proc))
    for above in (folder, *folder.parents):  # nobody has to get there, whose group is still ours
        if above.owner() == folder.owner():
            above.chmod(stat.S_IMODE(above.stat().st_mode) | stat.S_IXGRP | stat.S_IXOTH)
    with refused(proc):
        found = readings(proc)
    return page(found)


def golden(name: str) -> Path:
    """The file of a page."""
    return GOLDEN / f"page-{name}.txt"


if __name__ == "__main__":
    for one in MACHINES:
        with tempfile.TemporaryDirectory() as scratch:
            golden(one).write_text(shown(one, Path(scratch)), encoding="utf-8")
