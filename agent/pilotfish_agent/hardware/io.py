"""Storage traffic of the process tree, from `/proc/PID/io`.

Readable by the same user, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.

The kernel adds a child's traffic to that of the parent that waits for it, in the same number: so all of it counts as
inherited, and the sum is exact while parents wait for their children and a lower bound where they ignore SIGCHLD.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilotfish_agent.hardware._context import Collector, HardwareContext, absent
from pilotfish_agent.target.ledger import Ledger, Values
from pilotfish_agent.target.members import Refused, per_member
from pilotfish_agent.target.procfs import parse_fields
from pilotfish_agent.target.tree import Member
from pilotfish_core.metrics import Metric, Reading, Sample

IO = Metric(
    "pilotfish_process_io_bytes_total",
    "counter",
    "Bytes the model's process tree read from and wrote to storage, page cache hits not counted.",
    ("target", "direction"),
)
METRICS = (IO,)
ENABLE = {"permission": "run as the model's user, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"}
_NONE: Values = (0, 0)


class _Io:
    def __init__(self, context: HardwareContext) -> None:
        self._context = context
        self._ledger = Ledger(2)

    def collect(self) -> Iterable[Reading]:
        tree = self._context.tree
        try:
            found = per_member(tree, _bytes)
        except Refused as refused:
            return absent("io", METRICS, refused.reason)
        read, written = self._ledger.update(tree.alive, found)
        target = self._context.target
        return [Sample(IO, (target, "read"), float(read)), Sample(IO, (target, "write"), float(written))]


def _bytes(member: Member) -> tuple[Values, Values]:
    return member.files.parsed("io", _parse)


def _parse(data: bytes) -> tuple[Values, Values]:
    read, written = parse_fields(data, (b"read_bytes", b"write_bytes"))
    if read is None or written is None:
        raise FileNotFoundError("io without read_bytes and write_bytes")
    return _NONE, (read, written)


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Io(context)
