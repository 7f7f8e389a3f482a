"""Whatever becomes of a Pilotfish process, the model answers: faults are put in while a client counts what fails."""

from __future__ import annotations

import csv
import os
import pathlib
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.bars import Result, bar, versions

REQUESTS = 100_000
CONNECTIONS = 16
PATIENCE = 40.0
"""Seconds for a component to come back: the guard waits 10 s for a silent agent."""
OOM_BYTES = 16 << 20
COUNTS = struct.Struct("=QQd")  # answered, failed, longest wait for an answer in seconds

MODEL = """
import asyncio, sys
import uvloop
from pilotfish import Monitor
monitor = Monitor(name="untouched")
BODY = b'{"predictions": [0.5]}'
HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: %s\\r\\ncontent-length: %d\\r\\n\\r\\n%s"
ANSWER = HEAD % (b"application/json", len(BODY), BODY)
PAGE = b"# TYPE requests counter\\nrequests 1\\n"
METRICS = HEAD % (b"text/plain", len(PAGE), PAGE)
class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.waiting = transport, b""
    def data_received(self, data):
        self.waiting += data
        while (end := self.waiting.find(b"\\r\\n\\r\\n")) >= 0:
            if self.waiting.startswith(b"GET"):
                self.waiting = self.waiting[end + 4:]
                self.transport.write(METRICS)
                continue
            size = end + 4 + int(self.waiting[:end].partition(b"content-length: ")[2].split(b"\\r")[0])
            if len(self.waiting) < size:
                return
            self.waiting = self.waiting[size:]
            monitor.observe(features={"f0": size, "f1": 1.0}, prediction=0.5, latency=0.001)
            self.transport.write(ANSWER)
async def main():
    loop = asyncio.get_running_loop()
    for port in sys.argv[1:]:
        await loop.create_server(Server, "127.0.0.1", int(port))
    await asyncio.Event().wait()
uvloop.run(main())
"""

CLIENT = """
import asyncio, os, struct, sys, time
import uvloop
COUNTS = struct.Struct("=QQd")
port, connections, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
body = b'{"instances": [[%s]]}' % b", ".join(b"1.0" for _ in range(100))
ASK = b"POST /v1/models/m:predict HTTP/1.1\\r\\nhost: m\\r\\ncontent-length: %d\\r\\n\\r\\n%s" % (len(body), body)
TAIL = b'{"predictions": [0.5]}'
answered = failed = 0
longest = 0.0
class Client(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        open_.add(self)
        self.ask()
    def ask(self):
        self.since, self.got = time.monotonic(), b""
        self.transport.write(ASK)
    def data_received(self, data):
        global answered, failed, longest
        self.got += data
        if not self.got.endswith(TAIL):
            return
        longest = max(longest, time.monotonic() - self.since)
        if self.got.startswith(b"HTTP/1.1 200 ") and self.got.count(b"HTTP/1.1") == 1:
            answered += 1
        else:
            failed += 1
        self.ask()
    def connection_lost(self, error):
        global failed
        failed += 1
        open_.discard(self)
open_ = set()
async def main():
    global failed
    loop = asyncio.get_running_loop()
    out = os.open(path, os.O_RDWR | os.O_CREAT)
    while True:
        while len(open_) < connections:
            try:
                await loop.create_connection(Client, "127.0.0.1", port)
            except OSError:
                failed += 1
                await asyncio.sleep(0.01)
        now = time.monotonic()
        for one in [c for c in open_ if now - c.since > 5.0]:
            one.transport.abort()
        os.pwrite(out, COUNTS.pack(answered, failed, longest), 0)
        await asyncio.sleep(0.02)
uvloop.run(main())
"""


@dataclass(slots=True)
class Load:
    """The client's counts, and how many processes of ours were hit by what.

    Attributes:
        faults: ``capture kill`` and so on, in order.
    """

    counts: pathlib.Path
    faults: list[str] = field(default_factory=list)

    def read(self) -> tuple[int, int, float]:
        """Answered, failed, longest wait in seconds."""
        data = self.counts.read_bytes() if self.counts.exists() else b""
        return COUNTS.unpack(data) if len(data) == COUNTS.size else (0, 0, 0.0)

    def wait(self, requests: int) -> None:
        """Until so many more were answered or failed."""
        answered, failed, _ = self.read()
        _until(lambda: sum(self.read()[:2]) >= answered + failed + requests, "requests", 60.0)


