"""Which streams moved together: changes that began at about the same time are most often one (section 13). Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Final

from pilotfish_agent.drift.latch import Latch
from pilotfish_agent.drift.streams import MODEL, SCORE

TICKS: Final = 5
"""Changes whose first ticks are so close began together."""
SECONDS: Final = 3600.0
"""And were noticed within so long of each other."""
MOST: Final = 50
"""Names kept."""
Latches = Mapping[tuple[int, int], Latch]


def together(latches: Latches) -> dict[tuple[int, int], tuple[str, ...]]:
    """For each latch the other streams that moved with it, those that began nearest first.

    `@model` is all streams, and whether `@score` moved is said apart. Other parts of the same composite stream are
    told as such.
    """
    told = [x.entry for x in latches.values() if x.feature not in (MODEL, SCORE)]
    ordered = sorted((e.tick, e.ts, e.feature, e.part) for e in told)
    ticks = [tick for tick, *_ in ordered]
    found = {}
    for place, latch in latches.items():
        mine = latch.entry
        near = ordered[bisect_left(ticks, mine.tick - TICKS) : bisect_right(ticks, mine.tick + TICKS)]
        others = {
            f"{name}: {part}" if name == mine.feature else name: abs(tick - mine.tick)
            for tick, ts, name, part in near
            if (name, part) != (mine.feature, mine.part) and abs(ts - mine.ts) <= SECONDS
        }
        found[place] = () if latch.feature == MODEL else tuple(sorted(others, key=lambda n: (others[n], n))[:MOST])
    return found
