"""The tap on real interfaces: the loopback, and a pod's interface in a network namespace."""

from __future__ import annotations

import json
import os
import pathlib
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pilotfish import exchange
from pilotfish_agent.capture import ring
from pilotfish_agent.capture.control import CaptureUnavailableError, ClosedError, Control, Orders, Report
from pilotfish_agent.capture.recorder import Recorder
from pilotfish_agent.capture.ring import Ring, interfaces, unavailable
from pilotfish_agent.capture.tap import Tap, run
from tests.capture_tap.build import answer, request
from tests.system import needs

ROOT = pathlib.Path(__file__).parents[2]
SECONDS = 20


def may_tap() -> bool:
    """Whether this process may open packet sockets."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).close()
    except OSError:
        return False
    return True


needs_tap = pytest.mark.skipif(not may_tap(), reason="needs CAP_NET_RAW: run as root")


def until(said: Callable[[], bool], what: str) -> None:
    """Waits for it."""
    deadline = time.monotonic() + SECONDS
    while not said():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.01)


class Watched:
    """A tap in this process and what it told."""

    def __init__(self, *ports: int) -> None:
        self.frames: list[bytes] = []
        self.recorder = Recorder(self._take, bodies="none")
        self.tap = Tap(ports, ("lo",), self.recorder)

    def _take(self, frame: bytes) -> bool:
        self.frames.append(frame)
        return True

    def lines(self) -> list[tuple[bytes, int, int]]:
        """(line, status, flags) so far."""
        self.tap.step()
        self.recorder.flush(time.monotonic())
        found = []
        for frame in self.frames:
            timings = exchange.unpack(frame)
            assert isinstance(timings, exchange.Timings)
            records = map(exchange.Record._make, exchange.RECORD.iter_unpack(timings.records))
            found += [(timings.lines[r.line], r.status, r.flags) for r in records]
        return found


@pytest.fixture(params=["127.0.0.1", "::1"])
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """Listens on the loopback."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as made:
        yield made


def talk(server: socket.socket, number: int, *, client: socket.socket | None = None) -> None:
    """One exchange on a connection of its own."""
    made = client or socket.create_connection(server.getsockname()[:2])
    with made, server.accept()[0] as accepted:
        made.sendall(request(number))
        accepted.recv(1 << 16)
        accepted.sendall(answer(number))
        made.recv(1 << 16)


@needs_tap
def test_exchanges_on_the_loopback_are_seen_once(server: socket.socket) -> None:
    """Each packet comes by twice there; ports that change are followed."""
    port = server.getsockname()[1]
    watched = Watched(port)
    try:
        talk(server, 1)
        until(lambda: len(watched.lines()) >= 1, "exchange")
        watched.tap.watch(())
        talk(server, 2)
        watched.tap.watch((port,))
        talk(server, 3)
        until(lambda: len(watched.lines()) >= 2, "exchange")
        time.sleep(0.05)
        assert watched.lines() == [(b"POST /r1", 211, 0), (b"POST /r3", 213, 0)]
        counters = watched.tap.counters()
        assert counters["tap:packets"] == counters["tap:kernel_packets"]
        assert counters["dropped:kernel"] == counters["tap:failed"] == 0
    finally:
        watched.tap.close()


@needs_tap
def test_the_rings_of_all_interfaces_stay_within_their_memory() -> None:
    """32 MiB in all, whatever there is."""
    recorder = Recorder(lambda frame: True, bodies="none")
    tap = Tap((9,), (), recorder)
    try:
        assert "lo" in tap.rings
        assert sum(r.blocks for r in tap.rings.values()) * ring.BLOCK <= 32 << 20
    finally:
        tap.close()