def _until(what: Callable[[], object], why: str, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {why}")
        time.sleep(0.02)


class Launch:
    """One model under `pilotfish run` with tap, SDK and scrape, and the processes beside it.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.port, metrics = _free(), _free()
        (folder / "model.py").write_text(MODEL)
        (folder / "config.yaml").write_text(
            f"scrape: [{{url: 'http://127.0.0.1:{metrics}/metrics', server: auto}}]\n"
            f"capture: {{ignore_ports: [{metrics}]}}\n"
        )
        with (folder / "data.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["f0", "f1"])
            rows.writerows([[f"{random.gauss(0, 1):.6f}", f"{random.gauss(0, 1):.6f}"] for _ in range(5_000)])
        self._mark = f"PILOTFISH_RUNTIME_DIR={folder}/run\0".encode()
        command = [os.path.join(os.path.dirname(sys.executable), "pilotfish"), "run", "--listen", "127.0.0.1:0"]
        command += ["--config", f"{folder}/config.yaml", "--capture", "auto", "--reference", f"{folder}/data.csv", "--"]
        self.model = subprocess.Popen(
            [*command, sys.executable, str(folder / "model.py"), str(self.port), str(metrics)],
            env={**os.environ, "PILOTFISH_RUNTIME_DIR": f"{folder}/run", "PILOTFISH_STATE_DIR": f"{folder}/state"},
            stderr=(folder / "err").open("wb"),
        )

    def pid(self, component: str) -> int | None:
        """The living process of that name, None while there is none."""
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if pathlib.Path(f"/proc/{entry}/comm").read_text().strip() != f"pf-{component}":
                    continue
                if self._mark in pathlib.Path(f"/proc/{entry}/environ").read_bytes():
                    return int(entry)
            except OSError:
                continue
        return None

    def wait_for(self, component: str, other: int | None = None) -> int:
        """Its pid, once there is one that is not ``other``."""
        _until(lambda: self.pid(component) not in {None, other}, f"pf-{component}")
        return self.pid(component) or 0

    def provoke_worker(self) -> int:
        """A pf-worker: one builds the tables of a new agent that finds none kept."""
        for table in (self.folder / "state").rglob("*tables*/*"):
            table.unlink(missing_ok=True)
        agent = self.wait_for("agent")
        if self.pid("worker") is None:
            os.kill(agent, signal.SIGKILL)
        return self.wait_for("worker")

    def end(self) -> None:
        """Ends the model; what is left of ours has to follow."""
        self.model.terminate()
        self.model.wait(20)
        for component in ("guard", "agent", "capture", "worker"):
            _until(lambda c=component: self.pid(c) is None, f"pf-{component} to leave", 15.0)  # type: ignore[misc]


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _gone(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except OSError:
        return True


@contextmanager
def _limited_group() -> Iterator[pathlib.Path | None]:
    """A memory control group of 16 MiB (version 1 or 2); None where none can be made."""
    found = None
    for root, limit in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        folder = pathlib.Path(root, f"pilotfish-bars-{os.getpid()}")
        try:
            folder.mkdir()
            (folder / limit).write_text(str(OOM_BYTES))
        except OSError:
            if folder.exists():
                folder.rmdir()
            continue
        found = folder
        break
    try:
        yield found
    finally:
        if found is not None:
            _until(lambda: not (found / "cgroup.procs").read_text().strip(), "an empty control group", 10.0)
            found.rmdir()


def _oom(pid: int) -> str:
    """Lets the kernel's OOM killer choose between ``pid`` and a process that eats a small control group's memory.

    Where there is no such group: no more memory is given to ``pid``, which ends it or not.
    """
    with _limited_group() as group:
        if group is not None:
            (group / "cgroup.procs").write_text(str(pid))
            shell = f"echo $$ > {group}/cgroup.procs; exec tail /dev/zero"
            subprocess.run(["sh", "-c", shell], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _until(lambda: _gone(pid), "the OOM killer", 10.0)
            return "oom"
    resource.prlimit(pid, resource.RLIMIT_DATA, (1, 1))
    try:
        _until(lambda: _gone(pid), "an end for want of memory", 10.0)
    except TimeoutError:
        return "no memory"  # it went on with what it had
    return "oom by rlimit"


def _hit(launch: Launch, load: Load, component: str, kind: str, share: int) -> None:
    """One fault while ``share`` requests pass, then the component is back (a stopped one is killed or continued)."""
    pid = launch.provoke_worker() if component == "worker" else launch.wait_for(component)
    if kind == "oom":
        kind = _oom(pid)
    else:
        os.kill(pid, signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
    load.faults.append(f"{component} {kind}")
    load.wait(share)
    if kind == "stop" and component in {"guard", "worker"}:  # nobody watches the guard; a worker has ten minutes
        os.kill(pid, signal.SIGCONT)
    elif component in {"agent", "capture"}:
        launch.wait_for(component, pid)


@contextmanager
def _loaded(folder: pathlib.Path, counts: str) -> Iterator[tuple[Launch, Load]]:
    """A launch under load: tap, SDK and agent are there, and the client runs."""
    folder.mkdir()
    launch = Launch(folder)
    (folder / "client.py").write_text(CLIENT)
    load = Load(folder / counts)
    client = None
    try:
        _until(lambda: _listens(launch.port), "the model")
        launch.wait_for("capture")
        words = [sys.executable, str(folder / "client.py"), str(launch.port), str(CONNECTIONS), str(load.counts)]
        client = subprocess.Popen(words)
        load.wait(1_000)
        yield launch, load
        load.wait(500)
    finally:
        if client is not None:
            client.kill()
            client.wait()
        launch.end()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


FIRST = [(c, k) for c in ("capture", "agent", "worker") for k in ("kill", "stop", "oom")] + [
    ("guard", "stop"),
    ("guard", "oom"),
]
LAST = [("guard", "kill"), ("capture", "kill")]
"""Under an agent without a guard: it goes on alone."""


@bar(
    "untouched: failed requests while guard, agent, capture and worker are killed, stopped and out of memory",
    "0 of >= 100,000",
)
def untouched() -> Result:
    """SIGKILL, SIGSTOP and OOM of each process, under tap, SDK and scrape at once; closed loop, 16 connections."""
    share = REQUESTS // (len(FIRST) + len(LAST))
    answered = failed = 0
    longest = 0.0
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pf-", dir="/tmp") as base:
        for name, plan in (("a", FIRST), ("b", LAST)):
            with _loaded(pathlib.Path(base, name), "counts") as (launch, load):
                for component, kind in plan:
                    _hit(launch, load, component, kind, share)
            good, bad, worst = load.read()
            answered, failed, longest = answered + good, failed + bad, max(longest, worst)
            faults += load.faults
    measured = f"{failed} of {answered + failed:,} failed, longest wait {longest * 1e3:.0f} ms; {', '.join(faults)}"
    return Result(measured, failed == 0 and answered >= REQUESTS, versions("uvloop"))
