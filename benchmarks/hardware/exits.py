"""The bar on exits: why the model and its workers ended, each end once, over restarts.

A model is started four times and ends in four ways; each has eleven workers that live for 30 ms, which no sample need
see. All are in a memory control group of version 1 with 48 MiB, where the kernel kills for want of memory.
"""

from __future__ import annotations

import functools
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.hardware._context import HostContext
from pilotfish_agent.pipeline.targets import Wanted, Watched
from pilotfish_agent.target.exit_feed import Feed
from pilotfish_agent.target.locate import Finder, Selector
from pilotfish_agent.target.processes import Processes
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Events

PACE = 0.2
LIMIT = 48 << 20
WAYS = ("exit_zero", "exit_nonzero", "signal", "oom")
WORKERS = {"exit_zero": 4, "exit_nonzero": 3, "signal": 2, "oom": 2}
MODEL = f"""
import os, signal, socket, sys, time
def end(way):
    if way == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
    elif way == "oom":
        kept = []
        while True:
            kept.append(b"x" * (1 << 20))
    os._exit(3 if way == "exit_nonzero" else 0)
listening = socket.create_server(("127.0.0.1", int(sys.argv[2])))
time.sleep(1)
for way, count in {WORKERS!r}.items():
    for _ in range(count):
        if os.fork() == 0:
            listening.close()
            time.sleep(.03)
            with open("/proc/self/oom_score_adj", "w") as file: file.write("900")
            end(way)
        os.wait()
time.sleep(1)
end(sys.argv[1])
"""


@contextmanager
def _small_group() -> Iterator[pathlib.Path | None]:
    """A memory group with little memory; None where none can be made."""
    folder = pathlib.Path(f"/sys/fs/cgroup/memory/pf-bench-{os.getpid()}")
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError:
        yield None
        return
    try:
        yield folder
    finally:
        for _ in range(200):
            try:
                folder.rmdir()
                break
            except OSError:
                time.sleep(0.02)


def _watch(group: pathlib.Path) -> tuple[dict[str, int], int, list[str], int | str]:
    """Causes, restarts, what was said of each end of the model, and lost records."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    clock, feed = SystemClock(), Feed.of("/sys")
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # starts and ends are meant here
    events = Events(clock)
    wanted = Wanted("model", None, Finder(Selector(port=port)))
    watched = Watched(wanted, host=HostContext(clock, exits=feed), events=events)
    said = []
    enter = ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh")
    for way in WAYS:
        with subprocess.Popen((*enter, sys.executable, "-I", "-S", "-c", MODEL, way, str(port))) as model:
            while model.poll() is None:
                watched.sample(functools.cache(Processes))
                time.sleep(PACE)
        while watched.up:
            watched.sample(functools.cache(Processes))
        ending = watched.ending
        said.append("nothing" if ending is None else ending.cause)
    watched.sample(functools.cache(Processes))
    found = dict(watched.tree.exits), watched.tree.restarts, said, feed.lost
    watched.close()
    feed.close()
    return found


@bar("exits: causes of the model's and its workers' ends, restarts", "all 48 right, by cause")
def causes() -> Result:
    """Every end once and by its cause, each restart once."""
    with _small_group() as group:
        if group is None:
            return Result("needs root and a memory control group of version 1 in which groups can be made", None)
        counts, restarts, said, lost = _watch(group)
    expected = {way: len(WAYS) * WORKERS[way] + 1 for way in WAYS} | {"unknown": 0}
    words = ", ".join(f"{way} {counts[way]} of {expected[way]}" for way in expected)
    measured = f"{words}; restarts {restarts} of {len(WAYS) - 1}; the model's own ends: {', '.join(said)}; lost {lost}"
    if not isinstance(lost, int):
        return Result(f"{measured}: workers that no sample saw need CAP_NET_ADMIN", None)
    holds = counts == expected and restarts == len(WAYS) - 1 and said == list(WAYS)
    return Result(measured, holds, versions())
