"""Memory of the process tree: resident from `/proc/PID/stat` at each sample, its kinds from `status` each 5 s.

Never from `smaps` or `smaps_rollup` (PSS, USS): reading them holds the watched process' memory lock while all
its pages are walked, and its page faults wait for that (docs/hardware.md). `status` costs the kernel as much as all
that is read besides, and kinds of memory move slowly: in between each process counts with its last.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilotfish_agent.hardware._context import Collector, HardwareContext, absent
from pilotfish_agent.target.ledger import Key
from pilotfish_agent.target.members import Refused, per_member
from pilotfish_agent.target.procfs import parse_fields
from pilotfish_agent.target.tree import Member
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
BY_ROLE = Metric(
    "pilotfish_process_role_resident_memory_bytes",
    "gauge",
    "Physical memory of the model's process tree by role of the process; shared pages count once in each.",
    ("target", "role"),
)
METRICS = (RESIDENT, MEMORY, BY_ROLE)
_KINDS = ("anonymous", "file", "shared", "swap")
_FIELDS = (b"RssAnon", b"RssFile", b"RssShmem", b"VmSwap")
_KINDS_EVERY = 5.0  # seconds


class _Memory:
    def __init__(self, context: HardwareContext) -> None:
        self._context = context
        self._kinds: dict[Key, tuple[int, ...]] = {}  # KiB by kind of each process
        self._next_kinds = 0.0

    def collect(self) -> Iterable[Reading]:
        living, target = self._context.tree.living, self._context.target
        if not living:
            return absent("memory", METRICS, "no_data")
        roles: dict[str, int] = {}
        for member in living:
            role = self._context.tree.role(member)
            roles[role] = roles.get(role, 0) + member.stat.resident
        return [
            Sample(RESIDENT, (target,), float(sum(roles.values()))),
            *(Sample(BY_ROLE, (target, role), float(resident)) for role, resident in roles.items()),
            *self._by_kind(living),
        ]

    def _by_kind(self, living: tuple[Member, ...]) -> Iterable[Reading]:
        now, tree = self._context.clock.monotonic(), self._context.tree
        if now >= self._next_kinds:
            self._kinds.clear()
            self._next_kinds = now + _KINDS_EVERY
        try:
            fresh = per_member(tree, _kibibytes, [m for m in living if m.key not in self._kinds])
        except Refused as refused:
            return absent("memory", (MEMORY,), refused.reason)
        self._kinds |= fresh
        known = [self._kinds[m.key] for m in living if m.key in self._kinds]
        if not known:
            return absent("memory", (MEMORY,), "no_data")
        target = self._context.target
        return [
            Sample(MEMORY, (target, kind), 1024.0 * sum(column))
            for kind, column in zip(_KINDS, zip(*known, strict=True), strict=True)
        ]


def _kibibytes(member: Member) -> tuple[int, ...]:
    return member.files.parsed("status", _parse)


def _parse(data: bytes) -> tuple[int, ...]:
    # A zombie has given its memory back and has none of these lines.
    return tuple(value or 0 for value in parse_fields(data, _FIELDS))


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Memory(context)
