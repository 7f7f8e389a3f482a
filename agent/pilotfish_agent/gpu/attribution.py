"""Which part of a GPU is the model's: pure, over what the driver lists and what is known of the model's processes.

The trap is PID namespaces. A driver may name processes by their PIDs in the caller's namespace (newer ones, which then
list no others), by those of the host (older ones), or list none at all inside a container. A number of one namespace
looked up in another is some other process. So a list is compared with the model's tree only where it is known to speak
of the same PIDs; the method that was found goes out as `process_gpu_attribution_info{method}`:

- ``pid``: a listed PID is a process of the tree, in a list whose PIDs are all known here.
- ``nspid``: it is the number that a process of the tree has in another namespace (`NSpid` of `/proc/PID/status`).
- ``device``: the list says nothing, but the GPU was given to the model alone: what the device says is the model's.

Else the model's part is absent. It is never guessed, and never the whole of a GPU that others are seen on.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pilotfish_agent.gpu.report import Gpu, GpuProcess
from pilotfish_core.metrics import Reason

Method = Literal["pid", "nspid", "device"]
EnergyMethod = Literal["sm", "memory", "device"]


@dataclass(frozen=True, slots=True)
class Hints:
    """What is known beside the driver's list.

    Attributes:
        initial: we are in the host's PID namespace: whatever list we get, its PIDs are ours.
        visible: those of the listed PIDs that are processes here.
        aliases: a process of the tree -> its PIDs in namespaces below ours.
        holders: UUID -> how many processes of the tree have the device open, of the GPUs whose device node is known;
            None: we may not look.
        named: UUIDs that the model's container was given by name (`NVIDIA_VISIBLE_DEVICES`).
        shared: it was given all that there are, so other containers may have been, too: none is its alone.
    """

    initial: bool = True
    visible: frozenset[int] = frozenset()
    aliases: Mapping[int, Collection[int]] = field(default_factory=dict)
    holders: Mapping[str, int] | None = None
    named: frozenset[str] = frozenset()
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """The model's part of one GPU.

    Attributes:
        method: how it was found.
        memory: bytes; None where the driver does not say.
        sm: share of the time in which its kernels ran, 0 to 1; None where the driver does not say.
        memory_share, sm_share: its part of what all processes use, 0 to 1; None where that is not known.
    """

    method: Method
    memory: int | None
    sm: float | None
    memory_share: float | None = None
    sm_share: float | None = None


def attribute(gpus: Iterable[Gpu], members: Collection[int], hints: Hints) -> tuple[dict[str, Use], Reason]:
    """The model's part of each GPU that it uses, by UUID, and why there is none on the others.

    Args:
        gpus: as reported; lost ones are passed over, and so is a GPU in MIG mode, whose processes its instances list.
        members: PIDs of the model's process tree.
        hints: see there.
    """
    found: dict[str, Use] = {}
    reason: Reason = "no_data"
    units = _units(gpus)
    ours = comparable(listed(units), hints)
    for gpu in units:
        part = _listed(gpu, members, hints, comparable=ours)
        if isinstance(part, str) and not ours:
            part = _alone(gpu, members, hints) or part
        if isinstance(part, Use):
            found[gpu.uuid] = part
        elif reason == "no_data":
            reason = part
    return found, reason


def listed(gpus: Iterable[Gpu]) -> frozenset[int]:
    """The PIDs that the driver names; 0 stands for processes of another namespace."""
    return frozenset(process.pid for gpu in _units(gpus) for process in gpu.processes or ()) - {0}


def comparable(pids: frozenset[int], hints: Hints) -> bool:
    """Whether a driver that names ``pids`` speaks of the same PIDs as we: then nothing else must be known."""
    return hints.initial or (bool(pids) and pids <= hints.visible)


def _units(gpus: Iterable[Gpu]) -> list[Gpu]:
    up = [gpu for gpu in gpus if gpu.up]
    divided = {(gpu.driver, gpu.gpu.partition("/")[0]) for gpu in up if "/" in gpu.gpu}
    return [gpu for gpu in up if (gpu.driver, gpu.gpu) not in divided]


def _listed(gpu: Gpu, members: Collection[int], hints: Hints, *, comparable: bool) -> Use | Reason:
    """By the driver's list, whose PIDs may be ``comparable`` to ours; else why it does not tell."""
    if gpu.processes is None:
        return dict(gpu.gaps).get("process_gpu_memory_bytes", "not_supported")
    listed = _merged(gpu.processes)
    matched = [p for pid, p in listed.items() if pid in members] if comparable else []
    if matched:
        return _use("pid", matched, listed.values(), gpu, whole=hints.initial)
    aliases = {alias for pid in members for alias in hints.aliases.get(pid, ())}
    matched = [p for pid, p in listed.items() if pid in aliases and pid not in hints.visible]
    if matched:
        return _use("nspid", matched, listed.values(), gpu, whole=hints.initial)
    if comparable:
        return "no_data"  # it uses another GPU, or none
    return "permission" if hints.holders is None else "not_supported"


