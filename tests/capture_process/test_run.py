"""`pilotfish run` with a real capture process beside a real server."""

import os
import pathlib
import signal
import socket
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from pilotfish_agent.capture.rights import tap_problem
from tests.agent.live import Live, until
from tests.capture_process.watched import gone
from tests.system import needs

SERVER = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = b'{"predictions": [0.5]}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.serve_forever()
"""
pytestmark = pytest.mark.skipif(bool(tap_problem()), reason="a tap needs CAP_NET_RAW")


@pytest.fixture
def live(tmp_path: pathlib.Path) -> Iterator[Live]:
    """Not started yet; ended after the test."""
    one = Live(tmp_path)
    yield one
    one.stop()


def free() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ask(port: int) -> bytes:
    """One prediction, over a connection of its own."""
    url = f"http://127.0.0.1:{port}/v1/models/toy:predict"
    request = urllib.request.Request(url, b'{"instances": [[1.0]]}', {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


def answers(port: int) -> bool:
    """Whether the server is up."""
    try:
        return bool(ask(port))
    except OSError:
        return False


def capture_pid(live: Live) -> int | None:
    """The capture process while its mode is in force."""
    return live.status()["processes"].get("capture") if live.metric(r'pilotfish_capture_mode\{mode="tap"\}') else None


def test_the_tap_sees_dies_and_leaves_without_the_model(live: Live) -> None:
    """Requests are seen; kill -9 of pf-capture touches nobody; when the model ends all of ours is gone."""
    port = free()
    live.start("--capture", "tap", command=[sys.executable, "-c", SERVER, str(port)])
    until(lambda: answers(port), "the server")
    first = until(lambda: capture_pid(live), "the tap") or 0
    assert live.status()["capture"] == {"mode": "tap", "ports": [port]}
    until(lambda: ask(port) and live.metric(r"pilotfish_requests_total\{[^}]*"), "requests seen by the tap")
    os.kill(first, signal.SIGKILL)
    assert ask(port)
    second = until(lambda: p if (p := capture_pid(live)) != first else None, "the next tap") or 0
    assert live.metric(r'pilotfish_component_restarts_total\{component="capture"\}') == 1.0
    assert live.metric(r'pilotfish_component_cpu_seconds_total\{component="capture"\}') or 0 > 0
    assert live.process is not None
    assert live.process.poll() is None
    live.process.terminate()
    live.process.wait(20)
    until(lambda: gone(second), "the capture process to leave")


@needs("setpriv", package="util-linux")
@pytest.mark.parametrize(("mode", "lines"), [("auto", 0), ("tap", 1)])
def test_without_the_right_the_sdk_goes_on(live: Live, mode: str, lines: int) -> None:
    """`auto` says so in `status` alone; `tap` was asked for, so it is one line on stderr as well."""
    bare = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"]
    words = [*bare, sys.executable, "-m", "pilotfish_agent", "run", "--listen", "127.0.0.1:0", "--instance", "toy"]
    port = free()
    live.spawn([*words, "--capture", mode, "--", sys.executable, "-c", SERVER, str(port)])
    until(lambda: answers(port), "the server")
    until(lambda: live.metric(r'pilotfish_capture_mode\{mode="sdk"\}') == 1.0, "the mode")
    missing = r'pilotfish_signal_unavailable\{collector="capture",reason="permission",signal="pilotfish_capture_'
    assert live.metric(missing) == 1.0
    assert any("CAP_NET_RAW" in notice for notice in live.status()["notices"])
    assert sum("CAP_NET_RAW" in line for line in live.err.splitlines()) == lines
    assert "capture" not in live.status()["processes"]


def test_the_relay_passes_bytes_and_is_only_there_when_asked_for(live: Live) -> None:
    """Clients who come by the relay get the model's answers, and are counted."""
    port, relay = free(), free()
    options = ("--capture", "relay", "--relay-listen", f"127.0.0.1:{relay}")
    live.start(*options, command=[sys.executable, "-c", SERVER, str(port)])
    until(lambda: answers(port), "the server")
    until(lambda: answers(relay), "the relay")
    until(lambda: live.metric(r'pilotfish_capture_mode\{mode="relay"\}') == 1.0, "the mode")
    until(lambda: live.metric("pilotfish_requests_total"), "requests seen by the relay")
    pid = live.status()["processes"]["capture"]
    assert live.process is not None
    live.process.terminate()
    live.process.wait(20)
    until(lambda: gone(pid), "the relay to leave with the model")
