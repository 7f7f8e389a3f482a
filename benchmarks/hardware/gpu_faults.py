"""GPUs that fail: every error of the driver, every missing function, a hang, a loss; and what reading eight costs.

All on a library that plays GPUs (tests/gpu/fake_nvml.c) under the real nvidia-ml-py: these rows say nothing of a GPU's
numbers or of its driver's speed, and say so in their names. Those of a real one are in gpu_real.py.
"""

from __future__ import annotations

import http.client
import os
import pathlib
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.gpu.backend import BackendError
from pilotfish_agent.gpu.report import Gpu
from pilotfish_agent.gpu.wire import REASONS
from tests.agent.live import Live
from tests.gpu import asked, fake
from tests.gpu.expected import AT_OPEN, CODES, OF_A_GPU, WHOLE, WITHOUT_EFFECT, wrong

FAKE: Final = "GPU faults (fake library): "
NO_COMPILER: Final = Result("needs gcc", None)
WITH: Final = versions("nvidia-ml-py")
HANG_SECONDS: Final = 10.0
EACH_SECONDS: Final = 0.02
GPUS: Final = 8
COST_SECONDS: Final = 20.0
SLEEPER: Final = ["sleep", "600"]


def _told(answer: asked.Answer) -> Gpu | BackendError:
    if answer.reason is not None:
        return BackendError(REASONS[answer.reason], answer.words)
    return answer.gpus[0]


@bar(f"{FAKE}each error code of NVML from each function, through nvidia-ml-py", "0 wrong answers")
def error_codes() -> Result:
    """The GPU is down, the driver is gone, another way is taken, or one series is absent with its reason."""
    if shutil.which("gcc") is None:
        return NO_COMPILER
    library = str(fake.driver_library())
    calls = [(function, code) for function in (*OF_A_GPU, *AT_OPEN) for code in CODES]
    states = [WHOLE, *({**WHOLE, f"fail.{function}": code} for function, code in calls)]
    whole, *answers = asked.ask([asked.Case(library, state) for state in states])
    problems = [
        f"{function} {code}: {problem}"
        for (function, code), answer in zip(calls, answers, strict=True)
        if (problem := wrong(function, code, _told(answer), whole.gpus[0]))
    ]
    functions = len(OF_A_GPU) + len(AT_OPEN)
    measured = f"{len(problems)} wrong of {len(calls)} ({len(CODES)} codes, {functions} functions)"
    return Result("; ".join([measured, *problems[:3]]), not problems and whole.complete, WITH)


@bar(f"{FAKE}each function missing, as in an older driver", "0 wrong answers")
def missing_functions() -> Result:
    """As where the function says that it is not supported; older ones stand in where there are some."""
    if shutil.which("gcc") is None:
        return NO_COMPILER
    names, library = fake.functions(), str(fake.driver_library())
    lacking = asked.ask([asked.Case(str(fake.driver_library((name,))), WHOLE) for name in names])
    failing = asked.ask([asked.Case(library, {**WHOLE, f"fail.{name}": 13}) for name in names])
    problems = [
        name
        for name, one, other in zip(names, lacking, failing, strict=True)
        if one.told != other.told or not (one.complete or _may_lack(name))
    ]
    (old,) = asked.ask([asked.Case(str(fake.driver_library(fake.OLD)), WHOLE)])
    series = sum(len(gpu.values) for gpu in old.gpus)
    measured = f"{len(problems)} wrong of {len(names)}; a driver of before Ampere gives {series} series"
    return Result("; ".join([measured, *problems[:5]]), not problems and series > 20, WITH)


def _may_lack(name: str) -> bool:
    """Whether something is missing without it."""
    expected = OF_A_GPU.get(name) or AT_OPEN.get(name)
    return name not in WITHOUT_EFFECT and (expected is None or "never" not in expected.fine)


