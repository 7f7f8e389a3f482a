"""The whole agent beside node_exporter, process-exporter and glances: one run, one tree, scraped as Prometheus does.

CPU is the process's own clock, in nanoseconds, ended threads included, and that of its children; once all of them have
settled. PSS is read when the CPU has been told. The agent does what it does by default: every hardware collector each
second, and the drift of 20 features and the prediction of a model that sends its rows. The dependence of the rows is
given, as it is by a reference in time order: a job that measures it would run once in the agent's life, or in this run.
"""

from __future__ import annotations

import csv
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import psutil

from benchmarks.bars import Result, bar, versions
from benchmarks.peers import environments
from benchmarks.seen.stack import free_ports

WORKERS = 8
HOST_PROCESSES, SPARE = 140, 20  # on the host, and what may end of it while this runs
FEATURES, ROWS, RATE = 20, 10_000, 20
SCRAPE_SECONDS = 15.0
SCRAPES, SLOW_SCRAPES = 9, 60
SETTLED_SECONDS = 70.0
"""After which an agent's first minute is over: it looks in haste for ports of a model that may be loading."""
OURS = "pilotfish"
CHEAP = "process-exporter -gather-smaps=false -threads=false"
GLANCES = "glances"
MODEL = f"""
import os, random, time
for _ in range({WORKERS}):
    if os.fork() == 0:
        kept = bytearray(os.urandom(1 << 20) * 32)
        while True:
            time.sleep(.2)
kept = bytearray(os.urandom(1 << 20) * 32)
from pilotfish import Monitor
monitor, names = Monitor(name="bench"), [f"f{{i}}" for i in range({FEATURES})]
print("up", flush=True)
while True:
    monitor.observe(features={{n: random.gauss(0, 1) for n in names}}, prediction=random.random(), latency=.01)
    time.sleep(1 / {RATE})
"""
PROMETHEUS = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/2.42.0",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}
"""What Prometheus 2.42 asks with."""
NAMES = "process_names:\n  - name: '{{.Comm}}'\n    cmdline:\n    - '.+'\n"
ONE_GROUP = "process_names:\n  - name: tree\n    cmdline:\n    - 'pilotfish-side-by-side'\n"
GLANCES_CONFIG = "[global]\ncheck_update=false\n[outputs]\n[prometheus]\nhost=127.0.0.1\nport={port}\nprefix=glances\n"


