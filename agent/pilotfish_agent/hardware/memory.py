"""Memory of the process tree by kind, from `/proc/PID/status`.

Never from `smaps` or `smaps_rollup` (PSS, USS): reading them holds the watched process' memory lock while all
its pages are walked, and its page faults wait for that (docs/hardware.md). `statm` is cheaper than `status`, but cannot
tell file pages from shared ones nor see swap.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilotfish_agent.hardware._context import Collector, HardwareContext, Refused, absent, per_member
from pilotfish_agent.hardware._procfs import parse_fields
from pilotfish_agent.hardware._tree import Member
from pilotfish_core.metrics import Metric, Reading, Sample

RESIDENT = Metric(
    "pilotfish_process_resident_memory_bytes",
    "gauge",
    "Physical memory of the model's process tree; pages that several processes share count once in each.",
    ("target",),
)
MEMORY = Metric(
    "pilotfish_process_memory_bytes",
    "gauge",
    "Memory of the model's process tree by kind: anonymous growing without end is a leak, swap makes requests slow.",
    ("target", "kind"),
)
METRICS = (RESIDENT, MEMORY)
_KINDS = ("anonymous", "file", "shared", "swap")
_FIELDS = (b"RssAnon", b"RssFile", b"RssShmem", b"VmSwap")


class _Memory:
    def __init__(self, context: HardwareContext) -> None:
        self._context = context

    def collect(self) -> Iterable[Reading]:
        try:
            found = per_member(self._context.tree, _kibibytes, self._context.tree.living)
        except Refused as refused:
            return absent("memory", METRICS, refused.reason)
        if not found:
            return absent("memory", METRICS, "no_data")
        sums = [1024.0 * sum(column) for column in zip(*found.values(), strict=True)]
        target = self._context.target
        kinds = [Sample(MEMORY, (target, kind), value) for kind, value in zip(_KINDS, sums, strict=True)]
        return [Sample(RESIDENT, (target,), sum(sums[:3])), *kinds]


def _kibibytes(member: Member) -> tuple[int, ...]:
    # A zombie has given its memory back and has none of these lines.
    return tuple(value or 0 for value in parse_fields(member.files.read("status"), _FIELDS))


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Memory(context)
