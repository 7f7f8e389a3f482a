"""Energy of the machine's processors, from RAPL."""

from __future__ import annotations

from collections.abc import Iterable

from pilotfish_agent.hardware._context import HOST, Collector, HostContext, absent
from pilotfish_agent.hardware._kept import reason
from pilotfish_agent.hardware._rapl import Rapl
from pilotfish_core.metrics import Metric, Reading, Sample

SCOPE = HOST
EVERY = 5.0  # seconds: a sum, which begins anew after 45 minutes at the soonest
ENERGY = Metric(
    "pilotfish_host_energy_joules_total",
    "counter",
    "Energy of the machine's processors by RAPL domain; its rate is watts. core and uncore are part of package.",
    ("domain",),
)
METRICS = (ENERGY,)
ENABLE = {
    "permission": "root's alone (CVE-2020-8694): CAP_DAC_READ_SEARCH, or let a group read the energy_uj files",
    "not_supported": "a real machine of Intel or AMD with the module intel_rapl_msr; in a container: docs/energy.md",
}


class _HostEnergy:
    def __init__(self, context: HostContext) -> None:
        self._rapl = Rapl(context.sys, context.clock)
        self.close = self._rapl.close

    def collect(self) -> Iterable[Reading]:
        try:
            found = self._rapl.read()
        except OSError as error:
            return absent("host_energy", METRICS, reason(error))
        return [Sample(ENERGY, (domain,), joules) for domain, joules in found.items()]


def make(context: HostContext) -> Collector:
    """The collector."""
    return _HostEnergy(context)
