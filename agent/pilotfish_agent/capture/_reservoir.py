"""Which exchanges are copied: an unbiased sample within a budget of bytes, whatever the exchanges' sizes.

Every exchange draws a number u below 1 when it begins; a window keeps those with u below a threshold. Over budget the
threshold falls to the largest u kept, and that exchange goes. The rule that decides about an exchange adds up the
others with smaller u and never its own size, so that large exchanges are as likely as small ones (adaptive threshold
sampling: Ting, "Adaptive threshold sampling", SIGMOD 2022). What this takes beyond the budget is a debt of the next
window. The threshold depends on no exchange's content, so the share is equal for all that begin and end in the window.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

RISE: Final = 2.0
"""The threshold at most doubles from window to window: what began at a lower one is underrepresented that little."""
PROBE: Final = 1.1
"""After a window with evictions it rises by a tenth, to find out whether traffic fell."""
FLOOR: Final = 1e-9

Item = tuple[float, int, bytes, bytes]
"""(minus u, number, packed copy, request line)."""


class Reservoir:
    """The copies of one window.

    Args:
        evicted: gets the (packed copy, request line) of an exchange that has to go.

    Attributes:
        threshold: of u, now; 0: the window takes nothing.
    """

    def __init__(self, evicted: Callable[[bytes, bytes], None]) -> None:
        self.threshold = 1.0
        self._kept_threshold = 1.0
        self._evicted = evicted
        self._heap: list[Item] = []
        self._bytes = 0
        self._budget = 0.0
        self._shrunk = False
        self._number = 0

    def open(self, budget: float) -> None:
        """Begins a window of ``budget`` bytes, less what the last one overdrew."""
        self._budget = min(self._budget - self._bytes, 0.0) + budget
        self._heap, self._bytes, self._shrunk = [], 0, False
        self.threshold = self._kept_threshold if self._budget > 0 else 0.0

    def add(self, draw: float, copy: bytes, line: bytes) -> bool:
        """An exchange that drew ``draw`` is over; whether the threshold fell."""
        if draw >= self.threshold:
            self._evicted(copy, line)
            return False
        self._number += 1
        item = (-draw, self._number, copy, line)
        self._bytes += len(copy)
        if not self._shrunk:  # no order is needed before the first eviction
            self._heap.append(item)
            if self._bytes <= self._budget:
                return False
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, item)
        fell = False
        while self._bytes - len(self._heap[0][2]) > self._budget:
            top = heapq.heappop(self._heap)
            self._bytes -= len(top[2])
            self.threshold = self._kept_threshold = max(-top[0], FLOOR)
            self._shrunk = fell = True
            self._evicted(top[2], top[3])
        return fell

    def close(self) -> list[Item]:
        """What the window kept, and the next threshold: what would have used the budget."""
        if self.threshold > 0:
            rise = PROBE if self._shrunk else min(RISE, self._budget / self._bytes if self._bytes else RISE)
            self._kept_threshold = min(1.0, self._kept_threshold * max(rise, 1.0))
        kept, self._heap = self._heap, []
        return kept
