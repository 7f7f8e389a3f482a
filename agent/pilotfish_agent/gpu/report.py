"""What is known of the GPUs of this machine: written by the reading process, read by the collectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pilotfish_core.metrics import Reason


@dataclass(frozen=True, slots=True)
class GpuValue:
    """One number of a GPU.

    Attributes:
        name: of the metric without prefix, ``gpu_clock_hertz``.
        value: in the metric's unit.
        label: value of the metric's own label (``domain``, ``reason``, ``xid``, ...), if it has one.
        counted_here: a total that the reading process counts itself: it begins at 0 with it. The driver counts others.
    """

    name: str
    value: float
    label: str | None = None
    counted_here: bool = False


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """One process on a GPU, as the driver names it.

    Attributes:
        pid: in whichever PID namespace the driver speaks of.
        memory: bytes, None where the driver does not say.
        sm: share of the time in which its kernels ran, 0 to 1, over the last interval; None where not known.
    """

    pid: int
    memory: int | None
    sm: float | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one MIG instance.

    Attributes:
        uuid: of the GPU or the instance.
        gpu: its number as the driver counts, ``0``; of an instance ``0/1``: GPU, GPU instance.
        name: product name.
        driver: version of the driver.
        up: False when it was lost, or nobody answers: nothing but this and its XIDs is known then.
        values: what could be read.
        gaps: (metric name without prefix, reason) of what could not.
        processes: of this GPU; None where they cannot be read.
        at: monotonic time of the reading, seconds.
    """

    uuid: str
    gpu: str
    name: str
    driver: str
    up: bool
    values: tuple[GpuValue, ...] = ()
    gaps: tuple[tuple[str, Reason], ...] = ()
    processes: tuple[GpuProcess, ...] | None = ()
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class GpuReport:
    """The last that is known.

    Attributes:
        gpus: each one that was ever seen since the agent started.
        reason: why there are none, or why nothing newer is known; None while all is well.
        words: the same for people.
        pid: of the reading process; None while none runs.
        restarts: how often it was started anew.
        ended_cpu: CPU seconds of those that have ended.
    """

    gpus: tuple[Gpu, ...] = ()
    reason: Reason | None = "no_data"
    words: str = ""
    pid: int | None = None
    restarts: int = 0
    ended_cpu: float = 0.0


class GpuSource(Protocol):
    """Who knows."""

    @property
    def report(self) -> GpuReport:
        """The last report; replaced whole, read from any thread, never waits."""
        ...
