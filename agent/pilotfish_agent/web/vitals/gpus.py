"""The table of GPUs: a row each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from pilotfish_agent.web.numbers import Numbers, percent, share, size
from pilotfish_agent.web.vitals._vital import Tone

HELD_BACK: Final = 0.1
"""Share of the last five minutes above which a reason for lower clocks is named."""
FULL: Final = 0.95
_OF_PROGRAMS: Final = frozenset({"13", "31", "43", "45", "68", "109"})
"""XIDs after which the GPU is sound: NVIDIA's own list, as in the alert."""
_USUAL: Final = frozenset({"idle", "power"})
"""Slower clocks without work, or at the limit that somebody set, are no fault."""


class GpuRow(NamedTuple):
    """One GPU in words; empty where a thing cannot be read.

    Attributes:
        gpu: its number and product; busy: share of time with any kernel; active: of SM, tensor cores, memory.
        memory: in use, of all; model: what of it is the model's, and how that is known.
        power: now, of the limit; temperature: of the chip.
        notes: what is wrong; tone: how bad.
    """

    gpu: str
    busy: str
    active: str
    memory: str
    model: str
    power: str
    temperature: str
    notes: str
    tone: Tone


def gpus(numbers: Numbers) -> Iterator[GpuRow]:
    """Those that were ever seen, in the driver's order."""
    found: dict[str, dict[str, str | None]] = {}
    for name in ("gpu_info", "gpu_up"):
        for labels, _ in numbers.each(name):
            found.setdefault(str(labels.get("uuid")), {}).update(labels)
    for uuid, known in sorted(found.items(), key=lambda one: (str(one[1].get("gpu")), one[0])):
        yield _row(numbers, uuid, known)


def _row(numbers: Numbers, uuid: str, labels: Mapping[str, str | None]) -> GpuRow:
    notes, tone = _notes(numbers, uuid)
    if numbers.least("gpu_up", uuid=uuid) == 0:
        notes, tone = "lost: the driver does not answer for it", "critical"
    power, limit = numbers.most("gpu_power_watts", uuid=uuid), numbers.most("gpu_power_limit_watts", uuid=uuid)
    heat = numbers.most("gpu_temperature_celsius", uuid=uuid)
    return GpuRow(
        gpu=" ".join(filter(None, (labels.get("gpu"), labels.get("name")))),
        busy=_percent(numbers.most("gpu_utilization_ratio", uuid=uuid)),
        active=", ".join(_active(numbers, uuid)),
        memory=_memory(numbers, uuid),
        model=_model(numbers, uuid),
        power="" if power is None else f"{power:.0f} W" + (f" of {limit:.0f} W" if limit else ""),
        temperature="" if heat is None else f"{heat:.0f} °C",
        notes=notes,
        tone=tone,
    )


def _percent(part: float | None) -> str:
    return "" if part is None else percent(part)


def _active(numbers: Numbers, uuid: str) -> Iterator[str]:
    for what, name in (("sm", "SM"), ("tensor", "tensor"), ("dram", "DRAM")):
        part = numbers.most(f"gpu_{what}_active_ratio", uuid=uuid)
        if part is not None:
            yield f"{name} {percent(part)}"


def _memory(numbers: Numbers, uuid: str) -> str:
    used, whole = numbers.most("gpu_memory_used_bytes", uuid=uuid), numbers.most("gpu_memory_total_bytes", uuid=uuid)
    if used is None:
        return ""
    return size(used) + (f" of {size(whole)}" if whole else "")


def _model(numbers: Numbers, uuid: str) -> str:
    used = numbers.total("process_gpu_memory_bytes", uuid=uuid)
    busy = numbers.total("process_gpu_sm_utilization_ratio", uuid=uuid)
    told = [] if used is None else [size(used)]
    told += [] if busy is None else [f"SM {percent(busy)}"]
    how = ", ".join(numbers.values("process_gpu_attribution_info", "method", uuid=uuid)).replace("_", " ")
    return ", ".join(told) + (f" (by {how})" if told and how else "")


def _notes(numbers: Numbers, uuid: str) -> tuple[str, Tone]:
    """Its errors, what holds it back, and whether it is full."""
    broken, errors, held = (list(of(numbers, uuid)) for of in (_broken, _errors, _held))
    part = share(numbers.most("gpu_memory_used_bytes", uuid=uuid), numbers.most("gpu_memory_total_bytes", uuid=uuid))
    if part is not None and part > FULL:
        held.append(f"memory {percent(part)} full")
    words = ", ".join([*broken, *errors, *held])
    return words, "critical" if broken else "warning" if errors or held else ""


def _broken(numbers: Numbers, uuid: str) -> Iterator[str]:
    """Errors of the hardware since the agent began."""
    yield from (words for code, words in _xids(numbers, uuid) if code not in _OF_PROGRAMS)
    for labels, count in numbers.each("gpu_ecc_errors_total", uuid=uuid):
        if count and labels.get("kind") != "corrected":
            yield f"ECC {str(labels.get('kind')).replace('_', ' ')}: {count:,.0f}"


def _errors(numbers: Numbers, uuid: str) -> Iterator[str]:
    """Errors of programs."""
    yield from (f"{words} (a program's own)" for code, words in _xids(numbers, uuid) if code in _OF_PROGRAMS)


def _xids(numbers: Numbers, uuid: str) -> Iterator[tuple[str, str]]:
    for labels, count in numbers.each("gpu_xid_errors_total", uuid=uuid):
        if count:
            yield str(labels.get("xid")), f"XID {labels.get('xid')} {count:,.0f} time{'s' * (count != 1)}"


def _held(numbers: Numbers, uuid: str) -> Iterator[str]:
    for reason in numbers.values("gpu_throttle_seconds_total", "reason", uuid=uuid):
        part = numbers.rate("gpu_throttle_seconds_total", uuid=uuid, reason=reason) or 0.0
        if part > HELD_BACK and reason not in _USUAL:
            yield f"held back by {reason.replace('_', ' ')} {percent(part)}"
