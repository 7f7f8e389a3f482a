"""What the kernel and the drivers of this machine offer, whoever the model is."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator
from typing import Final

from pilotfish_agent.doctor._finding import Finding, Situation
from pilotfish_agent.doctor.rights import has_taskstats
from pilotfish_agent.gpu.report import GpuReport
from pilotfish_agent.target import exits, processes
from pilotfish_agent.target.exit_feed import Feed

TITLE = "This machine"
ORDER = 5
_PERF_CALLS: Final = {"x86_64": 298, "aarch64": 241}  # perf_event_open, by machine


def check(situation: Situation) -> Iterator[Finding]:
    """One finding an interface."""
    yield _taskstats()
    yield _exit_cause()
    yield _exit_records(situation.machine.exits)
    yield _smaps()
    yield _perf(os.getpid() if situation.pid is None else situation.pid)
    if situation.machine.gpus is not None:
        yield _gpus(situation.machine.gpus.report)


def _taskstats() -> Finding:
    if has_taskstats():
        return Finding("taskstats", "works", words="run delay of all threads, ended ones too")
    words = "threads are read one by one: those between two samples are missed, trees above 1,024 threads are absent"
    return Finding("taskstats", "partly", "permission", words, "CAP_NET_ADMIN, in the host's user namespace")


def _exit_cause() -> Finding:
    """A child of ours ends; does a pidfd say how?"""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    pidfd = exits.open_pidfd(pid)
    os.waitpid(pid, 0)
    status = None
    if pidfd is not None:
        status = exits.wait_status(pidfd)
        os.close(pidfd)
    if status is not None and os.waitstatus_to_exitcode(status) == 7:
        return Finding("exit cause", "works", words="the kernel tells how a process that is not our child has ended")
    return Finding("exit cause", "partly", "not_supported", "ends are counted, their cause is `unknown`", "Linux 6.15")


def _perf(pid: int) -> Finding:
    """Opens a software counter on the process, as `perf` would, and closes it."""
    number = _PERF_CALLS.get(platform.machine())
    if number is None:
        return Finding("perf events", "missing", "not_supported", f"not known on {platform.machine()}")
    library = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(struct.pack("=IIQ", 1, 64, 0), 64)  # PERF_TYPE_SOFTWARE, size, CPU_CLOCK
    found = library.syscall(number, attributes, pid, -1, -1, 8)  # PERF_FLAG_FD_CLOEXEC
    if found >= 0:
        os.close(found)
        return Finding("perf events", "works", words="counters can be opened on the process")
    code = ctypes.get_errno()
    level = processes.read("/proc/sys/kernel/perf_event_paranoid").decode().strip()
    words = f"{os.strerror(code)}; kernel.perf_event_paranoid is {level or 'not there'}"
    if code in {1, 13}:
        return Finding("perf events", "missing", "permission", words, "CAP_PERFMON, or kernel.perf_event_paranoid <= 1")
    return Finding("perf events", "missing", "not_supported", words)


def _exit_records(feed: Feed | None) -> Finding:
    """Whether we may listen for the ends of all processes of the machine."""
    lost = feed.lost if feed is not None else "disabled"
    if isinstance(lost, int):
        return Finding("exit records", "works", words="workers that end between two samples are counted, too")
    words = "workers that no sample saw are counted only where their parent waits for them"
    enable = "Linux 6.0, the host's PID namespace (hostPID, --pid=host) and CAP_NET_ADMIN in the host's user namespace"
    return Finding("exit records", "partly", lost, words, enable)


def _gpus(report: GpuReport) -> Finding:
    """The drivers that were asked, and which values they do not give."""
    if report.reason is not None:
        enable = {
            "not_installed": "in a container: the NVIDIA runtime, with NVIDIA_DRIVER_CAPABILITIES=utility",
            "disabled": "gpu: {mode: auto} in the configuration",
            "failed": "look at the kernel's log",
        }
        return Finding("GPUs", "missing", report.reason, report.words, enable.get(report.reason, ""))
    up = [gpu for gpu in report.gpus if gpu.up]
    drivers = sorted({gpu.driver for gpu in up})
    named = ", ".join(f"{gpu.gpu} {gpu.name}" for gpu in up)
    words = f"{len(up)} of {len(report.gpus)} answer: {named}; driver {', '.join(drivers)}"
    gaps = sorted({(name.removeprefix("gpu_"), reason) for gpu in up for name, reason in gpu.gaps})
    if gaps:
        words += f"; not given: {', '.join(f'{name} ({reason})' for name, reason in gaps)}"
    return Finding("GPUs", "works", words=words)


def _smaps() -> Finding:
    """Why there is no PSS and no USS."""
    words = "never read by itself: it holds the process' memory lock while all its pages are walked, so the model waits"
    return Finding("smaps", "missing", "disabled", words, "`pilotfish status --pss` reads smaps_rollup once")
