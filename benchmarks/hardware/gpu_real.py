"""Our GPU numbers beside those of `nvidia-smi`, on a real GPU under a real CUDA load; absent without one.

``python -m benchmarks.hardware.gpu_real`` prints the rows, and keeps them in a dated file of ``benchmarks/results/``.
It takes two minutes and wants a driver, `nvidia-smi`, and pilotfish installed: no CUDA toolkit, no framework.

An agent watches the load as it would a model, and is scraped once a second; a second load, which is not the model,
holds memory of the same GPU. `nvidia-smi` runs all the while, and what both say of a phase is compared.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bars import RESULTS, Result, bar, verdict, versions
from benchmarks.hardware import cuda_load, smi
from benchmarks.hardware.smi import MIB, Point, Told, integral

PHASES = {"idle": 8, "spin": 15, "half": 15, "tensor": 15, "copy": 15}
ORDER = ("idle", "spin", "half", "tensor", "copy", "idle")
SETTLE = 4.0
"""Seconds at the begin of a phase that are left out: both sides average over a second, and read once in one."""
MODEL_GIB, OTHER_GIB = 2.0, 1.0
POINTS = 0.1
"""How far shares of time may differ: `nvidia-smi` shows whole per cent of a sixth of a second up to a second."""
ENERGY = 0.1
LOAD_ENVIRONMENT = {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""CUDA's first GPU is the driver's first one."""
COMPUTE_CONTEXT = 1024 * MIB
"""What the driver may take beside what a program asked for: its context and the code of the kernels."""


@dataclass
class Run:
    """One run, as seen from both sides.

    Attributes:
        uuid, gpu: of the GPU: UUID and product.
        ours, theirs: what the agent and `nvidia-smi` said of it.
        phases: (name, begin, end) of the load's.
        model: PID of the load.
        methods: by which its part of the GPU was known.
    """

    uuid: str
    gpu: str
    ours: Told = field(default_factory=Told)
    theirs: Told = field(default_factory=Told)
    phases: list[tuple[str, float, float]] = field(default_factory=list)
    model: int = 0
    methods: set[str] = field(default_factory=set)

    def windows(self, phase: str) -> list[Point]:
        """When a phase ran, without its begin."""
        return [(begin + SETTLE, end) for name, begin, end in self.phases if name == phase]


def missing() -> str | None:
    """Why there is nothing to measure on this machine; None where there is."""
    if shutil.which("nvidia-smi") is None or not os.path.exists("/dev/nvidiactl"):
        return "absent: no NVIDIA driver here"
    done = subprocess.run(("nvidia-smi", "-L"), capture_output=True, text=True, timeout=60)
    return None if done.returncode == 0 and "GPU" in done.stdout else "absent: the NVIDIA driver shows no GPU"


@functools.cache
def measured() -> Run:
    """The one run of which all rows are made."""
    run = Run(*smi.first_gpu())
    with smi.watching(run.uuid, run.theirs), _other(), tempfile.TemporaryDirectory(prefix="pilotfish-gpu-") as folder:
        _watch(run, folder)
    return run


