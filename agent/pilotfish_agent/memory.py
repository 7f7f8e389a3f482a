"""The agent's own ceiling: a leak of ours must end us, never the model."""

from __future__ import annotations

import ctypes
import gc
import resource
from typing import Literal

TIGHT = 0.85
"""Share of the ceiling from which free memory is given back to the kernel."""
HEADROOM = 64 << 20
"""Beyond the ceiling before an allocation fails outright: enough to save state and leave by ourselves."""


def limit(ceiling: int, proc: str = "/proc") -> None:
    """Makes allocations fail (MemoryError) beyond the ceiling, counted from what is mapped now.

    RLIMIT_DATA, because Linux ignores RLIMIT_RSS; set after the imports, because libraries reserve more than they use.
    """
    try:
        with open(f"{proc}/self/status", encoding="ascii", errors="replace") as file:
            words = dict(line.split(":", 1) for line in file if ":" in line)
        mapped = int(words["VmData"].split()[0]) << 10
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = mapped + ceiling + HEADROOM
        if hard == resource.RLIM_INFINITY or wanted < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    except (OSError, KeyError, ValueError, IndexError):
        pass  # no such file or limit here: the verdict below still ends us


def verdict(resident: int, ceiling: int) -> Literal["well", "tight", "over"]:
    """Where ``resident`` bytes stand against the ceiling."""
    if resident > ceiling:
        return "over"
    return "tight" if resident > TIGHT * ceiling else "well"


def give_back() -> None:
    """Frees what can be freed and hands it to the kernel."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # glibc only
    except (OSError, AttributeError):
        pass
