"""The three tiers of rights: what each gives, and which of them we have, found by trying."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pilotfish_agent.capture.rights import tap_problem
from pilotfish_agent.doctor._finding import Finding, Situation
from pilotfish_agent.hardware._taskstats import Taskstats

TITLE = "Rights"
ORDER = 1
NONE, LOOK, NETWORK = "tier 0", "tier 1", "tier 2"


def check(situation: Situation) -> Iterator[Finding]:
    """One finding a tier."""
    gives = "any user, no capability: the tree without its storage traffic, SDK, scrape, relay; selectors but --port"
    yield Finding(NONE, "works", words=gives)
    denied = ["/proc/PID/fd"] if situation.refused else refusals(situation.pid) if situation.pid is not None else []
    gives = "the model's user, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH: storage traffic, ports, --port"
    if denied:
        words = f"{gives}; denied: {', '.join(denied)}"
        enable = f"run as uid {situation.uid}, or with both capabilities"
        if situation.same_user:
            enable = "the process holds more capabilities than we, or may not be traced: run with both capabilities"
        yield Finding(LOOK, "missing", "permission", words, enable)
    else:
        yield Finding(LOOK, "works", words=gives)
    yield _network()


def refusals(pid: int) -> list[str]:
    """The files of a process that we may not open."""
    denied = []
    for name in ("fd", "io"):
        try:
            os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
            if name == "fd":
                os.readlink(f"/proc/{pid}/fd/0")
        except PermissionError:
            denied.append(f"/proc/{pid}/{name}")
        except OSError:  # nothing is open there, or it has ended
            continue
    return denied


def _network() -> Finding:
    gives = "CAP_NET_RAW: the tap; CAP_NET_ADMIN: run delay of all threads"
    missing = []
    if tap_problem() is not None:
        missing.append("CAP_NET_RAW")
    if not has_taskstats():
        missing.append("CAP_NET_ADMIN")
    if not missing:
        return Finding(NETWORK, "works", words=gives)
    enable = "setcap, AmbientCapabilities= or --cap-add; see docs/doctor.md"
    words = f"{gives}; without {' and '.join(missing)}"
    return Finding(NETWORK, "missing" if len(missing) == 2 else "partly", "permission", words, enable)


def has_taskstats() -> bool:
    """Whether the kernel's accounting may be asked."""
    try:
        accounting = Taskstats()
    except OSError:
        return False
    try:
        accounting.read(os.getpid())
    except OSError:
        return False
    finally:
        accounting.close()
    return True
