"""How a peer is asked, the same for all of them. Numpy only: it runs in the interpreters of the peers.

``python -m benchmarks.peers.drivers.NAME FOLDER`` reads the worlds of the folder and prints one JSON object: what each
detector of the driver did. A driver is a file with ``DETECTORS`` and ``main(DETECTORS)``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.worlds import STABLE, Kind, Values, World, saved


class Differs(Exception):  # noqa: N818
    """A replica is not what its package does."""


Verdicts = NDArray[np.bool_]
Judge = Callable[[Values], Verdicts]
"""Windows (W, rows, C) -> which columns it calls drifted, (W, C)."""
BLOCK: Final = 12
CHECKED: Final = 3
"""Worlds on which a replica is compared with its package."""
WINDOW: Final = 1_000


@dataclass(frozen=True, slots=True)
class Windowed:
    """A detector that compares a window with the reference and remembers nothing.

    Attributes:
        fit: (reference, kind) -> judge; None for a kind that it cannot look at.
        rows: of a window.
        check: told (reference, windows, kind), says how far a replica equals the package, raises `Differs` if not.
        stable_rows: of the stable frames at most, for slow ones; the rate is what is reported.
    """

    fit: Callable[[Values, Kind], Judge | None]
    rows: int = WINDOW
    check: Callable[[Values, Values, Kind], str] | None = None
    stable_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Sequential:
    """A detector that takes value after value of a numeric column.

    Attributes:
        make: a fresh one; what it gives takes a value and says whether it alarms.
        stable_rows: of the stable frame at most, and no real data, for slow ones.
        before: rows it sees before a shift.
        columns: of each shifted frame.
    """

    make: Callable[[], Callable[[float], bool]]
    stable_rows: int | None = None
    before: int = 10_000
    columns: int | None = None


@dataclass(slots=True)
class Found:
    """What a detector did.

    Attributes:
        alarms: on stable frames by world: [alarms, rows times columns].
        delays: by world, rows from the shift to the first alarm of each column; None where it never came.
        cpu: seconds, of all that.
        checks: what the replica was compared with.
        failed: by world, what it raised instead of an answer.
    """

    alarms: dict[str, list[int]] = field(default_factory=dict)
    delays: dict[str, list[int | None]] = field(default_factory=dict)
    cpu: float = 0.0
    checks: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def each(decide: Callable[[Values], Verdicts | list[bool]]) -> Judge:
    """A judge of many windows from one of a single window."""
    return lambda windows: np.array([decide(w) for w in windows], dtype=np.bool_)


def windowed(detector: Windowed, world: World, found: Found) -> None:
    """One world, window by window."""
    judge = detector.fit(world.reference, world.kind)
    if judge is None:
        return
    windows = world.windows(detector.rows)
    if world.shifts is None:
        windows = windows[: (detector.stable_rows or len(world.live)) // detector.rows]
        alarms = sum(int(judge(windows[i : i + BLOCK]).sum()) for i in range(0, len(windows), BLOCK))
        found.alarms[world.name] = [alarms, windows.size]
    else:
        found.delays[world.name] = window_delays(judge, windows, world.shifts)
    if detector.check is not None and len(found.checks) < CHECKED:
        found.checks.append(f"{world.name}: {detector.check(world.reference, windows[:4], world.kind)}")


def window_delays(judge: Judge, windows: Values, shifts: NDArray[np.int64]) -> list[int | None]:
    """Rows from each shift to the end of the first alarming window that holds shifted rows."""
    rows = windows.shape[1]
    first, own = np.full(len(shifts), -1), shifts // rows
    for i in range(int(own.min()), len(windows), BLOCK):
        over = judge(windows[i : i + BLOCK])
        over &= np.arange(i, i + len(over))[:, None] >= own
        hit = (first < 0) & over.any(0)
        first[hit] = i + over[:, hit].argmax(0)
        if (first >= 0).all():
            break
    return [int((f + 1) * rows - s) if f >= 0 else None for f, s in zip(first, shifts, strict=True)]


def sequential(detector: Sequential, world: World, found: Found) -> None:
    """One world, value by value; detectors start anew by themselves after an alarm."""
    if world.kind == "categorical" or (detector.stable_rows and world.name not in STABLE and world.shifts is None):
        return
    if world.shifts is None:
        rows, alarms = world.live[: detector.stable_rows], 0
        for column in rows.T:
            alarms += sum(map(detector.make(), column[~np.isnan(column)].tolist()))
        found.alarms[world.name] = [alarms, rows.size]
    else:
        pairs = list(zip(world.live.T, world.shifts.tolist(), strict=True))[: detector.columns]
        found.delays[world.name] = [
            delay(detector.make(), column[shift - detector.before :], detector.before) for column, shift in pairs
        ]


def delay(update: Callable[[float], bool], column: Values, before: int) -> int | None:
    """Rows from the shift to the first alarm; missing values cannot be given to it."""
    for i, value in enumerate(column.tolist()):
        if not math.isnan(value) and update(value) and i >= before:
            return i - before + 1
    return None


def measured(detectors: Mapping[str, Windowed | Sequential], folder: pathlib.Path) -> dict[str, Found]:
    """All worlds for all detectors."""
    result = {name: Found() for name in detectors}
    for world in saved(folder):
        for name, detector in detectors.items():
            began = time.process_time()
            try:
                if isinstance(detector, Windowed):
                    windowed(detector, world, result[name])
                else:
                    sequential(detector, world, result[name])
            except Differs:
                raise
            except Exception as error:  # noqa: BLE001 - an answer of the peer
                result[name].failed[world.name] = f"{type(error).__name__}: {error}"
            result[name].cpu += time.process_time() - began
    return result


def printed(found: Mapping[str, Found]) -> None:
    """For the table."""
    print(json.dumps({name: dataclasses.asdict(f) for name, f in found.items()}))


def main(detectors: Mapping[str, Windowed | Sequential]) -> None:
    """What a driver does."""
    warnings.filterwarnings("ignore")
    printed(measured(detectors, pathlib.Path(sys.argv[1])))
