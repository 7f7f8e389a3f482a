"""The model's part of each GPU: what the driver lists, and what `/proc` knows of the model's processes beside it.

A list whose PIDs are not ours needs more than PIDs (gpu/attribution.py): the numbers that the model's processes have in
namespaces below ours, which of them have a GPU open (`fd`), and which GPUs their container was given by name
(`environ`). The last two may be read by the same user, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH. They are read
each 10 s only, and never where the list says it all: in the host's own PID namespace, and where it names processes of
ours alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from pilotfish_agent.gpu import attribution
from pilotfish_agent.gpu.attribution import Hints, Use
from pilotfish_agent.gpu.report import Gpu, GpuReport
from pilotfish_agent.hardware._context import HardwareContext
from pilotfish_agent.target.processes import read
from pilotfish_agent.target.tree import Member
from pilotfish_core.metrics import Reason

LOOK_EVERY: Final = 10.0
"""Seconds between looks at descriptors and environment, which hardly ever change."""
_DESCRIPTORS: Final = 256
"""Looked at in one process, the lowest numbers: a GPU is opened before the connections come. 2 us each."""
_ALL_DESCRIPTORS: Final = 4096
"""Looked at in the whole tree: 10 ms. What was not looked at holds nothing, so less is taken to be the model's."""
INITIAL: Final = "pid:[4026531836]"
"""The host's PID namespace has this number on every kernel (PROC_PID_INIT_INO, include/linux/proc_ns.h)."""
_NODE: Final = re.compile(r"/dev/nvidia(\d+)\Z")
_UUID: Final = re.compile(rb"^GPU UUID:\s*(\S+)\s*$", re.MULTILINE)
_MINOR: Final = re.compile(rb"^Device Minor:\s*(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Uses:
    """What is known at one moment.

    Attributes:
        report: what it was taken from.
        by_uuid: the model's part of each GPU that it uses.
        reason: why of the others, or of all, there is none.
    """

    report: GpuReport = field(default_factory=GpuReport)
    by_uuid: dict[str, Use] = field(default_factory=dict)
    reason: Reason = "no_data"

    @property
    def gpus(self) -> Iterator[tuple[Gpu, Use]]:
        """The GPUs that the model uses, with its part of each."""
        return ((gpu, self.by_uuid[gpu.uuid]) for gpu in self.report.gpus if gpu.uuid in self.by_uuid)


class GpuUse:
    """Looks at the last report. One thread uses it.

    Args:
        context: the watched tree, and who reports.
    """

    def __init__(self, context: HardwareContext) -> None:
        self._context = context
        self._initial = _namespace(context.proc) == INITIAL
        self._next_look = self._forget_at = 0.0
        self._visible: set[int] = set()
        self._aliases: dict[int, tuple[int, ...]] = {}
        self._holders: dict[str, int] | None = None
        self._given: tuple[frozenset[str], bool] = frozenset(), False

    def now(self) -> Uses:
        """The model's part as of the last report; none while it is old."""
        source = self._context.host.gpus
        if source is None:
            return Uses(reason="disabled")
        report = source.report
        if report.reason is not None or not report.gpus:
            return Uses(report, reason=report.reason or "no_data")
        members = self._context.tree.living
        found, reason = attribution.attribute(report.gpus, {m.pid for m in members}, self._hints(report, members))
        return Uses(report, found, reason)

    def _hints(self, report: GpuReport, members: Iterable[Member]) -> Hints:
        if self._initial:
            return Hints()
        now = self._context.clock.monotonic()
        # One that ended since the report was there: what was visible stays so for a while.
        if now >= self._forget_at:
            self._forget_at = now + LOOK_EVERY
            self._visible = set()
        listed = attribution.listed(report.gpus)
        self._visible |= {pid for pid in listed - self._visible if os.path.exists(f"{self._context.proc}/{pid}")}
        plain = Hints(initial=False, visible=frozenset(self._visible))
        if attribution.comparable(listed, plain):
            return plain
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            self._look(list(members))
        return replace(
            plain,
            aliases=self._aliases,
            holders=self._holders,
            named=self._given[0],
            shared=self._given[1],
        )

    def _look(self, members: list[Member]) -> None:
        self._aliases, self._holders = {}, None
        nodes: list[frozenset[int]] = []
        named, shared = frozenset[str](), False
        left, denied = _ALL_DESCRIPTORS, False
        for member in members:
            try:
                self._aliases[member.pid] = parse_aliases(member.files.read_list("status", keep=False))
                looked, found = _open_nodes(member, min(left, _DESCRIPTORS))
                left -= looked
                nodes.append(found)
                names = parse_given(member.files.read_list("environ", keep=False))
                named |= names - {"all"}
                shared |= "all" in names
            except PermissionError:
                denied = True
            except (FileNotFoundError, ProcessLookupError):
                continue  # gone since the scan
        self._given = named, shared
        if nodes and not denied:
            minors = _minors(self._context.proc)
            self._holders = {uuid: sum(minor in of for of in nodes) for uuid, minor in minors.items()}


def _namespace(proc: str) -> str:
    with suppress(OSError):
        return os.readlink(f"{proc}/self/ns/pid")
    return ""


def parse_aliases(status: bytes) -> tuple[int, ...]:
    """The PIDs of a process in the namespaces below ours, from the line `NSpid`, which begins with ours."""
    for line in status.split(b"\n"):
        if line.startswith(b"NSpid:"):
            return tuple(int(word) for word in line.split()[2:] if word.isdigit())
    return ()


def parse_given(environ: bytes) -> frozenset[str]:
    """The GPUs that a container was given: their UUIDs, or ``all``; a number says nothing of which one it is."""
    for entry in environ.split(b"\0"):
        if entry.startswith(b"NVIDIA_VISIBLE_DEVICES="):
            words = {w.strip() for w in entry.partition(b"=")[2].decode("ascii", "replace").split(",")}
            return frozenset(w for w in words if w == "all" or w.startswith(("GPU-", "MIG-")))
    return frozenset()


def parse_information(data: bytes) -> tuple[str, int] | None:
    """(UUID, minor number of the device node) from `/proc/driver/nvidia/gpus/*/information`."""
    uuid, minor = _UUID.search(data), _MINOR.search(data)
    if uuid is None or minor is None or b"?" in uuid[1]:  # the UUID is masked until the driver has read it
        return None
    return uuid[1].decode("ascii", "replace"), int(minor[1])


def _minors(proc: str) -> dict[str, int]:
    folder = f"{proc}/driver/nvidia/gpus"
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    found = (parse_information(read(f"{folder}/{name}/information")) for name in names)
    return dict(pair for pair in found if pair is not None)


def _open_nodes(member: Member, limit: int) -> tuple[int, frozenset[int]]:
    """(descriptors looked at, minor numbers of the NVIDIA devices among them)."""
    found: set[int] = set()
    folder = member.files.open("fd")
    try:
        with os.scandir(folder) as entries:  # in pieces: a list of a million would take half a second
            names = [entry.name for entry in islice(entries, limit)]
        for name in names:
            with suppress(FileNotFoundError):  # closed meanwhile
                if node := _NODE.match(os.readlink(name, dir_fd=folder)):
                    found.add(int(node[1]))
    finally:
        os.close(folder)
    return len(names), frozenset(found)
