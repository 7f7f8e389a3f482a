"""From packed rows to datagrams, without ever waiting in the model's thread.

Observers append rows to schemas and, at a full frame, send it themselves: one non-blocking call for many rows. What the
kernel refuses waits here, within a bound, for a thread that sleeps until the socket is writable. The thread also sends
what has waited for `FLUSH_SECONDS`, and sleeps without a timeout while nothing is observed.
"""

from __future__ import annotations

import _socket as socket  # `socket` itself costs 8 ms of the model's start: enumerations nobody needs here
import errno
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable

from pilotfish import wire
from pilotfish._schema import BODY_BYTES, Schema

FLUSH_SECONDS = 1.0
PROBE_SECONDS = 1.0
RECONNECT_SECONDS = (0.2, 2.0)
"""First and longest time between two attempts while an agent is promised: a restarted one is found at once, and one
that never comes costs next to nothing."""
EXIT_SECONDS = 0.2
MAX_BYTES = 8 << 20
"""Of frames that wait for the socket: 10 s of 5,000 rows/s with 16 features; never more of the model's memory."""
WAITING_ROWS = 1_000
"""Newest rows kept while there is no socket yet."""
SEND_BUFFER = 1 << 20

_SENDERS: weakref.WeakSet[Sender] = weakref.WeakSet()
_HOOKED: list[bool] = []


