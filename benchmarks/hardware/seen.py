"""What people see of the hardware: the dashboards drawn with data, and the agent's page in a browser.

The GPU is played by the fake driver library and its name says so; nothing here is a measurement of a GPU.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Final

from benchmarks.bars import Result, bar, versions
from benchmarks.seen.dashboards_drawn import outcome
from grafana import check
from grafana.proof.gpus import NAME, Played
from pilotfish_agent import catalogue
from tests.agent.live import Live, until
from tests.chromium import MISSING, chromium, installed
from tests.limits import Limits, limited
from tests.web.browser import drawn, grave, opened

HARDWARE: Final = ("cgroup_", "gpu_", "process_", "host_", "state_disk_", "exit_records_", "model_startup_")
CORES: Final = 0.15
MEMORY: Final = 256 * 2**20
LIMITED: Final = (
    "CPU limit",
    "0.15 cores",
    "Throttled",
    "Memory of the group",
    "of 256.0 MiB",
    "Pressure",
    "OOM kills",
)
PLAYED: Final = (NAME, "Busy", "Active", "Of the model", "Power", "GPU time per call", "Energy per call")
ALWAYS: Final = ("Process", "Waiting for a CPU", "CPU time per call", "Host", "CPU busy", "Memory left", "State disk")
CHARTS: Final = ("Held back by the CPU limit", "Memory of the control group", "GPU busy", "GPU power")


@bar("dashboards: metrics of the hardware that no panel shows", "0")
def shown() -> Result:
    prefixes = tuple(f"pilotfish_{prefix}" for prefix in HARDWARE)
    ours = [m.name for m in catalogue.metrics() if m.name.startswith(prefixes)]
    there = {m.name for m in check.drawn(check.read())}
    missing = [name for name in ours if name not in there]
    return Result(f"{len(missing)} of {len(ours)} {' '.join(missing)}".rstrip(), bool(ours) and not missing)


@bar(
    "Hardware dashboard drawn with data: real control group, GPU by the fake library, named so in the picture",
    "0 empty or still panels, 0 errors, 0 differences from PromQL",
    slow=True,
)
def dashboards() -> Result:
    found = outcome()
    if isinstance(found, str):
        return Result(found, None)
    for problem in found.problems:
        print(problem, file=sys.stderr)
    words = f"{found.report.line()}, {found.seconds:.0f} s; GPU {NAME}"
    return Result(words, bool(found.report.panels) and not found.problems, versions("playwright"))


@bar(
    "page: limits, throttling, GPUs, costs of a call and the host, of a real agent (GPU by the fake library)",
    "every one shown; axe finds nothing serious; no console error",
)
def page() -> Result:
    if installed() is None:
        return Result(MISSING, None)
    with _watched() as (live, limits), chromium() as browser:
        wanted = [*ALWAYS, *PLAYED, *(LIMITED if limits is not None else ())]
        until(lambda: "Energy per call" in live.get("/"), "the first five minutes' first points")
        with opened(browser, live.address()) as (seen, heard):
            drawn(seen)
            text = seen.inner_text("#vitals")
            charts = seen.inner_text("#charts")
            bad = grave(seen) + heard.errors + heard.foreign
    wanted_charts = CHARTS if limits is not None else CHARTS[2:]
    missing = [w for w in wanted if w not in text] + [w for w in wanted_charts if w not in charts]
    count = len(wanted) + len(wanted_charts)
    group = "" if limits is not None else "; no control group can be made here"
    words = f"{count - len(missing)} of {count}{group}; {len(bad)} faults {' '.join([*missing, *bad])}".rstrip()
    return Result(words, not missing and not bad, f"{versions('playwright')}, Chromium {browser.version}")


@contextlib.contextmanager
def _watched() -> Iterator[tuple[Live, Limits | None]]:
    """A model in a control group with limits, on a played GPU, with its agent."""
    with (
        tempfile.TemporaryDirectory(prefix="pf-seen-", dir="/tmp") as name,
        limited("pf-seen", cores=CORES, memory=MEMORY) as limits,
    ):
        folder = pathlib.Path(name)
        live, gpu = Live(folder), Played(folder)
        (folder / "pilotfish.yaml").write_text(
            json.dumps({"gpu": {"driver_library": str(gpu.driver_library)}}), encoding="utf-8"
        )
        model = [sys.executable, str(folder / "model.py"), str(folder)]
        command = model if limits is None else [limits.script(folder / "toy", model)]
        live.start("--config", str(folder / "pilotfish.yaml"), command=command, **gpu.environ)
        try:
            assert live.process is not None
            gpu.start(live.process.pid)
            yield live, limits
        finally:
            gpu.end()
            live.stop()
