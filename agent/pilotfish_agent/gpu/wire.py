"""What the agent and pf-nvml say to each other: JSON datagrams over one socketpair. Standard library only.

The agent sends `Orders`, once. The reading process says `Began` before it calls the driver, then one datagram a GPU,
then `Ended`: so the agent knows whether a silence is the driver's.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, NoReturn, get_args

from pilotfish_agent.gpu.report import Gpu, GpuProcess, GpuValue
from pilotfish_agent.launch.child import LARGEST
from pilotfish_core.metrics import Reason

REASONS: Final[dict[str, Reason]] = {reason: reason for reason in get_args(Reason)}
CODE_UNAVAILABLE: Final = 3
"""Exit code of a reading process that cannot ask the driver; its last `Ended` says why."""

Phase = Literal["open", "round"]


@dataclass(frozen=True, slots=True)
class Orders:
    """What the reading process shall do.

    Attributes:
        vendors: whose drivers were found: ``nvidia``, ``amd``.
        driver_library: path of NVML's library; None: where the loader finds it.
        interval: seconds from one reading to the next.
        path: folders to append to ``sys.path`` where missing.
    """

    vendors: tuple[str, ...]
    driver_library: str | None = None
    interval: float = 1.0
    path: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """As JSON."""
        return _bytes({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Orders:
        """The inverse of `to_bytes`.

        Raises:
            ValueError: these bytes are no orders.
        """
        plain = _object(data)
        library = plain.get("driver_library")
        return cls(
            vendors=tuple(_text(name) for name in _list(plain.get("vendors"))),
            driver_library=None if library is None else _text(library),
            interval=_number(plain.get("interval")),
            path=tuple(_text(folder) for folder in _list(plain.get("path"))),
        )


@dataclass(frozen=True, slots=True)
class Began:
    """The driver is asked from now on.

    Attributes:
        phase: to find the GPUs, or to read them.
    """

    phase: Phase


@dataclass(frozen=True, slots=True)
class Ended:
    """The driver has answered: the GPUs of this round were told, or there are none.

    Attributes:
        reason: why there are none: this process ends; None while all is well.
        words: the same for people.
    """

    reason: Reason | None = None
    words: str = ""


Message = Began | Gpu | Ended


def encode(message: Message) -> bytes:
    """As JSON, within `LARGEST`: processes of a GPU that do not fit are left out, those with least memory first."""
    if isinstance(message, Began):
        return _bytes({"began": message.phase})
    if isinstance(message, Ended):
        return _bytes({"ended": message.reason, "words": message.words[:2_000]})
    data = _bytes(_plain(message))
    while len(data) > LARGEST and message.processes:
        message = replace(message, processes=message.processes[: len(message.processes) // 2])
        data = _bytes(_plain(message))
    return data


def decode(data: bytes) -> Message:
    """The inverse of `encode`.

    Raises:
        ValueError: these bytes are no message.
    """
    plain = _object(data)
    if "began" in plain:
        if plain["began"] == "open":
            return Began("open")
        if plain["began"] == "round":
            return Began("round")
        raise ValueError("began: expected open or round")
    if "ended" in plain:
        return Ended(None if plain["ended"] is None else _reason(plain["ended"]), _text(plain.get("words")))
    return _gpu(plain)


def _plain(gpu: Gpu) -> dict[str, Any]:
    plain = {name: getattr(gpu, name) for name in ("uuid", "gpu", "name", "driver", "up", "gaps", "at")}
    plain["values"] = [(v.name, v.value, v.label, v.counted_here) for v in gpu.values]
    plain["processes"] = gpu.processes and [(p.pid, p.memory, p.sm) for p in gpu.processes]
    return plain


def _gpu(plain: dict[str, Any]) -> Gpu:
    processes = plain.get("processes")
    return Gpu(
        uuid=_text(plain.get("uuid")),
        gpu=_text(plain.get("gpu")),
        name=_text(plain.get("name")),
        driver=_text(plain.get("driver")),
        up=_flag(plain.get("up")),
        values=tuple(
            GpuValue(_text(name), _number(value), None if label is None else _text(label), _flag(here))
            for name, value, label, here in _rows(plain.get("values"), 4)
        ),
        gaps=tuple((_text(name), _reason(reason)) for name, reason in _rows(plain.get("gaps"), 2)),
        processes=None if processes is None else tuple(_process(*row) for row in _rows(processes, 3)),
        at=_number(plain.get("at")),
    )


def _process(pid: Any, memory: Any, sm: Any) -> GpuProcess:
    if type(pid) is not int or pid < 0 or not (memory is None or (type(memory) is int and memory >= 0)):
        _refuse("a process", (pid, memory))
    return GpuProcess(pid, memory, None if sm is None else _number(sm))


def _bytes(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, separators=(",", ":")).encode()


def _object(data: bytes) -> dict[str, Any]:
    try:
        plain = json.loads(data)
    except RecursionError:
        raise ValueError("expected a flat JSON object") from None
    if not isinstance(plain, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - what comes from outside is a bad value
    return plain


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else _refuse("a list", value)


def _rows(value: Any, width: int) -> list[list[Any]]:
    rows = _list(value)
    if any(not isinstance(row, list) or len(row) != width for row in rows):
        _refuse(f"rows of {width}", value)
    return rows


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _refuse("text", value)


def _flag(value: Any) -> bool:
    return value if isinstance(value, bool) else _refuse("true or false", value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse("a number", value)
    try:
        number = float(value)
    except OverflowError:
        _refuse("a number", value)
    return number if math.isfinite(number) else _refuse("a finite number", value)


def _reason(value: Any) -> Reason:
    found = REASONS.get(value) if isinstance(value, str) else None
    return _refuse("a reason", value) if found is None else found


def _refuse(expected: str, value: object) -> NoReturn:
    raise ValueError(f"got {str(value)[:100]}; expected {expected}")
