"""The agent's socket: one thread that does nothing but take datagrams from the kernel, which queues only eleven.

Decoding happens in `drain` and `exchanges`, in the caller's thread. What waits in between is bounded by bytes; the
oldest goes first.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable

from pilotfish import exchange, wire
from pilotfish_agent import old_socket
from pilotfish_agent.intake import columns
from pilotfish_agent.intake.exchanges import CUT, Assembly, Captured
from pilotfish_agent.launch.values import group_id
from pilotfish_core.errors import PilotfishError, UnavailableError
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Metric, Sample
from pilotfish_core.nouns import ObservationBatch

MAX_BYTES = 16 << 20
"""Of datagrams that wait for `drain`: 1 s of 100,000 rows/s with 16 features."""
HURRY = 0.25
"""Share of it from which somebody should drain soon."""
FRAME_OVERHEAD = 192  # what a small datagram costs in memory beside its bytes: objects, list slot
RECEIVE_BUFFER = 4 << 20
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_TOLD = socket.CMSG_SPACE(_CREDENTIALS.size)
AT_ONCE = 4_096
"""Datagrams taken in one go: more than any kernel queues, and an end where senders are as fast as we are."""

OBSERVATIONS = Metric(
    "pilotfish_observations_total",
    "counter",
    "Prediction events received by source; compare its rate with the model's requests to see what is not reported.",
    ("source",),
)
DROPPED = Metric(
    "pilotfish_capture_dropped_total",
    "counter",
    "Rows, exchanges or frames not used, by reason: sdk_buffer = rows the sender lost before they reached the socket, "
    "intake_buffer = rows the agent had no room for, frame_* = datagrams that are no frames, exchanges_* = exchanges "
    "that are missing in the requests, bodies_* and copy_* = exchanges whose bodies were not read (they are counted).",
    ("reason",),
)
METRICS = (OBSERVATIONS, DROPPED)
REASONS = ("sdk_buffer", "intake_buffer", "frame_too_large", *wire.REASONS, CUT)

BAD_FRAME = Event("intake_bad_frame", "warning", "A datagram on the intake socket is no frame and was passed over")
OVERFLOW = Event("intake_overflow", "warning", "The intake's buffer is full, the oldest rows were dropped")
SOCKET_FAILED = Event("intake_socket_failed", "error", "The intake socket failed; the SDK's rows cannot be received")
EVENTS = (BAD_FRAME, OVERFLOW, SOCKET_FAILED)


class Intake:
    """Receives frames and gives them out as batches.

    Args:
        path: of the socket to make; a stale one is replaced.
        group: name or number of the group that may send as well; None: this user only.
        events: where bad frames are told.
        max_bytes: of what waits for `drain`; the oldest datagrams go first.

    Attributes:
        group: as given; may be set until `start`.
        hurry: called, from the thread, when much waits for `drain`; may be set until `start`.
        listening: the socket is there and the thread drains it.
    """

    def __init__(self, path: str, *, group: str | None = None, events: Events, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self.listening = False
        self.group = group
        self.hurry: Callable[[], object] | None = None
        self._hurried = False
        self._max_bytes = max_bytes
        self._events = events
        self._lock = threading.Lock()
        self._frames: deque[tuple[int, bytes]] = deque()
        self._captured: list[bytes] = []
        self._assembly = Assembly()
        self._bytes = 0
        self._observations = dict.fromkeys(wire.SOURCES, 0)
        self._dropped: dict[str, int] = {"sdk_buffer": 0, "intake_buffer": 0}
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._stopper: tuple[int, int] | None = None

    def start(self) -> None:
        """Makes the socket and starts the thread.

        Raises:
            UnavailableError: when the socket cannot be made.
            UsageError: there is no such group.
        """
        self._socket = _bind(self.path, self.group)
        self._stopper = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.listening = True
        self._thread = threading.Thread(target=self._run, name="pf-intake", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Takes in what the kernel still holds, ends the thread and removes the socket; `drain` still works."""
        if self._thread is None or self._stopper is None or self._socket is None:
            return
        os.write(self._stopper[1], b"x")
        self._thread.join()
        self.listening = False
        for fd in self._stopper:
            os.close(fd)
        self._socket.close()
        self._thread = self._socket = self._stopper = None
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass  # somebody cleaned up before us

    def drain(self) -> list[ObservationBatch]:
        """All rows sent since the last call, one batch a schema; safe from any one thread at a time."""
        frames, senders = [], []
        lost = 0
        for sender, data in self._waiting():
            try:
                frame = wire.decode(data)
            except wire.FrameError as error:
                self._bad(error.reason, str(error))
                continue
            lost += frame.lost
            frames.append(frame)
            senders.append(sender)
        made, errors = columns.batches(frames, senders)
        for wrong in errors:
            self._bad(wrong.reason, str(wrong))
        with self._lock:
            self._dropped["sdk_buffer"] += lost
            for batch in made:
                self._observations[batch.source] += batch.rows
        return made

    def exchanges(self, now: float) -> Captured:
        """All that pf-capture has seen and that `drain` found since the last call; ``now``: monotonic seconds."""
        captured, self._captured = self._captured, []
        for data in captured:
            try:
                self._assembly.add(data, now)
            except wire.FrameError as error:
                self._bad(error.reason, str(error))
        found = self._assembly.take(now)
        if self._assembly.cut:
            with self._lock:
                self._dropped[CUT] = self._assembly.cut
        return found

    def _waiting(self) -> list[tuple[int, bytes]]:
        """(sender, frame of rows) that wait; those of exchanges are put aside for `exchanges`."""
        if self._socket is not None:
            self._take_all(self._socket)
        with self._lock:
            waiting, self._frames, self._bytes = self._frames, deque(), 0
            self._hurried = False
        self._captured += [data for _, data in waiting if data[:2] == exchange.MAGIC]
        return [(sender, data) for sender, data in waiting if data[:2] != exchange.MAGIC]

    def samples(self) -> Iterable[Sample]:
        """The counters of this part."""
        with self._lock:
            seen = [(s, n) for s, n in self._observations.items() if n or s == "sdk"]
            dropped = list(self._dropped.items())
        yield from (Sample(OBSERVATIONS, (source,), float(n)) for source, n in seen)
        yield from (Sample(DROPPED, (reason,), float(n)) for reason, n in dropped)

    def _bad(self, reason: str, detail: str) -> None:
        with self._lock:
            self._dropped[reason] = self._dropped.get(reason, 0) + 1
        self._events.emit(BAD_FRAME, reason=reason, detail=detail)

    def _run(self) -> None:
        connection, stopper = self._socket, self._stopper
        assert connection is not None
        assert stopper is not None
        poller = select.poll()
        poller.register(connection, select.POLLIN)
        poller.register(stopper[0], select.POLLIN)
        stopping = False
        try:
            while not stopping:
                stopping = any(fd == stopper[0] for fd, _ in poller.poll())
                self._take_all(connection)
                if self.hurry is not None and not self._hurried and self._bytes > HURRY * self._max_bytes:
                    self._hurried = True
                    self.hurry()
        except OSError as error:
            self.listening = False
            self._events.emit(SOCKET_FAILED, path=self.path, error=str(error))

    def _take_all(self, connection: socket.socket) -> None:
        for _ in range(AT_ONCE):
            with self._lock:  # taken from the kernel and kept in one step: `drain` misses nothing in between
                try:
                    data, told, _, _ = connection.recvmsg(wire.MAX_FRAME + 1, _TOLD)
                except BlockingIOError:
                    return
                fits = len(data) <= wire.MAX_FRAME
                dropped = self._keep(_sender(told), data) if fits else 0
            if not fits:
                self._bad("frame_too_large", f"more than {wire.MAX_FRAME} bytes")
            if dropped:
                self._events.emit(OVERFLOW, rows=dropped)

    def _keep(self, sender: int, data: bytes) -> int:
        """Keeps a datagram; the rows of old ones that had to go. The lock is held."""
        rows = 0
        self._frames.append((sender, data))
        self._bytes += len(data) + FRAME_OVERHEAD
        while self._bytes > self._max_bytes:
            _, old = self._frames.popleft()
            self._bytes -= len(old) + FRAME_OVERHEAD
            held, lost = wire.counts_of(old)
            rows += held or exchange.counts_of(old)
            self._dropped["sdk_buffer"] += lost
        self._dropped["intake_buffer"] += rows
        return rows


def _sender(told: list[tuple[int, int, bytes]]) -> int:
    """The process that sent a datagram, as the kernel says; 0 where it is in no namespace of ours."""
    for level, kind, data in told:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
            return int(_CREDENTIALS.unpack_from(data)[0])
    return 0


def _bind(path: str, group: str | None) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        old_socket.remove(path, "intake socket")
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        made.bind(path)
        if group:
            os.chown(path, -1, group_id(group))
        os.chmod(path, 0o660 if group else 0o600)
    except OSError as error:
        made.close()
        todo = "choose a runtime folder that this user may write, with a shorter path"
        raise UnavailableError(f"intake socket {path}: {error.strerror or error}", todo=todo) from error
    except PilotfishError:
        made.close()
        raise
    return made
