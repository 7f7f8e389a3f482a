"""A real capture process in relay mode, started as the agent starts it, with the agent's two ends in this process."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from pilotfish import exchange
from pilotfish_agent.capture.control import Orders, RelayOrders, Report

ROOT = pathlib.Path(__file__).parents[2]
MAIN = ROOT / "agent" / "pilotfish_agent" / "__main__.py"
PATIENCE = 20.0


def until(what: Callable[[], object], why: str) -> None:
    """Waits for something that must come; how long it takes is no matter here."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s for: {why}"
        time.sleep(0.005)


def free_port(family: int = socket.AF_INET) -> int:
    """A TCP port of loopback that nobody has."""
    with socket.socket(family) as probe:
        probe.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RelayBox:
    """One capture process; a context manager.

    Args:
        upstream: the model's port.
        listen: where the relay listens; empty: a free port of 127.0.0.1.
        relay: more of `RelayOrders`.
        descriptors: the process may have; 0: as we.
        keep: frames are unpacked; else they are only counted, which costs next to nothing.
        orders: more of `Orders`.

    Attributes:
        port: of the relay.
        report: the last heartbeat.
        rows: exchanges that came in frames.
        records: (request line, record) of every timing and copy that came.
        copies: the whole ones.
    """

    def __init__(
        self,
        upstream: int,
        *,
        listen: str = "",
        relay: dict[str, str] | None = None,
        descriptors: int = 0,
        keep: bool = True,
        **orders: object,
    ) -> None:
        self._descriptors = descriptors
        self._keep = keep
        self.rows = 0
        self._folder = tempfile.TemporaryDirectory(prefix="pfrelay")
        address = listen or f"127.0.0.1:{free_port()}"
        self.port = int(address.rpartition(":")[2])
        self.report: Report | None = None
        self.reports = 0
        self.records: list[tuple[bytes, exchange.Record]] = []
        self.copies: list[exchange.Copy] = []
        self._noise = pathlib.Path(self._folder.name) / "stderr"
        self._parts: dict[tuple[int, int], bytearray] = {}
        intake = str(pathlib.Path(self._folder.name) / "intake.sock")
        self._intake = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._intake.bind(intake)
        more = RelayOrders(listen=address, **(relay or {}))
        self.orders = Orders(
            mode="relay",
            ports=(upstream,),
            intake=intake,
            relay=more,
            path=tuple(p for p in sys.path if p),
            **orders,  # type: ignore[arg-type]
        )
        self._control: socket.socket
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Starts a process with the same orders."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-I", str(MAIN), "capture", str(theirs.fileno())]
        if self._descriptors:
            command = ["sh", "-c", f'ulimit -n {self._descriptors}; exec "$@"', "sh", *command]
        with open(self._noise, "ab") as noise:
            self.process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), stderr=noise)
        theirs.close()
        self._control.send(self.orders.to_bytes())
        threading.Thread(target=self._take_reports, args=(self._control,), daemon=True).start()

    def __enter__(self) -> Self:
        self.start()
        threading.Thread(target=self._take_frames, daemon=True).start()
        until(lambda: self.report is not None or self.process.poll() is not None, "a heartbeat")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._intake.shutdown(socket.SHUT_RDWR)  # wakes its thread
        self._intake.close()
        self._folder.cleanup()

    def stop(self) -> int:
        """Ends it as the agent does; the exit code."""
        if self._control.fileno() >= 0:
            self._control.shutdown(socket.SHUT_RDWR)  # wakes its thread as well
            self._control.close()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def kill(self) -> None:
        """``kill -9``; `start` brings another one."""
        self.process.kill()
        self.process.wait()
        self._control.close()

    def noise(self) -> str:
        """What it wrote to stderr."""
        return self._noise.read_text(encoding="utf-8", errors="replace")

    def tell(self, orders: Orders) -> None:
        """New orders."""
        self._control.send(orders.to_bytes())

    def counter(self, name: str) -> int:
        """One of the last heartbeat's."""
        return self.report.counters.get(name, 0) if self.report else 0

    def beaten(self) -> None:
        """Waits for a heartbeat that was made after this call."""
        seen = self.reports
        until(lambda: self.reports >= seen + 2, "two heartbeats")

    def lines(self) -> list[str]:
        """The request lines with their status, as they were reported."""
        return [f"{line.decode('latin-1')} {record.status}" for line, record in list(self.records)]

    def _take_reports(self, control: socket.socket) -> None:
        while True:
            try:
                data = control.recv(1 << 16)
            except OSError:
                return
            if not data:
                return
            self.report = Report.from_bytes(data)
            self.reports += 1

    def _take_frames(self) -> None:
        while True:
            try:
                data = self._intake.recv(1 << 17)
            except OSError:
                return
            if not data:
                return
            self.rows += exchange.HEADER.unpack_from(data)[4]
            if not self._keep:
                continue
            frame = exchange.unpack(data)
            if isinstance(frame, exchange.Timings):
                for values in exchange.RECORD.iter_unpack(frame.records):
                    record = exchange.Record(*values)
                    self.records.append((frame.lines[record.line], record))
            elif isinstance(frame, exchange.Copies):
                for part in frame.parts:
                    self._take_part(part)

    def _take_part(self, part: exchange.Part) -> None:
        held = self._parts.setdefault((part.copy, part.total), bytearray())
        held += part.data
        if len(held) == part.total:
            copy = exchange.unpack_copy(bytes(self._parts.pop((part.copy, part.total))))
            line = b" ".join(copy.request_head.split(b"\r\n", 1)[0].split(b" ")[:2])
            self.copies.append(copy)
            self.records.append((line, copy.record))


@contextmanager
def server(handle: Callable[[socket.socket], object], *, family: int = socket.AF_INET) -> Iterator[int]:
    """A TCP server whose ``handle`` gets each connection in a thread of its own; gives its port."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with socket.create_server((host, 0), family=family, backlog=1_024) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_one, args=(connection,), daemon=True).start()

        def _one(connection: socket.socket) -> None:
            with connection:
                try:
                    handle(connection)
                except OSError:
                    pass  # the client is gone

        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept


class Stage:
    """One relay for many tests, before a server that does what each of them wants."""

    def __init__(self, box: RelayBox) -> None:
        self._box = box
        self._handle: Callable[[socket.socket], object] = lambda _: None

    @contextmanager
    def play(self, handle: Callable[[socket.socket], object]) -> Iterator[RelayBox]:
        """The server behaves like this for now."""
        self._handle = handle
        yield self._box

    def __call__(self, connection: socket.socket) -> None:
        self._handle(connection)

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Stage]:
        """A stage with its own server and relay."""
        made: list[Stage] = []

        def play(connection: socket.socket) -> None:
            made[0](connection)

        with server(play) as port, RelayBox(port) as box:
            made.append(cls(box))
            yield made[0]


def everything(connection: socket.socket) -> bytes:
    """Reads to the end of bytes."""
    found = bytearray()
    while data := connection.recv(1 << 16):
        found += data
    return bytes(found)


def exactly(connection: socket.socket, size: int) -> bytes:
    """Reads ``size`` bytes, or fewer at the end of bytes."""
    found = bytearray()
    while len(found) < size and (data := connection.recv(size - len(found))):
        found += data
    return bytes(found)


def closes_with(connection: socket.socket) -> str:
    """How the other end leaves: ``end`` (FIN) or ``reset`` (RST)."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        return "reset"
    return "end"
