"""A few raw values of streams in which something is going on: what hints are tested on. Bounded, never told. Pure.

Detection needs counts only. Whether a value froze or a unit changed is seen in values, so the first rows of each tick
are at hand until it closes, and those of streams that are not calm are kept for a while.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from typing import Final, NamedTuple, Protocol

import numpy as np

from pilotfish_agent.windows.binning import floats
from pilotfish_core.nouns import Column

TICK_ROWS: Final = 256
"""Rows of one tick and sender that are at hand."""
SENDERS: Final = 8
KEPT: Final = 2_048
"""Values kept a stream: a geometric mean to 2 % where values spread by a factor of e."""
KEPT_ALL: Final = 1 << 18
"""Values kept of all streams together: 2 MiB, when the whole of a wide model changes."""


class Block(NamedTuple):
    """Values of one tick, sender and stream."""

    tick: int
    sender: str
    stratum: int
    values: Column


class Sample(Protocol):
    """The first rows of the tick that has just closed."""

    def __call__(self, names: Container[str], /) -> Iterable[tuple[str, dict[str, Column]]]:
        """(sender, columns of the streams ``names``)."""


def first(column: Column, rows: slice = slice(TICK_ROWS)) -> Column:
    """Some rows of a column, and nothing that keeps the others alive."""
    part = column[rows]
    return part if isinstance(part, list | tuple) else np.array(part)


class Raw:
    """Values of the streams that are not calm."""

    def __init__(self) -> None:
        self._blocks: dict[str, deque[Block]] = {}

    def keep(self, names: Container[str]) -> None:
        """Forgets all streams but these."""
        for name in [n for n in self._blocks if n not in names]:
            del self._blocks[name]

    def add(self, names: Container[str], sample: Sample, tick: int, stratum: int = 0) -> None:
        """Takes the sample of a tick."""
        for sender, columns in sample(names):
            for name, column in columns.items():
                if name in names:  # predictions come along
                    self._blocks.setdefault(name, deque()).append(Block(tick, sender, stratum, first(column)))
        most = min(KEPT, max(KEPT_ALL // max(len(self._blocks), 1), TICK_ROWS))
        for blocks in self._blocks.values():
            total = sum(len(b.values) for b in blocks)
            while total > most:
                total -= len(blocks.popleft().values)

    def blocks(self, name: str, tick: int) -> list[Block]:
        """Those of a stream from a tick on."""
        return [b for b in self._blocks.get(name, ()) if b.tick >= tick]


def numbers(blocks: Iterable[Block]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The finite values of a numeric stream's blocks."""
    parts = [floats(b.values) for b in blocks]
    values = np.concatenate(parts) if parts else np.empty(0)
    return values[np.isfinite(values)]


def texts(blocks: Iterable[Block]) -> list[str]:
    """The values of a categorical stream's blocks that are texts."""
    return [v for b in blocks for v in b.values if isinstance(v, str)]
