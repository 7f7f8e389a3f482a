"""A real control group with limits, for what a test, a bar or the proof starts in it; version 1, hybrid or 2."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
PERIOD_US: Final = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The group.

    Attributes:
        folders: its folder in each hierarchy that it needs.
    """

    folders: tuple[Path, ...]

    def script(self, path: Path, command: Sequence[str]) -> str:
        """A program of the name that ``path`` has: it joins the group, then becomes the command; its PID stays."""
        join = (f"echo $$ > {shlex.quote(str(folder / 'cgroup.procs'))} || exit 126\n" for folder in self.folders)
        path.write_text(f"#!/bin/sh\n{''.join(join)}exec {shlex.join(command)}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)


@contextlib.contextmanager
def limited(name: str, *, cores: float, memory: int) -> Iterator[Limits | None]:
    """A group below the one of this process; None where this machine does not let us make one with both limits."""
    with contextlib.ExitStack() as stack:
        try:
            folders = [_made(stack, place / name) for place in _places()]
            _limit(folders, cores, memory)
        except OSError:
            yield None
            return
        yield Limits(tuple(folders))


@contextlib.contextmanager
def little_memory(name: str, size: int) -> Iterator[Path]:
    """A memory group of version 1 with so many bytes.

    Raises:
        OSError: none can be made here.
    """
    with contextlib.ExitStack() as stack:
        folder = _made(stack, ROOT / "memory" / name)
        (folder / "memory.limit_in_bytes").write_text(str(size), encoding="ascii")
        yield folder


def _places() -> Iterator[Path]:
    """Of this process in each hierarchy: CPU, memory, and version 2 for pressure.

    Raises:
        FileNotFoundError: there are none.
    """
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines())
    if (ROOT / "cgroup.controllers").exists():
        yield ROOT / own[""].lstrip("/")
        return
    yield from (_inside(ROOT / controller, own.get(controller, "/")) for controller in ("cpu", "memory"))
    if (ROOT / "unified/cgroup.procs").exists():
        yield _inside(ROOT / "unified", own.get("", "/"))


def _inside(hierarchy: Path, path: str) -> Path:
    """Where a path of the host is not visible from a container, its own root is."""
    place = hierarchy / path.lstrip("/")
    return place if place.exists() else hierarchy


def _made(stack: contextlib.ExitStack, folder: Path) -> Path:
    folder.mkdir()
    stack.callback(_emptied, folder)
    return folder


def _limit(folders: list[Path], cores: float, memory: int) -> None:
    quota = round(cores * PERIOD_US)
    if len(folders) == 1:
        controllers = folders[0].parent / "cgroup.subtree_control"
        controllers.write_text("+cpu +memory", encoding="ascii")
        (folders[0] / "cpu.max").write_text(f"{quota} {PERIOD_US}", encoding="ascii")
        (folders[0] / "memory.max").write_text(str(memory), encoding="ascii")
        return
    (folders[0] / "cpu.cfs_period_us").write_text(str(PERIOD_US), encoding="ascii")
    (folders[0] / "cpu.cfs_quota_us").write_text(str(quota), encoding="ascii")
    (folders[1] / "memory.limit_in_bytes").write_text(str(memory), encoding="ascii")


def _emptied(folder: Path) -> None:
    """Removed once its last process has ended; what stays is moved up, never killed."""
    deadline = time.monotonic() + 5.0
    while True:
        try:
            os.rmdir(folder)
            return
        except OSError:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
    for pid in (folder / "cgroup.procs").read_text(encoding="ascii").split():
        with contextlib.suppress(OSError):
            (folder.parent / "cgroup.procs").write_text(pid, encoding="ascii")
    with contextlib.suppress(OSError):
        os.rmdir(folder)