@needs_tap
def test_the_loop_obeys_its_orders_and_ends_with_the_agent(server: socket.socket) -> None:
    """It beats, follows new ports, sends what it saw, and returns when the control socket closes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    frames: list[bytes] = []

    def take(frame: bytes) -> bool:
        frames.append(frame)
        return True

    ended = []

    def loop() -> None:
        try:
            run(Orders("tap", ()), Recorder(take, bodies="none"), Control(theirs))
        except ClosedError:
            ended.append(True)

    thread = threading.Thread(target=loop)
    thread.start()
    ours.settimeout(SECONDS)
    try:
        assert Report.from_bytes(ours.recv(1 << 16)).mode == "tap"
        ours.send(Orders("tap", (server.getsockname()[1],)).to_bytes())
        deadline = time.monotonic() + SECONDS
        while not frames and time.monotonic() < deadline:
            talk(server, 1)  # the orders are obeyed soon, not at once
            time.sleep(0.1)
        assert frames
    finally:
        ours.close()
        thread.join(SECONDS)
        theirs.close()
    assert ended


@needs_tap
def test_an_interface_that_is_not_there_is_told() -> None:
    """With its name."""
    with pytest.raises(CaptureUnavailableError, match="nowhere0"):
        Tap((9,), ("nowhere0",), Recorder(lambda frame: True))
    with pytest.raises(CaptureUnavailableError) as told:
        Ring("nowhere0", loopback=False, ports=(9,))
    assert told.value.reason == "failed"


def test_why_there_is_no_tap() -> None:
    """Three answers, each with words."""
    assert unavailable("lo", PermissionError(1, "no")).reason == "permission"
    assert unavailable("lo", OSError(97, "no family")).reason == "not_supported"
    assert unavailable("lo", OSError(12, "no memory")).reason == "failed"
    assert interfaces()["lo"]


@needs("setpriv", package="util-linux")
@needs_tap
def test_without_the_capability_the_reason_is_permission() -> None:
    """As user nobody, as the words of the exception say."""
    program = (
        "from pilotfish_agent.capture.ring import Ring\n"
        "from pilotfish_agent.capture.control import CaptureUnavailableError\n"
        "try: Ring('lo', loopback=True, ports=(9,))\n"
        "except CaptureUnavailableError as error: print(error.reason, error.words)\n"
    )
    words = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all")
    done = subprocess.run((*words, sys.executable, "-c", program), capture_output=True, text=True, cwd="/")
    assert done.stdout.startswith("permission the tap needs CAP_NET_RAW"), done.stderr


# -- a pod: its own network namespace, joined by a veth pair

SERVE = """
import json, socket, sys, threading, time
sys.path[:0] = json.loads(sys.argv[1])
from pilotfish import exchange
from pilotfish_agent.capture.recorder import Recorder
from pilotfish_agent.capture.tap import Tap
server = socket.create_server(("", 8501))
def serve():
    while True:
        accepted, _ = server.accept()
        while data := accepted.recv(65536):
            accepted.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
threading.Thread(target=serve, daemon=True).start()
frames = []
def take(frame):
    frames.append(frame)
    return True
recorder = Recorder(take, bodies="none")
tap = Tap((8501,), (), recorder)
print("ready", flush=True)
sys.stdin.readline()
time.sleep(0.1)
while tap.step(): pass
recorder.flush(time.monotonic())
found = []
for frame in frames:
    timings = exchange.unpack(frame)
    found += [timings.lines[r[7]].decode() for r in exchange.RECORD.iter_unpack(timings.records)]
print(json.dumps([sorted(tap.rings), found, dict(tap.counters())]), flush=True)
"""


def ip(*words: str) -> None:
    """ip(8)."""
    subprocess.run(("ip", *words), check=True, capture_output=True)


@pytest.fixture
def pod() -> Iterator[tuple[str, str]]:
    """(namespace, its address): as a container has it."""
    name, here, there = f"pf-test-{os.getpid()}", f"pfh{os.getpid() % 100_000}", f"pfp{os.getpid() % 100_000}"
    try:
        ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace may be made here: {error}")
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        ip("addr", "add", "10.231.7.1/30", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "addr", "add", "10.231.7.2/30", "dev", there)
        ip("-n", name, "link", "set", there, "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield name, "10.231.7.2"
    finally:
        subprocess.run(("ip", "link", "del", here), capture_output=True)
        ip("netns", "del", name)


@needs("ip", package="iproute2")
@needs_tap
def test_a_pods_interface_is_seen_in_both_directions(pod: tuple[str, str]) -> None:
    """In the container's own network namespace, whose interface is no loopback."""
    name, address = pod
    words = ("ip", "netns", "exec", name, sys.executable, "-c", SERVE, json.dumps([p for p in sys.path if p]))
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            assert select.select((running.stdout,), (), (), SECONDS)[0]
            assert running.stdout.readline() == "ready\n"
            with socket.create_connection((address, 8501), SECONDS) as client:
                for number in range(20):
                    client.sendall(request(number))
                    client.recv(1 << 16)
            running.stdin.write("\n")
            running.stdin.flush()
            rings, found, counters = json.loads(running.stdout.readline())
        finally:
            running.kill()
    assert len(rings) == 2
    assert found == [f"POST /r{n}" for n in range(20)]
    assert counters["tap:gaps"] == counters["dropped:kernel"] == 0
