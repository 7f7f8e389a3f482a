"""A real control group of a service's name, where one can be made."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from pilotfish_agent.target import cgroups


@contextmanager
def service() -> Iterator[tuple[str, str] | None]:
    """(NAME, folder) of a new group NAME.service, version 2 first; None where none can be made.

    What is in it must have ended, and been waited for, at the end of the block.
    """
    name = f"pilotfish-test-{uuid.uuid4().hex[:8]}"
    for mount in sorted(cgroups.mounts(), key=lambda m: bool(m.controllers)):
        folder = f"{mount.point}/{name}.service"
        try:
            os.mkdir(folder)
        except OSError:
            continue
        try:
            yield name, folder
        finally:
            os.rmdir(folder)
        return
    yield None


def enter(folder: str, pid: int) -> None:
    """Moves a process into a group."""
    with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(pid))
