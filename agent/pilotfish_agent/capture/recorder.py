"""What becomes of a framed exchange: a timing record, or a copy with its bodies; batched, bounded, never waiting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from pilotfish import exchange

BUDGET = 8 << 20
BODY_LIMIT = 1 << 20
SUCCESS, CLIENT_ERROR, SERVER_ERROR = "success", "client_error", "server_error"
_FULL = exchange.ROOM - exchange.RECORD.size - exchange.MAX_LINE - 4
_pack = exchange.RECORD.pack
_SIZE = exchange.RECORD.size


class Recorder:
    """Takes finished exchanges and sends them as exchange frames.

    Args:
        send: gives one frame to the agent; False when it was refused.
        bodies: ``sampled``, ``all`` or ``none``.
        budget: bytes of copies a second.
        body_limit: bytes kept of one body.
        clock: epoch seconds, stamped into the frames.
    """

    def __init__(
        self,
        send: Callable[[bytes], bool],
        *,
        bodies: str = "sampled",
        budget: int = BUDGET,
        body_limit: int = BODY_LIMIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.bodies = bodies
        self.budget = budget
        self.body_limit = body_limit
        self._send = send
        self._clock = clock
        self._lines: dict[bytes, int] = {}
        self._records: list[bytes] = []
        self._size = 0
        self._queue: deque[bytes] = deque()
        self._problems: dict[str, int] = {}
        self._outcomes: dict[str, int] = {}
        self._dropped: dict[str, int] = {}

    @property
    def counters(self) -> dict[str, int]:
        """Absolute counts: ``exchanges:OUTCOME``, ``dropped:REASON``, ``framing:REASON``."""
        found = {f"exchanges:{k}": n for k, n in self._outcomes.items()}
        found |= {f"dropped:{k}": n for k, n in self._dropped.items()}
        return found | {f"framing:{k}": n for k, n in self._problems.items()}

    def problem(self, reason: str) -> None:
        """Counts one problem of framing."""
        self._problems[reason] = self._problems.get(reason, 0) + 1

    def finish(
        self,
        line: bytes,
        started: int,
        ended: int,
        first: int,
        sent: int,
        got: int,
        port: int,
        status: int,
        flags: int,
    ) -> None:
        """One exchange is over; times are epoch ns, ``first`` ns since the start or -1."""
        index = self._lines.get(line)
        if index is None:
            index = self._lines[line] = len(self._lines)
            self._size += len(line) + 2
        self._records.append(_pack(started, ended - started, first, sent, got, port, status, index, flags))
        self._size += _SIZE
        outcome = SUCCESS if status < 400 else CLIENT_ERROR if status < 500 else SERVER_ERROR
        self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        if self._size > _FULL:
            self._emit()

    def flush(self, now: float) -> None:
        """Sends what is there; called at least each 50 ms. ``now``: monotonic seconds."""
        if self._records:
            self._emit()
        while self._queue and self._send(self._queue[0]):
            self._queue.popleft()

    def _emit(self) -> None:
        self._queue.append(exchange.pack_timings(tuple(self._lines), b"".join(self._records), self._clock()))
        self._lines, self._records, self._size = {}, [], 0