@dataclass(slots=True)
class Program:
    """One exporter as it runs.

    Attributes:
        name: as printed.
        port: where it answers.
        process: it.
        page: bytes of its last answer, as sent.
        cpu: CPU seconds that it used in the measurement.
        failed: scrapes without an answer.
        kept: its connection, as Prometheus keeps it.
    """

    name: str
    port: int
    process: subprocess.Popen[bytes]
    page: int = 0
    cpu: float = 0.0
    failed: int = 0
    kept: http.client.HTTPConnection | None = None

    def scrape(self) -> None:
        """One scrape.

        Raises:
            OSError, HTTPException, RuntimeError: no answer, or one that is no page.
        """
        self.kept = self.kept or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.kept.request("GET", "/metrics", headers=PROMETHEUS)
        answer = self.kept.getresponse()
        self.page = len(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{self.name}: {answer.status}")

    def seconds(self) -> float:
        """CPU of it and of its children, those that have ended too."""
        mine = psutil.Process(self.process.pid)
        ended = mine.cpu_times()
        alive = sum(map(cpu_seconds, (self.process.pid, *(c.pid for c in mine.children(recursive=True)))))
        return alive + ended.children_user + ended.children_system

    def pss(self) -> float:
        """MiB of it and of its children."""
        family = [self.process.pid, *(c.pid for c in psutil.Process(self.process.pid).children(recursive=True))]
        found = (re.search(r"^Pss:\s+(\d+) kB", rollup(pid), re.MULTILINE) for pid in family)
        return sum(int(one[1]) / 1024 for one in found if one is not None)


def cpu_seconds(pid: int) -> float:
    """The CPU clock of another process, all its threads that ever ran: clock_getcpuclockid(3); 0 when it has gone."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def rollup(pid: int) -> str:
    """Its memory; nothing when it has gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def running(command: list[str], env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, with all below it."""
    around, null = {**os.environ, **(env or {})}, subprocess.DEVNULL
    with subprocess.Popen(command, env=around, stdin=null, stdout=null, stderr=null, start_new_session=True) as process:
        try:
            yield process
        finally:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                pass
            for one in family:
                if one.is_running():
                    one.kill()


@contextmanager
def model(folder: pathlib.Path, env: Mapping[str, str]) -> Iterator[int]:
    """The PID of a tree of nine processes whose root sends rows."""
    script = folder / "pilotfish-side-by-side.py"
    script.write_text(textwrap.dedent(MODEL), encoding="ascii")
    with running([sys.executable, str(script)], env) as process:
        until("the tree", lambda: len(psutil.Process(process.pid).children()) == WORKERS)
        yield process.pid


@contextmanager
def crowd(least: int) -> Iterator[None]:
    """So many idle processes that the host has ``least``: exporters that walk all of them find some to walk."""
    with ExitStack() as stack:
        for _ in range(max(least - len(psutil.pids()), 0)):
            stack.enter_context(running(["sleep", "3600"]))
        yield


def reference(folder: pathlib.Path) -> pathlib.Path:
    """Of 20 features, built as a user builds one."""
    data, made = folder / "data.csv", folder / "model.ref"
    rng = random.Random(1)
    with data.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([f"f{i}" for i in range(FEATURES)])
        rows.writerows([[f"{rng.gauss(0, 1):.6f}" for _ in range(FEATURES)] for _ in range(ROWS)])
    subprocess.run([pilotfish(), "reference", "build", str(data), "-o", str(made)], check=True, capture_output=True)
    return made


def pilotfish() -> str:
    return os.path.join(os.path.dirname(sys.executable), "pilotfish")


def commands(folder: pathlib.Path, pid: int, ports: list[int]) -> dict[str, list[str]]:
    """What is run beside one another, in the order of ``ports``."""
    names, one = folder / "names.yml", folder / "one.yml"
    names.write_text(NAMES, encoding="ascii")
    one.write_text(ONE_GROUP, encoding="ascii")
    config = folder / "glances.conf"
    config.write_text(GLANCES_CONFIG.format(port=ports[5]), encoding="ascii")

    def at(port: int) -> str:
        return f"127.0.0.1:{port}"

    exporter = ["prometheus-process-exporter", "-web.listen-address"]
    return {
        OURS: [
            pilotfish(),
            "attach",
            "--pid",
            str(pid),
            "--listen",
            at(ports[0]),
            "--reference",
            str(folder / "model.ref"),
        ],
        "node_exporter": ["prometheus-node-exporter", f"--web.listen-address={at(ports[1])}"],
        "process-exporter": [*exporter, at(ports[2]), "-config.path", str(names)],
        CHEAP: [*exporter, at(ports[3]), "-config.path", str(names), "-gather-smaps=false", "-threads=false"],
        "process-exporter, one group": [*exporter, at(ports[4]), "-config.path", str(one)],
        GLANCES: [environments.python("glances"), "-m", "glances", "-C", str(config), "--export", "prometheus", "-q"],
    }


def until(what: str, holds: Callable[[], bool], seconds: float = 120.0) -> None:
    """Waits for it.

    Raises:
        TimeoutError: in vain.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.25)


def answers(program: Program) -> bool:
    """Whether a scrape succeeds."""
    try:
        program.scrape()
    except (OSError, RuntimeError, http.client.HTTPException):
        program.kept = None
        if program.process.poll() is not None:
            raise RuntimeError(f"{program.name} ended with {program.process.returncode}") from None
        return False
    return True


def judges(port: int) -> bool:
    """Whether our drift has tables and rows, and no job of it runs."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    link.request("GET", "/api/v1/status")
    status = json.loads(link.getresponse().read())
    link.close()
    found = status["models"]
    return bool(found) and found[0]["window_rows"] > 200 and status["processes"].get("worker") is None


def measured(programs: list[Program], scrapes: int) -> float:
    """Scrapes all of them in turn; the seconds it took. Each program's `cpu` is what it used meanwhile."""
    for program in programs:
        program.cpu = -program.seconds()
    began = time.monotonic()
    for i in range(1, scrapes + 1):
        for program in programs:
            program.failed += not answers(program)
        time.sleep(max(began + i * SCRAPE_SECONDS - time.monotonic(), 0.0))
    for program in programs:
        program.cpu += program.seconds()
    return time.monotonic() - began


def beside(scrapes: int) -> Result:
    """One run of all of them."""
    missing = [n for n in ("prometheus-node-exporter", "prometheus-process-exporter") if shutil.which(n) is None]
    if missing:
        return Result(f"{' and '.join(missing)} not installed: make system-deps", None)
    with ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pilotfish-side-")))
        own = {"PILOTFISH_RUNTIME_DIR": f"{folder}/run", "PILOTFISH_STATE_DIR": f"{folder}/state", "HOME": str(folder)}
        own["PILOTFISH_DRIFT_DEPENDENCE"] = "1"
        reference(folder)
        root = stack.enter_context(model(folder, own))
        ports = free_ports(6)
        started = commands(folder, root, ports)
        programs = [
            Program(name, port, stack.enter_context(running(command, own)))
            for (name, command), port in zip(started.items(), ports, strict=True)
        ]
        for program in programs:
            until(program.name, partial(answers, program))
        until("our drift", lambda: judges(ports[0]))
        stack.enter_context(crowd(HOST_PROCESSES + SPARE))
        time.sleep(SETTLED_SECONDS)
        walked = len(psutil.pids())
        seconds = measured(programs, scrapes)
        return told(programs, seconds, min(walked, len(psutil.pids())))


def told(programs: list[Program], seconds: float, walked: int) -> Result:
    """The row."""
    hourly = {p.name: p.cpu / seconds * 3600 for p in programs}
    each = [f"{p.name} {hourly[p.name]:.1f} ({p.pss():.0f} MiB, {p.page / 1e3:.0f} kB)" for p in programs]
    lost = sum(p.failed for p in programs)
    return Result(
        f"CPU s/h (PSS, page): {', '.join(each)}; {walked} processes, {seconds:.0f} s"
        + (f", {lost} scrapes without an answer" if lost else ""),
        not lost and walked >= HOST_PROCESSES and hourly[OURS] < min(hourly[CHEAP], hourly[GLANCES]),
        ", ".join([versions("psutil"), *peers()]),
    )


def peers() -> Iterator[str]:
    """Name and version of each."""
    for name in ("node-exporter", "process-exporter"):
        said = subprocess.run([f"prometheus-{name}", "--version"], capture_output=True, text=True)
        found = re.search(r"([0-9]+\.[0-9][^\s,)]*)", said.stdout + said.stderr)
        yield f"{name.replace('node-', 'node_')} {found[1] if found else 'unknown'}"
    lock = (environments.HERE / "locks" / "glances.txt").read_text(encoding="utf-8")
    found = re.search(r"^glances==(\S+)", lock, re.MULTILINE)
    yield f"glances {found[1] if found else 'unknown'}"


LIMIT = "CPU below process-exporter's cheaper catch-all form and below glances"


@bar("whole agent beside exporters, 9 processes, drift on 20 features, scraped every 15 s", LIMIT)
def shortly() -> Result:
    return beside(SCRAPES)


@bar("whole agent beside exporters, a quarter of an hour", LIMIT, slow=True)
def longer() -> Result:
    return beside(SLOW_SCRAPES)
