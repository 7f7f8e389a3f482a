"""What the check lets pass, each with its reason; an entry that nothing needs is a problem itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_UNREADABLE: Final[dict[str, tuple[str, str]]] = {
    "pilotfish_host_energy_joules_total": ("/sys/class/powercap/intel-rapl:0/energy_uj", "this machine has no RAPL"),
    "pilotfish_cgroup_memory_events_total": (
        "/sys/fs/cgroup/cgroup.controllers",
        "the memory controller of this machine is of version 1, which has no such events",
    ),
}
"""What stands in a query -> (the file that its numbers need, why it gives nothing where that is not there)."""
NEVER_HERE: Final[dict[str, str]] = {
    "pilotfish_reasoning_output_tokens_total": "a model of random weights does not reason",
    "pilotfish_series_dropped_total": "a page above its limit would lack what other panels show",
    'level="error"': "nothing in the agent fails",
    **{words: why for words, (file, why) in _UNREADABLE.items() if not Path(file).exists()},
}
"""What stands in a query -> why that query may give nothing here; its panel must have data by its other queries."""
