"""What the kernel and the drivers of this machine offer, whoever the model is."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from pilotfish_agent.doctor._finding import Finding, Situation
from pilotfish_agent.doctor.rights import has_taskstats
from pilotfish_agent.hardware import _cgroups, _exits, _processes

TITLE = "This machine"
ORDER = 4
NVML_SECONDS: Final = 10.0
"""A driver in trouble lets its library hang; then it is asked in a process that can be killed."""
_ASK_NVML: Final = """
import ctypes
library = ctypes.CDLL("libnvidia-ml.so.1")
count = ctypes.c_uint()
code = library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count))
print(code, count.value)
"""
_PERF_CALLS: Final = {"x86_64": 298, "aarch64": 241}  # perf_event_open, by machine
_CGROUP_FILES: Final = {
    "cgroup cpu": ("cpu.stat",),
    "cgroup memory": ("memory.current", "memory.usage_in_bytes"),
    "cgroup pressure": ("memory.pressure",),
}


def check(situation: Situation) -> Iterator[Finding]:
    """One finding an interface."""
    yield _taskstats()
    yield _exit_cause()
    pid = os.getpid() if situation.pid is None else situation.pid
    yield from _control_group(pid)
    yield _perf(pid)
    yield _nvml()


def _taskstats() -> Finding:
    if has_taskstats():
        return Finding("taskstats", "works", words="run delay of all threads, ended ones too")
    words = "threads are read one by one: those between two samples are missed, trees above 256 threads are absent"
    return Finding("taskstats", "partly", "permission", words, "CAP_NET_ADMIN, in the host's user namespace")


def _exit_cause() -> Finding:
    """A child of ours ends; does a pidfd say how?"""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    pidfd = _exits.open_pidfd(pid)
    os.waitpid(pid, 0)
    status = None
    if pidfd is not None:
        status = _exits.wait_status(pidfd)
        os.close(pidfd)
    if status is not None and os.waitstatus_to_exitcode(status) == 7:
        return Finding("exit cause", "works", words="the kernel tells how a process that is not our child has ended")
    return Finding("exit cause", "partly", "not_supported", "ends are counted, their cause is `unknown`", "Linux 6.15")


def _control_group(pid: int) -> Iterator[Finding]:
    """The files of the model's own group, in whichever hierarchy has them."""
    groups = list(_cgroups.lines(_processes.read(f"/proc/{pid}/cgroup")))
    mounted = list(_cgroups.mounts())
    for name, files in _CGROUP_FILES.items():
        paths = [
            f"{mount.point}{path.removeprefix(mount.root.rstrip('/'))}/{file}".replace("//", "/")
            for file in files
            for controllers, path in groups
            for mount in mounted
            if mount.controllers == controllers
        ]
        readable = next((p for p in paths if _processes.read(p)), None)
        if readable is not None:
            yield Finding(name, "works", words=readable)
        else:
            words = f"no {' or '.join(files)} in its control group" if mounted else "no control groups are mounted here"
            enable = "" if mounted else "mount /sys/fs/cgroup into the container"
            yield Finding(name, "missing", "not_supported", words, enable)


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
    level = _processes.read("/proc/sys/kernel/perf_event_paranoid").decode().strip()
    words = f"{os.strerror(code)}; kernel.perf_event_paranoid is {level or 'not there'}"
    if code in {1, 13}:
        return Finding("perf events", "missing", "permission", words, "CAP_PERFMON, or kernel.perf_event_paranoid <= 1")
    return Finding("perf events", "missing", "not_supported", words)


def _nvml() -> Finding:
    if not os.path.exists("/dev/nvidiactl"):
        enable = "in a container: the NVIDIA runtime, with NVIDIA_DRIVER_CAPABILITIES=utility"
        return Finding("NVML", "missing", "not_supported", "no NVIDIA driver here (/dev/nvidiactl)", enable)
    try:
        asked = subprocess.run(
            [sys.executable, "-I", "-c", _ASK_NVML], capture_output=True, text=True, timeout=NVML_SECONDS, check=False
        )
        code, count = (int(word) for word in asked.stdout.split())
    except subprocess.TimeoutExpired:
        return Finding("NVML", "missing", "failed", "the driver's library does not answer", "look at the kernel's log")
    except ValueError:
        return Finding("NVML", "missing", "not_installed", "libnvidia-ml.so.1 cannot be loaded", "the driver's library")
    if code:
        return Finding("NVML", "missing", "failed", f"its library says error {code}", "look at the kernel's log")
    return Finding("NVML", "works", words=f"{count} GPU{'' if count == 1 else 's'}")
