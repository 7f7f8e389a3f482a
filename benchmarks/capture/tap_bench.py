"""What the rows of the tap share: nginx, a pf-capture of its own, who takes its frames, and an open-loop generator.

The generator is a process: ``python -m benchmarks.capture.tap_bench HOST:PORT RATE SECONDS OUT`` sends requests at the
times of a Poisson process over 64 connections and writes (scheduled, latency) in seconds as doubles to OUT. Latency
counts from the scheduled time: a server that stalls is not spared by a client that waits for it.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator

from pilotfish import exchange
from pilotfish_agent.capture.control import Orders, Report

CONNECTIONS = 64
BODY = b'{"instances":[[' + b",".join(b"%.5f" % (i * 0.01337) for i in range(100)) + b"]]}"
ANSWER = '{"predictions":[' + ",".join(f"{i * 0.00037:.5f}" for i in range(120)) + "]}"
REQUEST = (
    b"POST /v1/models/m:predict HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
ROOT = pathlib.Path(__file__).parents[2]
_RING_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ .* socket:\[")


def free_port() -> int:
    """A TCP port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def wait_for(port: int) -> None:
    """Until somebody listens there."""
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on port {port}")
        time.sleep(0.02)


@contextlib.contextmanager
def process(*words: str, quiet: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended at the end."""
    out = subprocess.DEVNULL if quiet else None
    running = subprocess.Popen(words, stdout=out, stderr=out, cwd=ROOT)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(5)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextlib.contextmanager
def nginx(locations: str) -> Iterator[int]:
    """Nginx with one worker and these locations; gives its port."""
    if shutil.which("nginx") is None:
        raise FileNotFoundError("nginx is not installed: apt-get install nginx-light (or make system-deps)")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pf-nginx-") as folder:
        os.chmod(folder, 0o755)
        temporary = "".join(
            f"{n}_temp_path {folder}/{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = pathlib.Path(folder) / "nginx.conf"
        config.write_text(
            f"worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error;"
            "events { worker_connections 4096; }"
            f"http {{ access_log off; keepalive_requests 100000000; client_body_buffer_size 64k; {temporary}"
            f"server {{ listen 127.0.0.1:{port} backlog=1024; default_type application/json; {locations} }} }}",
            encoding="utf-8",
        )
        with process("nginx", "-c", str(config)):
            wait_for(port)
            yield port


class Receiver:
    """Takes what pf-capture sends, as the agent's intake does: at once, decoded by `exchange.unpack`.

    Attributes:
        records: of timings; copies count as one each.
        frames: as they came, when `keep`.
    """

    def __init__(self, path: str, *, keep: bool = False) -> None:
        self.path, self.records, self.frames = path, 0, list[bytes]()
        self._keep = keep
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(path)
        self._socket.settimeout(0.2)
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop:
            try:
                data = self._socket.recv(1 << 18)
            except TimeoutError:
                continue
            kind, rows = exchange.HEADER.unpack_from(data)[2:5:2]
            self.records += rows if kind in {exchange.TIMINGS, exchange.COPIES} else 0
            if self._keep:
                self.frames.append(data)

    def close(self) -> None:
        """Ends the thread."""
        self._stop = True
        self._thread.join()
        self._socket.close()


class Capture:
    """A pf-capture of its own with its receiver.

    Args:
        ports: to tap.
        bodies: as in `Orders`.
    """

    def __init__(self, ports: tuple[int, ...], *, bodies: str = "none", interfaces: tuple[str, ...] = ()) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pf-tap-")
        self.receiver = Receiver(f"{self._folder.name}/intake.sock")
        self._orders = Orders(
            "tap", ports, interfaces, self.receiver.path, bodies, path=tuple(p for p in sys.path if p)
        )
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = "import sys; from pilotfish_agent.capture.process import main; sys.exit(main(int(sys.argv[1])))"
        self._process = subprocess.Popen(
            (sys.executable, "-c", program, str(theirs.fileno())), pass_fds=(theirs.fileno(),), cwd=ROOT
        )
        theirs.close()
        self._ours.settimeout(10)
        self.order(ports)
        first = self.report()
        if first.mode != "tap":
            self.close()
            raise PermissionError(first.problem or first.mode)

    def order(self, ports: tuple[int, ...]) -> None:
        """Other ports from now on."""
        plain = Orders(
            self._orders.mode, ports, self._orders.interfaces, self._orders.intake, self._orders.bodies,
            path=self._orders.path,
        )  # fmt: skip
        self._ours.send(plain.to_bytes())

    def report(self) -> Report:
        """The newest report; waits for one."""
        newest = self._ours.recv(1 << 16)
        while select.select((self._ours,), (), (), 0)[0]:
            newest = self._ours.recv(1 << 16)
        return Report.from_bytes(newest)

    def fresh(self) -> Report:
        """A report of what is so now, not of before."""
        self.report()
        return self.report()

    def cpu(self) -> float:
        """Seconds of CPU so far, to the nanosecond."""
        return int(pathlib.Path(f"/proc/{self._process.pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9

    def ring_bytes(self) -> int:
        """What it has mapped of packet sockets."""
        total = 0
        with open(f"/proc/{self._process.pid}/maps", encoding="ascii", errors="replace") as lines:
            for line in lines:
                if _RING_MAPPING.match(line):
                    low, high = line.split(" ", 1)[0].split("-")
                    total += int(high, 16) - int(low, 16)
        return total

    def close(self) -> None:
        """Ends it as the agent does: by closing the control socket."""
        self._ours.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.receiver.close()
        self._folder.cleanup()


class Generator:
    """Open loop: a request is due at its scheduled time, whatever the server does."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._sockets = [socket.create_connection(address) for _ in range(CONNECTIONS)]
        for each in self._sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = REQUEST % len(BODY) + BODY
        self._size = self._ask()

    def _ask(self) -> int:
        """Bytes of one answer."""
        first = self._sockets[0]
        first.sendall(self._request)
        got = b""
        while b"\r\n\r\n" not in got:
            got += first.recv(1 << 16)
        head, _, body = got.partition(b"\r\n\r\n")
        found = re.search(rb"(?i)content-length: *(\d+)", head)
        wanted = len(head) + 4 + int(found[1] if found else 0)
        have = len(head) + 4 + len(body)
        while have < wanted:
            have += len(first.recv(1 << 16))
        return wanted

    def run(self, rate: float, seconds: float, *, seed: int = 1) -> array.array[float]:
        """(scheduled, latency) pairs, monotonic seconds."""
        draw = random.Random(seed)
        clock, size, request = time.monotonic, self._size, self._request
        free, waiting = deque(self._sockets), deque[float]()
        open_: dict[socket.socket, list[float]] = {}
        log = array.array("d")
        for each in self._sockets:
            each.setblocking(False)
        due = clock() + 0.05
        end = due + seconds
        while (due < end or open_ or waiting) and clock() < end + 5:
            now = clock()
            while due <= now and due < end:
                waiting.append(due)
                due += draw.expovariate(rate)
            while waiting and free:
                each = free.popleft()
                open_[each] = [waiting.popleft(), size]
                each.send(request)
            ready, _, _ = select.select(open_, (), (), max(0.0, (due if due < end else now + 0.1) - clock()))
            for each in ready:
                state = open_[each]
                state[1] -= len(each.recv(1 << 16))
                if state[1] <= 0:
                    log.extend((state[0], clock() - state[0]))
                    del open_[each]
                    free.append(each)
        return log


def load(port: int, rate: float, seconds: float) -> array.array[float]:
    """Runs the generator in a process of its own."""
    with started_load(port, rate, seconds) as finish:
        return finish()


@contextlib.contextmanager
def started_load(port: int, rate: float, seconds: float) -> Iterator[_Finish]:
    """Starts the generator; the value waits for its log."""
    with tempfile.NamedTemporaryFile(prefix="pf-load-") as out:
        words = (sys.executable, "-m", "benchmarks.capture.tap_bench", f"127.0.0.1:{port}")
        with process(*words, str(rate), str(seconds), out.name, quiet=False) as running:
            yield _Finish(running, out.name, seconds + 30)


class _Finish:
    def __init__(self, running: subprocess.Popen[bytes], path: str, limit: float) -> None:
        self._running, self._path, self._limit = running, path, limit

    def __call__(self) -> array.array[float]:
        if self._running.wait(self._limit):
            raise RuntimeError(f"the generator ended with {self._running.returncode}")
        log = array.array("d")
        log.frombytes(pathlib.Path(self._path).read_bytes())
        return log


def main() -> None:
    """The generator process."""
    host, port = sys.argv[1].rsplit(":", 1)
    ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK: select wakes at the time, not 50 us later
    generator = Generator((host, int(port)))
    gc.disable()
    log = generator.run(float(sys.argv[2]), float(sys.argv[3]))
    pathlib.Path(sys.argv[4]).write_bytes(log.tobytes())


if __name__ == "__main__":
    main()