@contextmanager
def watched(state: dict[str, object], deadline: str) -> Iterator[tuple[Live, fake.Gpus]]:
    """A real agent beside a process, with GPUs that are played."""
    with tempfile.TemporaryDirectory(prefix="pilotfish-bars-") as folder:
        gpus = fake.Gpus(pathlib.Path(folder, "gpus"), state)
        live = Live(pathlib.Path(folder))
        variables = {
            **gpus.environ,
            "PILOTFISH_GPU_DRIVER_LIBRARY": str(fake.driver_library()),
            "PILOTFISH_GPU_DEADLINE": deadline,
        }
        live.start(command=SLEEPER, **variables)
        try:
            _until(live, lambda page: _series(page) > 10, "the GPUs to be read")
            yield live, gpus
        finally:
            live.stop()


class _Asker:
    """Asks for the metrics again and again over one connection."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=30)
        self.worst = 0.0
        self.times = 0

    def page(self) -> str:
        """One answer."""
        begun = time.perf_counter()
        self._connection.request("GET", "/metrics")
        body = self._connection.getresponse().read().decode()
        self.worst = max(self.worst, time.perf_counter() - begun)
        self.times += 1
        return body


@bar(f"{FAKE}/metrics of a real agent while the driver hangs for 10 s", "< 50 ms worst; series gone at the deadline")
def hang() -> Result:
    """Asked 50 times a second; the deadline is 2 s, after which the GPU is down, and at the end it is back."""
    if shutil.which("gcc") is None:
        return NO_COMPILER
    with watched({"count": 2}, "2s") as (live, gpus):
        before, during = _Asker(live.address()), _Asker(live.address())
        _ask_for(before, 3.0)
        pid = live.status()["processes"]["nvml"]
        gpus.set(hang_ms__nvmlDeviceGetPowerUsage=int(HANG_SECONDS * 1000))
        begun = time.monotonic()
        gone = _ask_for(during, HANG_SECONDS)
        gpus.unset("hang_ms.nvmlDeviceGetPowerUsage")
        killed = live.status()["processes"]["nvml"] != pid
        _until(live, lambda page: _series(page) > 10, "the GPUs to be back")
        back = time.monotonic() - begun - HANG_SECONDS
    told = "never" if gone is None else f"{gone:.1f} s"
    measured = (
        f"worst {during.worst * 1e3:.1f} ms of {during.times} (before {before.worst * 1e3:.1f} ms); series gone after "
        f"{told}, back {back:.1f} s after the hang"
    )
    holds = (
        during.worst < 0.05 and gone is not None and gone < 2.0 + 1.0 + 2.5 and killed
    )  # the deadline, a round, a sample
    return Result(measured, holds, WITH)


def _ask_for(asker: _Asker, seconds: float) -> float | None:
    """Asks for so long; after which time the GPUs' series were gone."""
    begun, gone = time.monotonic(), None
    while (passed := time.monotonic() - begun) < seconds:
        page = asker.page()
        if gone is None and _series(page) == 0 and "\npilotfish_gpu_up{" in page:
            gone = passed
        time.sleep(EACH_SECONDS)
    return gone


@bar(f"{FAKE}a GPU that is lost (XID 79): its series vanish and come back, the other's stay", "vanish; come back")
def loss() -> Result:
    """Through a real agent's /metrics."""
    if shutil.which("gcc") is None:
        return NO_COMPILER
    first, second = "GPU-00000000", "GPU-00000001"
    with watched({"count": 2}, "5s") as (live, gpus):
        whole = _until(live, lambda page: _series(page, second) > 10, "both GPUs")
        begun = time.monotonic()
        gpus.set(**{"1.lost": 1, "1.xid_count": 1})
        lost = _until(live, lambda page: _series(page, second) == 0, "the loss")
        vanished = time.monotonic() - begun
        told = _until(live, lambda page: _has(page, "xid_errors_total", second, 1), "the XID")
        begun = time.monotonic()
        gpus.set(**{"1.lost": 0})
        back = _until(live, lambda page: _series(page, second) > 10, "it to come back")
        returned = time.monotonic() - begun
    counts = [_series(page, second) for page in (whole, lost, back)]
    down = _has(lost, "up", second, 0)
    other = min(_series(page, first) for page in (whole, lost, told, back))
    measured = (
        f"series {counts[0]}, {counts[1]}, {counts[2]}: gone after {vanished:.1f} s with gpu_up 0 and XID 79, "
        f"back after {returned:.1f} s; the other GPU never below {other}"
    )
    return Result(measured, down and counts[1] == 0 and counts[2] >= counts[0] and other >= counts[0], WITH)


