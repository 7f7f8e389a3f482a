"""What becomes of a framed exchange: a timing record, or a copy with its bodies; batched, bounded, never waiting.

Every exchange goes once. Copies are chosen by a sample within a budget of bytes (`_reservoir`); errors go always,
within a quarter of the budget beside it. What the agent does not take waits within a bound; a copy that finds no room
is sent as a record, a record that finds none is counted.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from pilotfish import exchange
from pilotfish_agent.capture._head import OWN
from pilotfish_agent.capture._pending import Holder
from pilotfish_agent.capture._reservoir import Reservoir

BUDGET: Final = 8 << 20
BODY_LIMIT: Final = 1 << 20
LARGEST_BODY: Final = (exchange.MAX_COPY - (128 << 10)) // 2
"""Two of these, two heads and the marks are one copy."""
ERROR_BODY: Final = 64 << 10
"""Bytes of a request kept only because it may become an error."""
IN_FLIGHT: Final = 4 << 20
"""Bytes held for exchanges that are not over, all connections together."""
HEADS: Final = 4 << 20
"""Bytes of heads, whole or not, of exchanges that are not over, all connections together."""
WAITING: Final = 4 << 20
"""Bytes that wait for the agent."""
WINDOW_S: Final = 0.25
"""A window of the sample: short, because its copies are held until it closes."""
WINDOW_BYTES: Final = 4 << 20
FEWEST_S: Final = 0.05  # how often `flush` is called; no window is shorter
ERROR_SHARE: Final = 0.25
LEAST_SHARE: Final = 1 / 64  # of the budget while the agent lags
RECOVERY: Final = 1.25
AT_ONCE: Final = 256 << 10  # copies are framed in such amounts

IN_FLIGHT_FULL, AGENT_SLOW, ERROR_CAP = "bodies_in_flight", "bodies_agent_slow", "bodies_error_cap"
"""Reasons of copies that went as records: no room while they were open, none in the queue, too many errors."""
LOST: Final = "exchanges_agent_slow"
"""Reason of exchanges not told at all: the agent took nothing and the queue was full."""
DROPS: Final = (IN_FLIGHT_FULL, AGENT_SLOW, ERROR_CAP, LOST)
OUTCOMES: Final = (
    "success", "client_error", "server_error", "aborted", "incomplete", "ambiguous", "opaque", "upgraded",
)  # fmt: skip
_BY_FLAG = (
    (exchange.AMBIGUOUS, "ambiguous"), (exchange.OPAQUE, "opaque"), (exchange.INCOMPLETE, "incomplete"),
    (exchange.ABORTED, "aborted"), (exchange.UPGRADED, "upgraded"),
)  # fmt: skip
_FULL: Final = exchange.ROOM - exchange.RECORD.size - exchange.MAX_LINE - 4
_SIZE: Final = exchange.RECORD.size
_pack = exchange.RECORD.pack


class Recorder:
    """Takes finished exchanges and sends them as exchange frames. One thread.

    Args:
        send: gives one frame to the agent without waiting; False when it was refused.
        bodies: ``sampled``, ``all`` or ``none``.
        budget: bytes of copies a second.
        body_limit: bytes kept of one body.
        clock: epoch seconds, stamped into the frames.
        draw: numbers for the sample, uniform in [0, 1).

    Attributes:
        threshold: an exchange whose draw is below it is to be copied; falls and rises within a window.
        keep: bodies are kept at all.
        holder: of the bytes of exchanges that are not over.
        waiting: bytes the agent has not taken yet.
        share: of the budget that is used now; halved while the agent lags.
    """

    def __init__(
        self,
        send: Callable[[bytes], bool],
        *,
        bodies: str = "sampled",
        budget: int = BUDGET,
        body_limit: int = BODY_LIMIT,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.holder = Holder(IN_FLIGHT, HEADS)
        self.draw = draw
        self.threshold = 0.0
        self._send = send
        self._clock = clock
        self._lines: dict[bytes, int] = {}
        self._records: list[bytes] = []
        self._size = exchange.HEADER.size + 2
        self._frames: deque[tuple[bytes, int]] = deque()  # (frame, exchanges that end in it)
        self._copies: deque[tuple[bytes, bytes]] = deque()  # (packed, request line)
        self.waiting = 0
        self._number = random.getrandbits(48)  # of copies: not those of the process before, see `exchange.Part`
        self._lost = self._success = 0
        self._reservoir = Reservoir(self._as_record)
        self.share = 1.0
        self._errors_left = 0.0
        self._window_ends: float | None = None
        self._outcomes = dict.fromkeys(OUTCOMES, 0)
        self._dropped = dict.fromkeys(DROPS, 0)
        self._problems: dict[str, int] = {}
        self.configure(bodies=bodies, budget=budget, body_limit=body_limit)

    def configure(self, *, bodies: str, budget: int, body_limit: int) -> None:
        """Other orders; they hold for exchanges that begin now."""
        self.bodies = bodies
        self.keep = bodies != "none"
        self.budget = budget
        self.body_limit = min(body_limit, LARGEST_BODY)
        self.error_body = min(body_limit, ERROR_BODY)
        self._window_s = max(FEWEST_S, min(WINDOW_S, WINDOW_BYTES / max(budget, 1)))
        self._next_window()

    @property
    def counters(self) -> dict[str, int]:
        """Absolute counts: ``exchanges:OUTCOME``, ``dropped:REASON``, ``framing:REASON``."""
        found = {f"exchanges:{k}": n for k, n in self._outcomes.items()}
        found["exchanges:success"] += self._success
        found |= {f"dropped:{k}": n for k, n in self._dropped.items()}
        return found | {f"framing:{k}": n for k, n in self._problems.items()}

    def problem(self, reason: str) -> None:
        """Counts one problem of framing, see `_head.REASONS`."""
        self._problems[reason] = self._problems.get(reason, 0) + 1

    def wants(self, draw: float, status: int) -> bool:
        """Whether an exchange that drew ``draw`` and ended with ``status`` is copied."""
        return self.keep and (draw < self.threshold or status >= 400)

    def dropped(self, reason: str) -> None:
        """Counts one copy or exchange that was not sent as such, one of `DROPS`."""
        self._dropped[reason] += 1

    def finish(
        self,
        line: bytes,
        started: int,
        duration: int,
        first: int,
        sent: int,
        got: int,
        port: int,
        status: int,
        flags: int,
    ) -> None:
        """One exchange is over and goes as a record: ``METHOD target``, epoch ns, ns, ns or -1, bytes, bytes."""
        if line is OWN:
            return
        index = self._lines.get(line)
        if index is None:
            index = self._lines[line] = len(self._lines)
            self._size += len(line) + 2
        self._records.append(_pack(started, duration, first, sent, got, port, status, index, flags))
        self._size += _SIZE
        if flags or status >= 400:
            self._count(status, flags)
        else:
            self._success += 1
        if self._size > _FULL:
            self._emit()

    def copy(self, line: bytes, packed: bytes, draw: float, status: int, flags: int) -> None:
        """One exchange is over and goes with its bodies, where `wants` said so; ``packed``: by `exchange.pack_said`."""
        if line is OWN:
            return
        if flags or status >= 400:
            self._count(status, flags)
        else:
            self._success += 1
        if status >= 400 or self.bodies == "all":
            if status >= 400 and self.bodies != "all":
                if self._errors_left <= 0:
                    self.dropped(ERROR_CAP)
                    self._as_record(packed, line)
                    return
                self._errors_left -= len(packed)
            self._wait(packed, line)
            if self.waiting > AT_ONCE:
                self._send_waiting()
        elif self._reservoir.add(draw, packed, line):
            self._set_threshold()

    def flush(self, now: float) -> None:
        """Sends what is there; called at least each 50 ms. ``now``: monotonic seconds."""
        if self._records:
            self._emit()
        self._send_waiting()
        if self._window_ends is None:
            self._window_ends = now + self._window_s
        elif now >= self._window_ends:
            self._window_ends = now + self._window_s
            self.share = max(self.share / 2, LEAST_SHARE) if self.waiting else min(self.share * RECOVERY, 1.0)
            self._next_window()
            self._send_waiting()

    def close(self) -> None:
        """The capture ends: what the window kept goes now, as far as the agent takes it."""
        self._next_window()
        if self._records:
            self._emit()
        self._send_waiting()

    def _next_window(self) -> None:
        for _, _, packed, line in self._reservoir.close():
            self._wait(packed, line)
        bytes_ = min(self.budget * self._window_s, WINDOW_BYTES) * self.share
        self._errors_left = min(self._errors_left, 0.0) + bytes_ * ERROR_SHARE
        self._reservoir.open(bytes_)
        self._set_threshold()

    def _set_threshold(self) -> None:
        self.threshold = 0.0 if not self.keep else 2.0 if self.bodies == "all" else self._reservoir.threshold

    def _count(self, status: int, flags: int) -> None:
        by_status = "success" if status < 400 else "client_error" if status < 500 else "server_error"
        self._outcomes[next((outcome for flag, outcome in _BY_FLAG if flags & flag), by_status)] += 1

    def _as_record(self, packed: bytes, line: bytes) -> None:
        """A copy that is not sent as one; it was counted already."""
        record = exchange.RECORD.unpack_from(packed)
        flags = record[8] & ~(exchange.REQUEST_CUT | exchange.RESPONSE_CUT)
        index = self._lines.get(line)
        if index is None:
            index = self._lines[line] = len(self._lines)
            self._size += len(line) + 2
        self._records.append(_pack(*record[:7], index, flags))
        self._size += _SIZE
        if self._size > _FULL:
            self._emit()

    def _emit(self) -> None:
        """Frames the records."""
        frame = exchange.pack_timings(tuple(self._lines), b"".join(self._records), self._clock(), self._lost)
        self._frames.append((frame, len(self._records)))
        self.waiting += len(frame)
        self._lines, self._records, self._size, self._lost = {}, [], exchange.HEADER.size + 2, 0
        while self.waiting > WAITING and self._copies:
            packed, line = self._copies.popleft()
            self.waiting -= len(packed)
            self.dropped(AGENT_SLOW)
            self._as_record(packed, line)
        while self.waiting > WAITING and self._frames:
            frame, rows = self._frames.popleft()
            self.waiting -= len(frame)
            self._dropped[LOST] += rows
            self._lost += rows

    def _wait(self, packed: bytes, line: bytes) -> None:
        if self.waiting + len(packed) > WAITING and self.waiting:
            self.dropped(AGENT_SLOW)
            self._as_record(packed, line)
            return
        self._copies.append((packed, line))
        self.waiting += len(packed)

    def _send_waiting(self) -> None:
        """Until the agent refuses one."""
        while True:
            while self._frames:
                frame = self._frames[0][0]
                if not self._send(frame):
                    return
                self._frames.popleft()
                self.waiting -= len(frame)
            if not self._copies:
                return
            batch: list[tuple[int, bytes]] = []
            size = 0
            while self._copies and size < AT_ONCE:
                packed, _ = self._copies.popleft()
                self._number += 1
                batch.append((self._number, packed))
                size += len(packed)
            frames = list(exchange.pack_copies(batch, self._clock()))
            self.waiting += sum(map(len, frames)) - size
            self._frames.extend((frame, exchange.HEADER.unpack_from(frame)[4]) for frame in frames)
