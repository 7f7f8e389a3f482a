"""The three tiers of rights: what each gives, and which of them we have, found by trying."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from pilotfish_agent.doctor._finding import Finding, Situation, State, capabilities
from pilotfish_agent.target.taskstats import Taskstats

TITLE = "Rights"
ORDER = 1
NONE, LOOK, ALL = "tier 0", "tier 1", "tier 2"
CAPABILITIES: Final = ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN")
"""Of tier 2. The tap's CAP_NET_RAW is of no tier: it gives no signal of the hardware, see `traffic`."""


def check(situation: Situation) -> Iterator[Finding]:
    """One finding a tier."""
    gives = "any user, no capability: all but what the next two give; SDK, scrape, relay; selectors but --port"
    yield Finding(NONE, "works", words=gives)
    denied = ["/proc/PID/fd"] if situation.refused else refusals(situation.pid) if situation.pid is not None else []
    gives = "the model's user: storage traffic, ports, --port, GPUs by descriptor, its group from a sidecar"
    if denied:
        words = f"{gives}; denied: {', '.join(denied)}"
        enable = f"run as uid {situation.uid}, or in tier 2"
        if situation.same_user:
            enable = "the process has another group, or more capabilities than we, or may not be traced: tier 2"
        yield Finding(LOOK, "missing", "permission", words, enable)
    else:
        yield Finding(LOOK, "works", words=gives)
    yield _all()


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


def _all() -> Finding:
    """The two that look into processes and files by their bits: what they open depends on whose it is."""
    gives = "tier 1 for any user's model; run delay of all threads, exit records, energy"
    held = capabilities()
    missing = [name for name in CAPABILITIES[:2] if name not in held]
    if not has_taskstats():
        missing.append(CAPABILITIES[2])
    if not missing:
        return Finding(ALL, "works", words=gives)
    enable = "setcap, AmbientCapabilities= or --cap-add; see docs/doctor.md"
    state: State = "missing" if len(missing) == len(CAPABILITIES) else "partly"
    return Finding(ALL, state, "permission", f"{gives}; without {', '.join(missing)}", enable)


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