@bar(f"{FAKE}memory of ULLONG_MAX, and XIDs over a pf-nvml that is killed", "absent with a reason; each XID counted")
def no_number_and_xids() -> Result:
    """Through a real agent's /metrics: no GPU has 16 EiB; 2 of XID 31, a kill -9, then one of 31 and of 48."""
    if shutil.which("gcc") is None:
        return NO_COMPILER
    with watched({"count": 1, "memory_used": 2**64 - 1, "pid.0": 42}, "5s") as (live, gpus):
        page = live.get("/metrics")
        absent = "pilotfish_gpu_memory_used_bytes{" not in page and re.search(
            r'^pilotfish_signal_unavailable{.*reason="no_data",signal="pilotfish_gpu_memory_used_bytes"',
            page,
            re.MULTILINE,
        )
        gpus.set(xid=31, xid_count=2)
        _until(live, lambda page: _xids(page) == {"31": 2}, "two XIDs")
        pid = live.status()["processes"]["nvml"]
        os.kill(pid, signal.SIGKILL)
        _until(live, lambda _: live.status()["processes"].get("nvml") not in {pid, None}, "another pf-nvml")
        time.sleep(2.0)  # it waits for XIDs
        gpus.set(xid_count=3)
        _until(live, lambda page: _xids(page) == {"31": 3}, "a third one")
        gpus.set(xid=48, xid_count=4)
        told = _xids(_until(live, lambda page: len(_xids(page)) == 2, "another one"))
    measured = f"memory {'absent, no_data' if absent else 'told'}; XIDs {told}"
    return Result(measured, bool(absent) and told == {"31": 3, "48": 1}, WITH)


def _xids(page: str) -> dict[str, int]:
    found = re.findall(r'^pilotfish_gpu_xid_errors_total{.*xid="(\d+)".*} (\S+)$', page, re.MULTILINE)
    return {xid: int(float(count)) for xid, count in found}


@bar(f"{FAKE}pf-nvml with {GPUS} GPUs of 18 links each, once a second", "<= 30 MiB resident, <= 2 % of a CPU")
def cost() -> Result:
    """What the library itself takes is in it; a real driver's is not."""
    if shutil.which("gcc") is None:
        return NO_COMPILER
    state: dict[str, object] = {"count": GPUS, "links": 18, "pid.0": 42, "memory.0": 1 << 30}
    with watched(state, "5s") as (live, _):
        pid = live.status()["processes"]["nvml"]
        before = _cpu(pid)
        time.sleep(COST_SECONDS)
        share = (_cpu(pid) - before) / COST_SECONDS
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        series = _series(live.get("/metrics"))
    resident = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    measured = f"{resident:.1f} MiB, {share:.2%} of a CPU, {series} series"
    return Result(measured, resident <= 30 and share <= 0.02, WITH)


def _cpu(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _series(page: str, uuid: str = "") -> int:
    """Series of GPUs other than whether they are up, and their XIDs."""
    found = re.findall(rf'^pilotfish_gpu_(\w+){{[^}}]*uuid="{uuid}', page, re.MULTILINE)
    return len([name for name in found if name not in {"up", "xid_errors_total"}])


def _has(page: str, name: str, uuid: str, value: int) -> bool:
    """Whether a series of a GPU has a value."""
    found = rf'^pilotfish_gpu_{name}{{[^}}]*uuid="{uuid}[^}}]*}} {value}(\.0)?$'
    return re.search(found, page, re.MULTILINE) is not None


def _until(live: Live, what: Callable[[str], bool], why: str) -> str:
    """The first page that is as it must become."""
    end = time.monotonic() + 40
    while not what(page := live.get("/metrics")):
        if time.monotonic() > end:
            raise TimeoutError(f"waited 40 s for {why}; stderr: {live.err}")
        time.sleep(0.05)
    return page
