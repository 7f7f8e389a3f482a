"""The SDK's bars: what one observation costs the model, and that none is lost while the agent pauses."""

from __future__ import annotations

import contextlib
import copy
import gc
import inspect
import json
import os
import pathlib
import pickle
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.bars import Result, bar, versions
from pilotfish import Monitor

ROUND = 20_000
ROUNDS = 9
FEATURES = {f"feature_{i}": 0.1 * i for i in range(16)}

RECEIVER = """
import json, sys, time
from pilotfish_agent.intake.listener import Intake
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Events
import structlog
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
intake = Intake(sys.argv[1], events=Events(SystemClock()))
intake.start()
print("ready", flush=True)
rows, values, stop = 0, set(), False
import threading
def wait():
    global stop
    sys.stdin.readline()
    stop = True
threading.Thread(target=wait, daemon=True).start()
while not stop:
    time.sleep(0.1)
    for batch in intake.drain():
        rows += batch.rows
        values.update(batch.prediction)
intake.stop()
for batch in intake.drain():
    rows += batch.rows
    values.update(batch.prediction)
print(json.dumps({"rows": rows, "distinct": len(values), "cpu": time.process_time(),
    "counters": {s.labels[0]: s.value for s in intake.samples()}}))
"""


class Receiver:
    """The agent's real intake in a process of its own, drained ten times a second."""

    def __init__(self, path: str) -> None:
        command = (sys.executable, "-c", RECEIVER, path)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def result(self) -> dict[str, Any]:
        """Ends it and gives what it received."""
        out, _ = self.process.communicate("stop\n", timeout=60)
        received: dict[str, Any] = json.loads(out)
        return received


@contextlib.contextmanager
def receiver() -> Iterator[tuple[str, Receiver]]:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/intake.sock"
        running = Receiver(path)
        try:
            yield path, running
        finally:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()


def cpu_of(work: Callable[[], None], end: Callable[[], object] = bool) -> float:
    """Microseconds of this process's CPU for one of `ROUND` calls and ``end``, all threads included."""
    gc.collect()
    start = time.process_time()
    for _ in range(ROUND):
        work()
    end()
    return (time.process_time() - start) / ROUND * 1e6


@bar("sdk observe cost", "one 16-feature observe <= 3 us CPU and <= 1x prometheus_client labels().observe")
def observe_cost() -> Result:
    from prometheus_client import CollectorRegistry, Histogram

    histogram = Histogram("latency", "Seconds.", ["model", "version"], registry=CollectorRegistry())
    with receiver() as (path, agent):
        monitor = Monitor("ranker", "3", socket=path)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(ROUNDS):
            # a round ends when all its rows are sent: what waits would be lost to the next round's burst, and go unpaid
            ours.append(
                cpu_of(
                    lambda: monitor.observe(features=FEATURES, prediction=0.83, latency=0.012),
                    lambda: monitor.flush(5),
                )
            )
            theirs.append(cpu_of(lambda: histogram.labels("ranker", "3").observe(0.012)))
        flushed = monitor.flush(5)
        monitor.close()
        received = agent.result()
    mine, peer = statistics.median(ours), statistics.median(theirs)
    lost = ROUND * ROUNDS - received["rows"]
    words = f"{mine:.2f} us, {mine / peer:.2f}x of {peer:.2f} us ({lost} of {ROUND * ROUNDS} rows lost)"
    return Result(words, mine <= 3 and mine <= peer and flushed and lost == 0, versions("prometheus-client"))


@bar("sdk none lost", "0 rows lost at 5,000 rows/s while the agent pauses 200 ms, 4 s with 4 pauses")
def none_lost() -> Result:
    rate, seconds, step = 5_000, 4, 50
    with receiver() as (path, agent):
        monitor = Monitor("ranker", "3", socket=path)
        pauses = threading.Thread(target=pause, args=(agent.process.pid, seconds))
        pauses.start()
        begin, slowest, sent = time.monotonic(), 0.0, 0
        while sent < rate * seconds:
            for _ in range(step):
                start = time.perf_counter()
                monitor.observe(features=FEATURES, prediction=float(sent), latency=0.012)
                slowest = max(slowest, time.perf_counter() - start)
                sent += 1
            time.sleep(max(0.0, begin + sent / rate - time.monotonic()))
        took = time.monotonic() - begin
        pauses.join()
        monitor.flush(5)
        monitor.close()
        received = agent.result()
    lost = sent - received["distinct"]
    words = f"{lost} of {sent} lost at {sent / took:,.0f} rows/s, slowest observe {1e3 * slowest:.1f} ms"
    return Result(words, lost == 0 and received["rows"] == sent and sent / took > 0.98 * rate, versions())


def pause(pid: int, times: int) -> None:
    """Stops the receiver for 200 ms in each second, as a paused container or a long collection would."""
    for _ in range(times):
        time.sleep(0.7)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(pid, signal.SIGCONT)


def start_ms(code: str, environ: dict[str, str]) -> float:
    """Milliseconds of CPU of a fresh interpreter that runs ``code``."""
    pid = os.posix_spawn(sys.executable, (sys.executable, "-c", code), environ)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, code
    return 1e3 * (usage.ru_utime + usage.ru_stime)


