"""Where the agent's socket is: the same folders in which the agent makes it, the first that holds one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping


def bases(environ: Mapping[str, str], run: str = "/run") -> list[str]:
    """The runtime folders to look in, best first (the agent's ``launch.places`` has the same list)."""
    get, user = environ.get, f"pilotfish-{os.geteuid()}"
    chosen, session, temp = get("PILOTFISH_RUNTIME_DIR"), get("XDG_RUNTIME_DIR"), get("TMPDIR")
    found = [chosen] if chosen else [f"{run}/pilotfish"]
    found += [f"{session}/pilotfish"] if session and not chosen else []
    found += [f"{temp}/{user}"] if temp else []
    return [*found, f"/tmp/{user}"]  # noqa: S108 - ownership is checked


def sockets(folders: list[str]) -> Iterator[str]:
    """Sockets of agents, those first whose lock names this process or its parent as the model.

    A folder that belongs to neither root nor this user is passed over: anyone may make one under /tmp.
    """
    others = []
    for base in folders:
        for name in _names(base):
            path = f"{base}/{name}/intake.sock"
            if not _is_socket(path):
                continue
            if _model(f"{base}/{name}/lock") in (os.getpid(), os.getppid()):
                yield path
            else:
                others.append(path)
    yield from others


def _names(base: str) -> list[str]:
    try:
        owner = os.lstat(base)
        if owner.st_uid not in (0, os.geteuid()) or not stat.S_ISDIR(owner.st_mode):
            return []
        return sorted(os.listdir(base))
    except OSError:
        return []


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def _model(path: str) -> int | None:
    try:
        with open(path, "rb") as lock:
            return int(lock.read(200).split()[0])
    except (OSError, ValueError, IndexError):
        return None
