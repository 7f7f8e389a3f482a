"""What looking costs: viewers of `/api/v1/live` on a really running agent, one that stalls, and a day of history."""

from __future__ import annotations

import contextlib
import gc
import re
import selectors
import shutil
import socket
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from benchmarks.bars import Result, bar, versions
from benchmarks.walking.memory import cpu_seconds, pss, watched
from pilotfish_agent.state.history import MOST, History
from pilotfish_core.metrics import Metric, Sample
from pilotfish_core.nouns import DriftResult, Snapshot
from tests.standard import standard_snapshot

VIEWERS = 50
STALLED = 20
SECONDS = 15.0
DEADLINE_S = 5.0
BUDGET_MS = 15.0
HELD_KIB = 256.0
REQUEST = b"GET /api/v1/live HTTP/1.1\r\nHost: x\r\n\r\n"


class Viewers:
    """Readers of the stream, in one thread of this process: the agent's CPU is measured, not theirs.

    Attributes:
        received: bytes so far; views: so far.
        ended: connections that the agent has closed.
    """

    def __init__(self, address: str, count: int) -> None:
        self.received = self.views = self.ended = 0
        self._open = [viewer(address) for _ in range(count)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with selectors.DefaultSelector() as ready:
            for one in self._open:
                ready.register(one, selectors.EVENT_READ)
            while not self._stop.is_set():
                for key, _ in ready.select(0.2):
                    content = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                    if not content:
                        self.ended += 1
                        ready.unregister(key.fileobj)
                    self.received += len(content)
                    self.views += content.count(b"event: view")

    def close(self) -> None:
        """All of them leave."""
        self._stop.set()
        self._thread.join()
        for one in self._open:
            one.close()


def viewer(address: str, receive: int | None = None) -> socket.socket:
    """A connection that has asked; ``receive``: bytes of its own buffer."""
    one = socket.socket()
    if receive is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    host, _, port = address.rpartition(":")
    one.connect((host, int(port)))
    one.sendall(REQUEST)
    return one


def spent(pids: dict[str, int], seconds: float) -> float:
    """Milliseconds of CPU a second of all Pilotfish processes."""
    before, began = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    return sum(cpu_seconds(pid) - before[name] for name, pid in pids.items()) / (time.monotonic() - began) * 1e3


@cache
def looked_at() -> tuple[Result, Result]:
    """Both rows of one agent."""
    with watched() as (pids, address):
        before = spent(pids, SECONDS)
        viewers = Viewers(address, VIEWERS)
        time.sleep(2.0)
        views = viewers.views
        during = spent(pids, SECONDS)
        each = (viewers.views - views) / VIEWERS / SECONDS
        ended = viewers.ended
        viewers.close()
        after = spent(pids, SECONDS)
        stalled = _stall(pids["agent"], address)
    above = during - (before + after) / 2
    many = Result(
        f"{above:.2f} ms/s above none ({before:.2f} before, {during:.2f} during, {after:.2f} after), "
        f"{each:.2f} views a second each, {ended} dropped",
        above <= BUDGET_MS and each > 0.8 and ended == 0,
        versions("aiohttp"),
    )
    return many, stalled


def _stall(agent: int, address: str) -> Result:
    """Some that never read: what the agent and its sockets hold for each at most, and when they are gone."""
    if shutil.which("ss") is None:
        return Result("no program `ss` (Debian: iproute2) that tells what the kernel holds", None)
    with contextlib.closing(Viewers(address, 1)) as good:
        time.sleep(3.0)
        port, resident = int(address.rpartition(":")[2]), pss(agent)
        stalled = [viewer(address, receive=4096) for _ in range(STALLED)]
        names = {one.getsockname()[1] for one in stalled}
        full: dict[int, tuple[int, float]] = {}  # by the client's port: bytes held, and since when
        gone: dict[int, float] = {}
        held, grown, end = 0.0, 0.0, time.monotonic() + 60
        while len(gone) < STALLED and time.monotonic() < end:
            queued = {peer: size for peer, size in _queues(port) if peer in names}
            now = time.monotonic()
            if queued:
                held = max(held, sum(queued.values()) / len(queued) / 1024)
                grown = max(grown, (pss(agent) - resident) * 1024 / STALLED)
            for name in names - gone.keys():
                if name not in queued:
                    gone[name] = now
                elif queued[name] != full.get(name, (0, 0.0))[0]:
                    full[name] = (queued[name], now)
            time.sleep(0.1)
        for one in stalled:
            one.close()
        late = [gone[name] - full[name][1] for name in gone if name in full]
        worst = max(late, default=float("inf"))
        total = held + max(grown, 0.0)
        fine = good.ended == 0
    return Result(
        f"{len(gone)} of {STALLED} dropped, the last {worst:.1f} s after its buffer was full; each held {total:.0f} "
        f"KiB (socket {held:.0f}, agent {grown:.0f}); the reader beside them {'stayed' if fine else 'was lost'}",
        len(gone) == STALLED and total <= HELD_KIB and worst <= DEADLINE_S + 2 and fine,
        versions("aiohttp"),
    )


def _queues(port: int) -> Iterator[tuple[int, int]]:
    """(port of the client, bytes of kernel memory for what it has not read) of each connection to the agent."""
    text = subprocess.run(("ss", "-tmnH", "sport", f"= :{port}"), capture_output=True, text=True, check=True).stdout
    for peer, memory in re.findall(r":(\d+)\s*\n?\s*skmem:\((\S+)\)", text):
        sizes = dict(re.findall(r"([a-z_]+)(\d+)", memory))
        yield int(peer), max(int(sizes["t"]), int(sizes["w"])) + int(sizes["r"]) + int(sizes["f"])


@bar(f"{VIEWERS} viewers of the page, drift on 20 features", f"<= {BUDGET_MS:.0f} ms/s above none")
def many_viewers() -> Result:
    return looked_at()[0]


@bar("viewers that do not read", f"dropped {DEADLINE_S:.0f} s after they stall, <= {HELD_KIB:.0f} KiB each")
def stalled_viewers() -> Result:
    return looked_at()[1]


@bar(f"history of {MOST} series over 24 h", "<= 8 MiB, the rest left out and named")
def history() -> Result:
    evidence = Metric("pilotfish_drift_evidence_ratio", "gauge", "Evidence.", ("feature", "model", "model_version"))
    streams = [f"feature_{i:04d}" for i in range(1000)]
    one = replace(standard_snapshot(), drift=tuple(DriftResult("m", s, "stable", "none", 1.0, 16.0) for s in streams))
    changing = [tuple(Sample(evidence, (s, "m", None), k / 8) for s in streams) for k in range(3)]
    points = [*range(0, 23 * 360, 6), *range(23 * 360, 24 * 360)]  # a day: by the minute, its last hour by 10 s
    tracemalloc.start()
    try:
        kept = History()
        for point in points:
            kept.add(replace(one, at=1_700_000_040.0 + 10 * point, samples=changing[point % 3]))
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]  # all that was made since and lives
    finally:
        tracemalloc.stop()
    listed = kept.series()
    past = kept.past([listed[0].id], 86_400)
    whole = len(past.at) == 360 and len(past.minutes.at) == 1440
    return Result(
        f"{size / 2**20:.2f} MiB for {len(listed)} series of {len(past.minutes.at)} minutes and {len(past.at)} points; "
        f"{kept.left_out} left out, {len(kept.left_out_names)} of them named; {_cost(one, changing):.3f} ms/s of CPU",
        size <= 8 << 20 and len(listed) == MOST and kept.left_out == len(streams) - MOST and whole,
        versions("numpy"),
    )


def _cost(one: Snapshot, changing: list[tuple[Sample, ...]]) -> float:
    """Milliseconds of CPU for each second of life, of as many streams."""
    kept, points = History(), 360
    kept.add(replace(one, at=1_700_000_040.0, samples=changing[0]))
    began = time.thread_time()
    for point in range(1, points):
        kept.add(replace(one, at=1_700_000_040.0 + 10 * point, samples=changing[point % 3]))
    return (time.thread_time() - began) / (10 * points) * 1e3
