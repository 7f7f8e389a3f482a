"""What the check lets pass, each with its reason; one of `NEVER_HERE` that nothing needs is a problem itself."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from tests.limits import limited

NEVER_HERE: Final[dict[str, str]] = {
    "pilotfish_reasoning_output_tokens_total": "a model of random weights does not reason",
    "pilotfish_series_dropped_total": "a page above its limit would lack what other panels show",
    'level="error"': "nothing in the agent fails",
}
"""What stands in a query -> why that query may give nothing here; its panel must have data by its other queries."""
_RAPL: Final = "/sys/class/powercap/intel-rapl:0/energy_uj"
_VERSION_2: Final = "/sys/fs/cgroup/cgroup.controllers"
_NET_ADMIN: Final = 1 << 12
_LIMITED: Final = (
    "cpu_limit_cores",
    "cpu_throttled_periods",
    "cpu_throttled_seconds",
    "memory_limit",
    "oom_kills",
    "pressure",
)


@functools.cache
def lacking() -> dict[str, str]:
    """The same of what this machine lacks; a panel of nothing else may be empty, or stand still, and is counted."""
    found = {}
    if not Path(_RAPL).exists():
        found["pilotfish_host_energy_joules_total"] = "no RAPL here"
    if not Path(_VERSION_2).exists():
        found["pilotfish_cgroup_memory_events_total"] = "control groups of version 1 have no such events"
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    if not int(status.partition("CapEff:")[2].split()[0], 16) & _NET_ADMIN:
        found["pilotfish_exit_records_lost_total"] = "the kernel's exit records need CAP_NET_ADMIN"
    with limited("pf-proof-try", cores=1, memory=2**28) as limits:
        if limits is None:
            found |= {f"pilotfish_cgroup_{name}": "no control group can be made here: root can" for name in _LIMITED}
    return found