def modules(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after ``code``."""
    command = f"{code}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run((sys.executable, "-c", command), capture_output=True, text=True, check=True).stdout.split()
    )


@bar("sdk import", "import pilotfish <= 20 ms CPU, no module from outside the standard library")
def import_cost() -> Result:
    brought = modules("import pilotfish") - modules("pass") - {"pilotfish"}
    foreign = sorted(m for m in brought if m not in sys.stdlib_module_names)
    with tempfile.TemporaryDirectory() as folder:  # compiled once, as an installer does
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {
            "PYTHONPYCACHEPREFIX": folder
        }
        start_ms("import pilotfish", environ)
        pairs = [(start_ms("import pilotfish", environ), start_ms("pass", environ)) for _ in range(15)]
    took = statistics.median(a for a, _ in pairs) - statistics.median(b for _, b in pairs)
    return Result(
        f"{took:.1f} ms, foreign modules: {', '.join(foreign) or 'none'}", took <= 20 and not foreign, versions()
    )


SILENT = """
import os, threading, time, sys
from pilotfish import Monitor
monitor = Monitor("ranker", "3")
features = {f"feature_{i}": 0.1 * i for i in range(16)}
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4
monitor.observe(features=features, prediction=0.5, latency=0.1)
threads, fds, before = threading.active_count(), len(os.listdir("/proc/self/fd")), resident()
start = time.process_time()
for i in range(300_000):
    monitor.observe(features=features, prediction=0.5, latency=0.1)
took = (time.process_time() - start) / 300_000 * 1e9
print(threading.active_count() - threads, len(os.listdir("/proc/self/fd")) - fds, resident() - before, round(took))
"""


@bar("sdk without agent", "nothing happens: no output, thread, descriptor; <= 1 MiB over 300,000 observations; exit 0")
def without_agent() -> Result:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PILOTFISH_")}
    with tempfile.TemporaryDirectory() as folder:
        environ |= {"PILOTFISH_RUNTIME_DIR": folder, "TMPDIR": folder}
        done = subprocess.run((sys.executable, "-c", SILENT), capture_output=True, text=True, env=environ)
    threads, fds, kib, ns = map(int, done.stdout.split())
    held = done.returncode == 0 and not done.stderr and not threads and not fds and kib <= 1024
    words = f"exit {done.returncode}, {threads} threads, {fds} descriptors, {kib} KiB more, {ns} ns an observe"
    return Result(words, held, versions())


class Doubler:
    """A model of no framework."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def predict(self, rows: list[list[float]], *, scale: float = 1.0) -> list[float]:
        """The first of each row, times the factor."""
        return [row[0] * self.factor * scale for row in rows]

    def __call__(self, row: list[float]) -> float:
        return row[0] * self.factor


def score(features: dict[str, float], *, scale: float = 1.0) -> float:
    """A model that is a function."""
    return scale * sum(features.values())


def differences(model: Any, monitor: Monitor) -> list[str]:
    """In what the wrapped model can be told from the bare one."""
    wrapped = monitor.wrap(model)
    state = dict(vars(model))
    found = [] if wrapped is not model else ["not wrapped"]
    found += [] if isinstance(wrapped, type(model)) and wrapped.__class__ is type(model) else ["isinstance"]
    if callable(model):
        found += [] if inspect.signature(wrapped) == inspect.signature(model) else ["signature"]
    if hasattr(model, "predict"):
        found += (
            [] if inspect.signature(wrapped.predict) == inspect.signature(model.predict) else ["signature of predict"]
        )
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(wrapped, protocol)
        found += [f"pickle {protocol}"] if b"pilotfish" in data or type(pickle.loads(data)) is not type(model) else []
    found += [] if type(copy.deepcopy(wrapped)) is type(model) else ["deepcopy"]
    found += [] if type(copy.copy(wrapped)) is type(model) else ["copy"]
    return found + ([] if dict(vars(model)) == state else ["the model was changed"])


@bar("sdk wrap", "isinstance, signature, 6 pickle protocols, copies, clone, joblib, pipeline: as the bare model")
def wrapped_as_bare() -> Result:
    import joblib
    from sklearn.base import clone
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, classes = [[float(i), float(i % 3)] for i in range(60)], [i % 2 for i in range(60)]
    fitted = [LogisticRegression(), RandomForestClassifier(3), make_pipeline(StandardScaler(), LogisticRegression())]
    found: list[str] = []
    with receiver() as (path, agent):
        monitor = Monitor(socket=path)
        for model in (*[m.fit(rows, classes) for m in fitted], Doubler(2.0), score):
            found += [f"{type(model).__name__}: {d}" for d in differences(model, monitor)]
        for model in fitted:
            copied = clone(monitor.wrap(model))
            found += [] if type(copied) is type(model) else ["clone"]
            found += [] if list(monitor.wrap(model).predict(rows)) == list(model.predict(rows)) else ["predict"]
            with tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder, "model.joblib")
                joblib.dump(monitor.wrap(model), file)
                found += [] if type(joblib.load(file)) is type(model) else ["joblib"]
        make_pipeline(StandardScaler(), monitor.wrap(LogisticRegression())).fit(rows, classes).predict(rows)
        monitor.close()
        received = agent.result()["rows"]
    found += [] if received == len(fitted) * len(rows) + len(rows) else [f"{received} rows counted"]
    words = "; ".join(found) or f"no difference, {received} predictions counted"
    return Result(words, not found, versions("scikit-learn", "joblib"))
