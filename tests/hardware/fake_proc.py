"""Frozen `/proc` trees: stored as one text file each, or built process by process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import ManualClock

TREES = Path(__file__).parent / "trees"
GOLDEN = Path(__file__).parent / "golden"


def frozen(name: str, folder: Path) -> Path:
    """Unpacks ``trees/NAME.txt``: ``==> path`` lines, each followed by the file's content."""
    for part in (TREES / f"{name}.txt").read_text().removeprefix("==> ").split("\n==> "):
        path, _, content = part.partition("\n")
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content and content.rstrip("\n") + "\n")
    return folder


def context(proc: Path, pid: int = 4100, start_time: int | None = None, *, limit: int = 256) -> HardwareContext:
    """A context over a tree that stands still, with a clock that moves when told to."""
    clock = ManualClock()
    tree = ProcessTree(pid, start_time, str(proc), clock=clock, limit=limit)
    host = HostContext(clock, str(proc), sys=str(proc / "sys"))
    group = ControlGroup(tree, host.sys)
    tree.oom_kills = group.oom_kills
    return HardwareContext(host, tree, "serve", group)


class FakeProc:
    """A `/proc` to which processes are added, and from which they go as in a kernel: kept files answer nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: dict[int, list[int]] = {}
        (folder / "stat").write_text("cpu  1 2 3\nbtime 1700000000\n")

    def spawn(self, pid: int, ppid: int, start_time: int, *, listed: bool = True, **stat: Any) -> None:
        """A process; the parent lists it unless told not to."""
        (self.folder / str(pid) / "task" / str(pid)).mkdir(parents=True)
        self.children[pid] = []
        self.set(pid, ppid=ppid, start_time=start_time, **stat)
        self._list(pid)
        if listed and ppid in self.children:
            self.children[ppid].append(pid)
            self._list(ppid)

    def set(
        self,
        pid: int,
        *,
        ppid: int,
        start_time: int,
        comm: str = "python",
        state: str = "S",
        cpu: tuple[int, int] = (0, 0),
        waited: tuple[int, int] = (0, 0),
        threads: int = 1,
        exit_code: int = 0,
    ) -> None:
        """Writes `stat` in place, as a kept descriptor sees it."""
        numbers = [ppid, pid, pid, 0, -1, 0, 10, 0, 0, 0, *cpu, *waited, 20, 0, threads, 0, start_time, 1000, 100]
        line = f"{pid} ({comm}) {state} {' '.join(map(str, numbers + [0] * 27))} {exit_code}\n"
        (self.folder / str(pid) / "stat").write_text(line)

    def reap(self, pid: int) -> None:
        """The process goes, its parent lists it no longer."""
        (self.folder / str(pid) / "stat").write_text("")
        shutil.rmtree(self.folder / str(pid))
        del self.children[pid]
        for parent, pids in self.children.items():
            if pid in pids:
                pids.remove(pid)
                self._list(parent)

    def _list(self, pid: int) -> None:
        text = "".join(f"{child} " for child in self.children[pid])
        (self.folder / str(pid) / "task" / str(pid) / "children").write_text(text)