def _alone(gpu: Gpu, members: Collection[int], hints: Hints) -> Use | None:
    """The whole device, where it was given to the model alone and nobody else is seen on it."""
    if hints.holders is None or hints.shared:
        return None
    held = hints.holders.get(gpu.uuid)
    if held == 0 or (held is None and gpu.uuid not in hints.named):
        return None
    listed = _merged(gpu.processes or ())
    if len(listed) > (held or len(members)) or any(pid in hints.visible for pid in listed if pid not in members):
        return None  # time-slicing: more processes than the model has there
    memory, busy = _value(gpu, "gpu_memory_used_bytes"), _value(gpu, "gpu_utilization_ratio")
    return Use("device", None if memory is None else int(memory), busy, 1.0, 1.0)


def _use(method: Method, ours: Collection[GpuProcess], listed: Collection[GpuProcess], gpu: Gpu, *, whole: bool) -> Use:
    """Sums over the model's processes, and their part of all: of the list where it is ``whole``, else of the device."""
    memory, all_memory = _sum(p.memory for p in ours), _sum(p.memory for p in listed)
    sm, all_sm = _sum(p.sm for p in ours), _sum(p.sm for p in listed)
    if not whole:
        all_memory = _larger(all_memory, _value(gpu, "gpu_memory_used_bytes"))
        all_sm = _larger(all_sm, _value(gpu, "gpu_utilization_ratio"))
    return Use(
        method,
        None if memory is None else int(memory),
        None if sm is None else min(1.0, sm),
        _share(memory, all_memory),
        _share(sm, all_sm),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    """None as soon as one is not known: a sum over the others would be a wrong number."""
    known = list(values)
    return None if None in known else math.fsum(v for v in known if v is not None)


def _share(part: float | None, all_of_it: float | None) -> float | None:
    return min(1.0, part / all_of_it) if part is not None and all_of_it else None


def _larger(a: float | None, b: float | None) -> float | None:
    return max((x for x in (a, b) if x is not None), default=None)


def _value(gpu: Gpu, name: str) -> float | None:
    return next((v.value for v in gpu.values if v.name == name and v.label is None), None)


def _merged(processes: Iterable[GpuProcess]) -> dict[int, GpuProcess]:
    """One entry a PID: a process with graphics and compute contexts may be listed twice, with the same memory."""
    merged: dict[int, GpuProcess] = {}
    for one in processes:
        seen = merged.setdefault(one.pid, one)
        if seen is not one:
            memory = None if seen.memory is None or one.memory is None else max(seen.memory, one.memory)
            merged[one.pid] = GpuProcess(one.pid, memory, _larger(seen.sm, one.sm))
    return merged


def energy(joules: float, use: Use) -> tuple[float, EnergyMethod] | None:
    """The model's part of what a GPU has used between two readings, and by what it was divided.

    For `process_energy_joules_total{source="gpu"}`: call it for each of `hardware._gpu_use.Uses.gpus` with the growth
    of its `gpu_energy_joules_total` since the last reading, add up, and tell the method in the info series. While
    kernels run, energy goes by whose they are (``sm``); while none do, and where the driver does not say whose, by the
    memory that each process holds (``memory``), because held memory is why the GPU cannot sleep; a GPU that the model
    has alone is its own (``device``). Over all processes of a whole list the parts add up to ``joules``: nothing is
    charged twice. None where it cannot be divided; MIG instances have no energy of their own.
    """
    if use.method == "device":
        return joules, "device"
    if use.sm_share is not None:
        return joules * use.sm_share, "sm"
    return None if use.memory_share is None else (joules * use.memory_share, "memory")
