"""The distances that are gauges: those of `drift/tests/` that work on counts, on the window of all streams at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tested import Tested
from pilotfish_agent.drift.tests._part import PACKAGE, Bins
from pilotfish_agent.drift.window import MIN_ROWS, Window
from pilotfish_core import registry


@cache
def known() -> dict[str, ModuleType]:
    """The parts that may be gauges, by name."""
    return {name: module for name, module in registry.parts(PACKAGE) if hasattr(module, "distances")}


def names(value: Any) -> tuple[str, ...]:
    """A parser for `drift.distances`."""
    if isinstance(value, str):  # of a variable or a flag
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v in known() for v in value):
        raise ValueError(f"a list of some of {', '.join(known())}")
    return tuple(dict.fromkeys(value))


def of_window(streams: Tested, window: Window, wanted: Sequence[str]) -> Iterator[tuple[str, Floats]]:
    """(name, distances (F,)) of each that is wanted; NaN below 200 effective rows."""
    if not wanted or not streams.streams:
        return
    rows, sizes = window.effective(), np.diff(streams.offsets)
    place = np.arange(streams.width) - np.repeat(streams.offsets[:-1], sizes)
    ordered = place < np.repeat([len(s.counts) - len(s.special) if s.special else 0 for s in streams.streams], sizes)
    # Counts without their season may be less than nothing in an hour that usually is fuller.
    current = np.maximum(window.counts.astype(np.float64), 0.0)
    bins = Bins(streams.flat.astype(np.float64), current, streams.offsets[:-1], rows, ordered)
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in wanted:
            yield name, np.where(rows >= MIN_ROWS, known()[name].distances(bins), np.nan)