class Sender:
    """The rows of one `Monitor` on their way to the agent.

    Args:
        model: UTF-8 of the model's name, empty for the agent's own; version: of its version, empty when unknown.
        find: gives the paths of sockets to try, best first.
        waits: an agent is promised (`PILOTFISH_SOCKET` is set): the newest rows wait for its socket.

    Attributes:
        off: no agent is there, nothing is to be done; see `probe`.
        parked: the thread sleeps (or was never started) and wants to be told of the next row.
    """

    def __init__(self, model: bytes, version: bytes, find: Callable[[], Iterable[str]], *, waits: bool) -> None:
        self._model = model
        self._version = version
        self._find = find
        self._waits = waits
        self.schemas: list[Schema] = []
        self.closed = False
        self._socket: socket.socket | None = None
        self._reset()
        _SENDERS.add(self)
        if not _HOOKED:  # once a process, and only where a monitor is made: importing does nothing
            _HOOKED.append(True)
            os.register_at_fork(after_in_child=_after_fork)

    def _reset(self) -> None:
        self.off = self.closed or not self._waits
        self.parked = True
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._pushed: deque[tuple[bytes, int]] = deque()  # for whoever holds the lock
        self._pushed_bytes = 0
        self._pending: deque[tuple[bytes, int]] = deque()
        self._pending_bytes = 0
        self._pending_rows = 0
        self._blocked = False
        self._next_connect = 0.0
        self._retry = RECONNECT_SECONDS[0]
        self.lost = 0

    def forked(self) -> None:
        """In the child: the rows are the parent's to send; a lock may be held by a thread that is not here."""
        for schema in self.schemas:
            schema.rows.clear()
        self._disconnect()
        self._reset()

    def probe(self) -> bool:
        """Whether an agent is there by now; looks at most once in `PROBE_SECONDS`."""
        if self.closed or time.monotonic() < self._next_connect or not self._lock.acquire(blocking=False):
            return False
        try:
            self.off = not self._connect()
            return not self.off
        finally:
            self._lock.release()

    def turn(self, schema: Schema) -> None:
        """Called by an observer after its row when a frame is full or the thread is parked; never waits."""
        try:
            if schema.retired and schema not in self.schemas:  # it was given up while the row was on its way
                self.schemas.append(schema)
            if self.parked:
                self._unpark()
            if self._lock.acquire(blocking=False):
                try:
                    if any(len(schema.rows) >= schema.limit for schema in self.schemas):
                        self._collect()
                        if not self._blocked:
                            self._send()
                finally:
                    self._lock.release()
        except Exception:  # noqa: BLE001, S110 - never into the model; its row is taken, the next turn sends it
            pass

    def push(self, bodies: Iterable[tuple[bytes, int]]) -> None:
        """Takes packed sections (with their rows) that need no more collecting; never waits.

        The lock may be held by this very thread, where a signal handler or finalizer has interrupted the sender.
        """
        for body, rows in bodies:
            size = len(body)
            if body and self._pushed_bytes + size <= MAX_BYTES:
                self._pushed_bytes += size  # threads may get in between: a bound, not an account
                self._pushed.append((body, rows))
            else:
                self.lost += rows
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
                self._send()
            finally:
                self._lock.release()
        if self.parked:
            self._unpark()

    def flush(self, timeout: float) -> bool:
        """Sends all there is; False when something still waits after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if not self._lock.acquire(timeout=max(0.0, left)):
                return False
            try:
                self._collect()
                self._send()
                if not self._pending:
                    return True
            finally:
                self._lock.release()
            if left <= 0 or self.off:
                return False
            self._wait(min(left, 0.01) if self._socket is None else left)

    def close(self, timeout: float = EXIT_SECONDS) -> None:
        """Flushes and ends the thread."""
        if self.closed:
            return
        if not self.off:
            self.flush(timeout)
        self.closed = self.off = True
        self._wake.set()
        if self._lock.acquire(timeout=timeout):  # not while the thread sends: the number may be the model's next file
            try:
                self._disconnect()
            finally:
                self._lock.release()

    def _disconnect(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def retire(self, schemas: Iterable[Schema]) -> None:
        """Forgets schemas, each once its rows are on their way; never waits."""
        for schema in schemas:
            schema.retire()
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self._lock.release()

    def _unpark(self) -> None:
        self.parked = False
        if self._thread is not None:
            self._wake.set()
        elif self._starting.acquire(blocking=False):  # else another observer starts it right now
            try:
                self._start()
            finally:
                self._starting.release()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="pilotfish", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had (limits, or the interpreter ends): the next row tries again
            self._thread = None
            self.parked = True

    def _run(self) -> None:
        """The thread: sends what has waited, waits for the socket, parks when there is nothing."""
        while not self.closed:
            try:
                self._round()
            except Exception:  # noqa: BLE001 - no traceback of ours on the model's stderr; the next round tries again
                time.sleep(FLUSH_SECONDS)

    def _round(self) -> None:
        self._wait(FLUSH_SECONDS)
        self._wake.clear()
        with self._lock:
            self._collect()
            idle = not self._send() and not self._pending
            self._blocked = bool(self._pending)
        if idle:
            self.parked = True
            # whoever comes from here on sees `parked` and wakes us; whoever came before is seen here
            if not self._wanted():
                self._wake.wait()
            self.parked = False

    def _wanted(self) -> bool:
        return self.closed or bool(self._pushed) or any(schema.rows for schema in self.schemas)

    def _wait(self, seconds: float) -> None:
        connection = self._socket
        if self._pending and connection is not None:
            poller = select.poll()
            try:
                poller.register(connection, select.POLLOUT)
                poller.poll(seconds * 1000)
            except (OSError, ValueError):  # closed meanwhile
                time.sleep(min(seconds, 0.01))
        else:
            self._wake.wait(min(seconds, self._retry) if self._pending else seconds)

    def _collect(self) -> None:
        """Turns the schemas' rows into frame bodies; the lock is held."""
        parts: list[bytes] = []
        size = count = 0
        for schema in list(self.schemas):
            ready = len(schema.rows)
            if not ready:
                if schema.retired:
                    self.schemas.remove(schema)
                    if schema.rows:  # added meanwhile: its observer may have found the schema still here
                        self.schemas.append(schema)
                continue
            rows = schema.rows[:ready]
            del schema.rows[:ready]  # rows appended meanwhile stand behind these
            for packed, n in schema.sections(rows):
                if not packed:
                    self.lost += n
                    continue
                if size + len(packed) > BODY_BYTES:
                    self._keep(b"".join(parts), count)
                    parts, size, count = [], 0, 0
                parts.append(packed)
                size, count = size + len(packed), count + n
        if parts:
            self._keep(b"".join(parts), count)
        while self._pushed:
            self._keep(*self._pushed.popleft())
        self._pushed_bytes = 0

    def _keep(self, body: bytes, rows: int) -> None:
        self._pending.append((body, rows))
        self._pending_bytes += len(body)
        self._pending_rows += rows
        limit = WAITING_ROWS if self._socket is None else self._pending_rows
        while self._pending_bytes > MAX_BYTES or self._pending_rows - self._pending[0][1] >= limit:
            self.lost += self._drop()

    def _drop(self) -> int:
        body, rows = self._pending.popleft()
        self._pending_bytes -= len(body)
        self._pending_rows -= rows
        return rows

    def _send(self) -> bool:
        """Sends frames until the kernel refuses; True when at least one went; the lock is held."""
        sent = False
        while self._pending and not self.off and (self._socket is not None or self._connect()):
            body, rows = self._pending[0]
            lost = self.lost
            header = wire.pack_header(0, lost, rows, time.time(), self._model, self._version)
            try:
                assert self._socket is not None
                self._socket.sendmsg((header, body))
            except (BlockingIOError, InterruptedError):
                self._refused()
                break
            except OSError as error:
                self._failed(error)
                break
            self.lost -= min(lost, 0xFFFFFFFF)
            self._drop()
            sent = True
        return sent

    def _refused(self) -> None:
        """The queue is full: the thread polls until it is not."""
        if not self._blocked:
            self._blocked = True
            self._wake.set()

    def _failed(self, error: OSError) -> None:
        if error.errno == errno.EMSGSIZE:
            self.lost += self._drop()
            return
        self._disconnect()
        self._next_connect, self._retry = 0.0, RECONNECT_SECONDS[0]
        if not self._waits:  # the agent that was found is gone: as if there had never been one
            self.off = True
            while self._pending:
                self.lost += self._drop()

    def _connect(self) -> bool:
        now = time.monotonic()
        if self.closed or now < self._next_connect:
            return False
        self._next_connect = now + (self._retry if self._waits else PROBE_SECONDS)
        self._retry = min(1.5 * self._retry, RECONNECT_SECONDS[1])
        for path in self._find():
            connection: socket.socket | None = None
            try:  # the model may have used up its descriptors, too
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                connection.setblocking(False)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
                connection.connect(path)
            except (OSError, TypeError):  # TypeError: what was given as `socket` is no path
                if connection is not None:
                    connection.close()
            else:
                self._socket = connection
                return True
        return False


def _after_fork() -> None:
    for sender in list(_SENDERS):
        sender.forked()
