"""Reading smaps stalls the watched process (docs/hardware.md): strace shows whether the whole agent ever opens it.

An agent attaches to a tree, samples it for some seconds and is scraped, with all its processes traced. What it opens
of `status` is counted too: a trace that saw nothing proves nothing.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from benchmarks.bars import Result, bar, versions
from benchmarks.hardware.sample_cost import WORKERS, model
from tests.agent.live import SCRIPT, Live, until

SECONDS = 8.0
OPENED = re.compile(r'open(?:at|at2)?\([^"]*"([^"]*)"')
SMAPS = re.compile(r"(?:^|/)smaps(?:_rollup)?$")


@bar("smaps and smaps_rollup opened by the agent, by strace", "0 while it samples 9 processes for 8 s")
def opens() -> Result:
    strace = shutil.which("strace")
    if strace is None:
        return Result("strace is not installed", None)
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder, model() as pid:
        live, trace = Live(pathlib.Path(folder)), pathlib.Path(folder, "trace")
        traced = [strace, "-D", "-f", "-qq", "-e", "trace=open,openat,openat2", "-s", "200", "-o", str(trace)]
        attach = [SCRIPT, "attach", "--pid", str(pid), "--listen", "127.0.0.1:0", "--instance", "toy"]
        live.spawn([*traced, *attach], PILOTFISH_SAMPLE_INTERVAL="250ms")
        try:
            until(lambda: live.metric("pilotfish_process_memory_bytes"), "a sample")
            time.sleep(SECONDS)
            sampled = live.metric(r"pilotfish_processes\{[^}]*worker") or 0.0
        finally:
            live.stop()
        paths = OPENED.findall(trace.read_text(errors="replace"))
    status = sum(path == "status" or path.endswith("/status") for path in paths)
    smaps = sum(SMAPS.search(path) is not None for path in paths)
    tool = (
        subprocess.run([strace, "-V"], capture_output=True, text=True).stdout.split("\n")[0].replace(" -- version", "")
    )
    return Result(
        f"{smaps} of {len(paths):,} opens; {status} of status, {sampled:.0f} workers sampled",
        smaps == 0 and status > WORKERS and sampled == WORKERS,
        f"{versions()}, {tool}",
    )