@contextmanager
def _other() -> Iterator[None]:
    """A program that is not the model's holds memory of the same GPU."""
    command = (sys.executable, cuda_load.__file__, str(OTHER_GIB), "idle=600")
    with subprocess.Popen(command, env=LOAD_ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def _watch(run: Run, folder: str) -> None:
    """The load under `pilotfish run`, scraped from its begin to its end."""
    load = (sys.executable, cuda_load.__file__, str(MODEL_GIB), *(f"{name}={PHASES[name]}" for name in ORDER))
    command = (f"{os.path.dirname(sys.executable)}/pilotfish", "run", "--listen", "127.0.0.1:0", "--", *load)
    own = {"PILOTFISH_RUNTIME_DIR": f"{folder}/run", "PILOTFISH_STATE_DIR": f"{folder}/state"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=LOAD_ENVIRONMENT | own, text=True, stdout=pipe, stderr=pipe) as process:
        said, told = process.stdout, process.stderr
        assert said is not None
        assert told is not None
        found = re.search(r"http://([^/]+)/", told.readline())
        assert found is not None, "the agent did not start"
        began: list[tuple[str, float]] = []
        reader = threading.Thread(target=lambda: began.extend((line.strip(), time.monotonic()) for line in said))
        reader.start()
        while process.poll() is None and not (began and began[-1][0] == "end"):
            scrape(found[1], run)
            time.sleep(1.0)
        process.terminate()
        reader.join(10)
        run.phases = [(name, at, after) for (name, at), (_, after) in itertools.pairwise(began)]
        assert tuple(name for name, _, _ in run.phases) == ORDER, f"the load ended early: {told.read()}"


def scrape(address: str, run: Run) -> None:
    """Notes what the agent says now."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            note(answer.read().decode(), time.monotonic(), run)
        with urllib.request.urlopen(f"http://{address}/api/v1/status", timeout=5) as answer:
            run.model = json.load(answer)["target"]["pid"] or run.model
    except OSError:
        pass  # it leaves with its model


def note(text: str, at: float, run: Run) -> None:
    """The series of the GPU on the agent's page, by their names without prefix."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("uuid") != run.uuid:
                continue
            name = sample.name.removeprefix("pilotfish_")
            run.ours.add(name, at, sample.value)
            if name == "process_gpu_attribution_info":
                run.methods.add(sample.labels["method"])


# -- the rows


def of_run(compare: Callable[[Run], Result]) -> Callable[[], Result]:
    """A row: absent without a GPU, else the comparison of both sides."""

    @functools.wraps(compare)
    def measure() -> Result:
        if (why := missing()) is not None:
            return Result(why, None)
        run = measured()
        result = compare(run)
        return Result(result.measured, result.holds, result.versions or versions() + f", {run.gpu}, {smi.version()}")

    return measure


def shares(run: Run, ours: str, theirs: str, phases: Iterable[str]) -> Result:
    """A share of time in each phase, on both sides."""
    words, holds, seen = [], True, False
    for phase in phases:
        a, b = run.ours.mean(ours, run.windows(phase)), run.theirs.mean(theirs, run.windows(phase))
        if b is None:
            words.append(f"{phase} not told by nvidia-smi")
            continue
        seen = True
        words.append(f"{phase} {'absent' if a is None else f'{a:.0%}'} / {b:.0%}")
        holds = holds and a is not None and abs(a - b) <= POINTS
    return Result("; ".join(words), holds if seen else None)


@bar("GPU: utilization, ours / nvidia-smi", f"within {POINTS * 100:.0f} points")
@of_run
def utilization(run: Run) -> Result:
    return shares(run, "gpu_utilization_ratio", "utilization", ("idle", "spin", "half", "copy"))


@bar("GPU: memory in use, ours / nvidia-smi", "within 1 %")
@of_run
def memory(run: Run) -> Result:
    a = run.ours.mean("gpu_memory_used_bytes", run.windows("spin"))
    b = run.theirs.mean("memory", run.windows("spin"))
    if a is None or b is None:
        return Result(f"{a} / {b}", a is not None and None)
    return Result(f"{a / MIB:.0f} / {b / MIB:.0f} MiB", abs(a - b) <= 0.01 * b)


@bar("GPU: energy counter / power of nvidia-smi, integrated", f"within {ENERGY * 100:.0f} %")
@of_run
def energy(run: Run) -> Result:
    counter, power = run.ours.points.get("gpu_energy_joules_total", []), run.theirs.points.get("power", [])
    if not power:
        return Result("absent: nvidia-smi tells no power", None)
    if len(counter) < 2:
        return Result("no energy counter", False)
    (begin, first), (end, last) = counter[0], counter[-1]
    ours, theirs = last - first, integral(power, begin, end)
    return Result(f"{ours:.0f} / {theirs:.0f} J in {end - begin:.0f} s", abs(ours - theirs) <= ENERGY * theirs)


@bar("GPU: the model's memory by PID, ours / nvidia-smi, beside another program", "within 1 %, by pid")
@of_run
def attribution(run: Run) -> Result:
    a = run.ours.mean("process_gpu_memory_bytes", run.windows("spin"))
    b = run.theirs.mean(f"memory of {run.model}", run.windows("spin"))
    if b is None:
        return Result("absent: nvidia-smi lists no memory of processes here", None)
    if a is None:
        return Result(f"absent / {b / MIB:.0f} MiB", False)
    asked = MODEL_GIB * 1024 * MIB
    holds = abs(a - b) <= 0.01 * b and asked <= a <= asked + COMPUTE_CONTEXT and run.methods == {"pid"}
    return Result(f"{a / MIB:.0f} / {b / MIB:.0f} MiB, by {', '.join(sorted(run.methods)) or 'nothing'}", holds)


@bar("GPU: the model's SM share, ours / nvidia-smi pmon", f"within {POINTS * 100:.0f} points")
@of_run
def sm_share(run: Run) -> Result:
    return shares(run, "process_gpu_sm_utilization_ratio", f"sm of {run.model}", ("spin", "half", "copy"))


def _activity(name: str, phases: tuple[str, ...]) -> Callable[[Run], Result]:
    return lambda run: shares(run, name, name, phases)


sm_active = bar("GPU: SM activity, ours / nvidia-smi dmon", f"within {POINTS * 100:.0f} points")(
    of_run(_activity("gpu_sm_active_ratio", ("spin", "half", "copy")))
)
tensor_active = bar("GPU: tensor activity, ours / nvidia-smi dmon", f"within {POINTS * 100:.0f} points")(
    of_run(_activity("gpu_tensor_active_ratio", ("spin", "tensor")))
)
dram_active = bar("GPU: DRAM activity, ours / nvidia-smi dmon", f"within {POINTS * 100:.0f} points")(
    of_run(_activity("gpu_dram_active_ratio", ("spin", "copy")))
)


def main() -> int:
    """Prints the rows; with a GPU they are kept, dated, with what they were measured on."""
    lines, short = [], False
    for row in (v.__bar__ for v in globals().copy().values() if hasattr(v, "__bar__")):
        said, word, on = verdict(row)
        short = short or word == "short"
        lines.append(f"BAR\t{row.name}\t{said}\t{row.bar}\t{word}\t{on}")
        print(lines[-1], flush=True)
    if missing() is None:
        commit = subprocess.run(("git", "rev-parse", "--short", "HEAD"), capture_output=True, text=True).stdout.strip()
        now = dt.datetime.now(dt.UTC)
        head = f"# {now:%Y-%m-%d %H:%M} UTC, commit {commit or 'unknown'}, {measured().gpu}, {smi.version()}"
        (RESULTS / f"{now:%Y-%m-%d}-gpu.txt").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
