"""`pilotfish attach`: beside a process that runs already."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from pilotfish_agent.capture import rights
from tests.agent.live import PILOTFISH, SCRIPT, Live, until
from tests.system import needs

HANDS_OVER = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.readline()
server.close()
print("closed", flush=True)
time.sleep(600)
"""
HTTP = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "22")
        self.end_headers()
        self.wfile.write(b'{"predictions": [0.5]}')
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
SERVER = "import socket,sys,time; s=socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"


def test_a_pid_is_watched_and_told_when_it_ends(live: Live) -> None:
    """target_up falls to 0 when the process ends, and the agent stays."""
    model = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        live.attach("--pid", str(model.pid))
        until(lambda: "watching PID" in live.err, "the start line")
        assert live.err == (
            f"pilotfish: watching PID {model.pid} ({live.status()['target']['name']}), "
            f"metrics on http://{live.address()}/metrics, log {live.root}/state/toy/agent.log\n"
        )
        until(lambda: live.metric("pilotfish_target_up") == 1.0, "the target")
        assert live.metric("pilotfish_process_resident_memory_bytes") is not None
    finally:
        model.kill()
        model.wait()
    until(lambda: live.metric("pilotfish_target_up") == 0.0, "the target's end")
    assert live.metric("pilotfish_process_resident_memory_bytes") is None, "absent, not 0"
    assert live.process is not None
    live.process.send_signal(signal.SIGTERM)
    assert live.process.wait(20) == 0


def test_a_port_is_waited_for_and_followed_over_a_restart(live: Live) -> None:
    """`--port` finds the process once it listens, and the next one after it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    live.attach("--port", str(port))
    until(lambda: live.metric("pilotfish_target_up") == 0.0, "an agent that waits")
    for restarts in (0.0, 1.0):
        model = subprocess.Popen([sys.executable, "-c", SERVER, str(port)])
        try:
            until(lambda: live.metric("pilotfish_target_up") == 1.0, "the target")
            assert live.metric("pilotfish_process_restarts_total") == restarts
        finally:
            model.kill()
            model.wait()
        until(lambda: live.metric("pilotfish_target_up") == 0.0, "its end")


def test_no_selector_and_bad_values_are_refused() -> None:
    """attach is strict: one line, exit 2."""
    me = ("--pid", str(os.getpid()))
    bad: tuple[tuple[str, ...], ...] = (
        (*me, "--reference", "/nonexistent.json"),
        (*me, "--listen", "nowhere"),
        (*me, "--capture", "everything"),
    )
    places = ((*me, "--intake-group", "nobody-has-this"), (*me, "--state-dir", "/proc/nowhere"))
    for words in (
        (),
        ("--pid", "x"),
        ("--port", "99999"),
        ("--name", "("),
        ("--cgroup", "relative"),
        ("--cgroup", "/"),
        ("--unit", "a/b"),
        ("--config", "/nonexistent.yaml", "--pid", "1"),
        *bad,
        *places,
    ):
        done = subprocess.run([*PILOTFISH, "attach", *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2, words
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_name_is_waited_for_and_followed(live: Live) -> None:
    """`--name` finds the process by its words once it is there, under that label, and the next one after it."""
    script = live.root / "serve_fraud.py"
    script.write_text("import time; time.sleep(600)")
    live.attach("--name", "serve_fraud[.]py")
    until(lambda: live.metric("pilotfish_target_up") == 0.0, "an agent that waits")
    for restarts in (0.0, 1.0):
        model = subprocess.Popen([sys.executable, str(script)])
        try:
            until(lambda: live.metric(r'pilotfish_target_up\{target="serve_fraud\[.\]py"\}') == 1.0, "the target")
            assert live.status()["target"]["pid"] == model.pid
            assert live.metric("pilotfish_process_restarts_total") == restarts
        finally:
            model.kill()
            model.wait()
        until(lambda: live.metric("pilotfish_target_up") == 0.0, "its end")


def test_several_targets_each_have_their_series(live: Live) -> None:
    """One agent, two trees: each with its own label, life and numbers; a collector is told of once."""
    models = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", f"model-{n}"]) for n in "ab"]
    (live.root / "p.yaml").write_text("targets:\n  - {name: sleep.600.*model-a}\n  - {name: sleep.600.*model-b}\n")
    try:
        live.attach("--config", str(live.root / "p.yaml"))
        first, second = (rf'target="sleep.600.\*model-{n}"' for n in "ab")
        for label in (first, second):
            until(lambda label=label: live.metric(rf"pilotfish_target_up\{{{label}") == 1.0, label)  # type: ignore[misc]
            assert live.metric(rf"pilotfish_process_resident_memory_bytes\{{{label}")
        assert [t["pid"] for t in live.status()["targets"]] == [m.pid for m in models]
        page = live.get("/metrics")
        assert page.count('pilotfish_collector_success{collector="cpu"}') == 1
        models[0].kill()
        models[0].wait()
        until(lambda: live.metric(rf"pilotfish_target_up\{{{first}") == 0.0, "the end of the first")
        assert live.metric(rf"pilotfish_target_up\{{{second}") == 1.0
        assert live.metric(rf"pilotfish_process_resident_memory_bytes\{{{first}") is None
    finally:
        for model in models:
            model.kill()
            model.wait()


def test_a_port_that_another_process_takes_over_is_followed(live: Live) -> None:
    """A new server takes the port while the old one still runs: the new one is the target."""
    old = subprocess.Popen([sys.executable, "-c", HANDS_OVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert old.stdin is not None
    assert old.stdout is not None
    port = old.stdout.readline().strip()
    live.attach("--port", port)
    new = None
    try:
        until(lambda: live.status().get("target", {}).get("pid") == old.pid, "the old one")
        old.stdin.write("close\n")
        old.stdin.flush()
        assert old.stdout.readline() == "closed\n"
        new = subprocess.Popen([sys.executable, "-c", SERVER, port])
        until(lambda: live.status().get("target", {}).get("pid") == new.pid, "the new one")
        assert old.poll() is None
    finally:
        for model in (old, new):
            if model is not None:
                model.kill()
                model.wait()
        old.stdin.close()
        old.stdout.close()


@pytest.mark.skipif(rights.tap_problem() is not None, reason="needs CAP_NET_RAW, for the tap")
def test_captured_traffic_is_of_the_target_whose_port_it_is(live: Live) -> None:
    """Two servers, one agent: each one's calls stand under its own target, and so does a model that nobody names."""
    models = [
        subprocess.Popen([sys.executable, "-c", HTTP, f"http-{n}"], stdout=subprocess.PIPE, text=True) for n in "ab"
    ]
    try:
        ports = [int(m.stdout.readline()) for m in models if m.stdout is not None]
        names = ["http-a", "http-b"]
        targets = f"targets: [{{name: http-a}}, {{name: http-b, port: {ports[1]}}}]\n"
        (live.root / "p.yaml").write_text(targets)
        live.attach("--config", str(live.root / "p.yaml"))
        until(lambda: live.status().get("capture", {}).get("ports") == sorted(ports), "both ports")
        until(lambda: live.status()["capture"]["mode"] == "tap", "the tap")
        for count, port in enumerate(ports, 3):
            for _ in range(count):
                call = urllib.request.Request(f"http://127.0.0.1:{port}/predict", b"{}", method="POST")
                with urllib.request.urlopen(call, timeout=10) as answer:
                    assert answer.status == 200
        for count, name in enumerate(names, 3):
            series = rf'pilotfish_requests_total\{{[^}}]*model="{name}"[^}}]*target="{name}"'
            until(lambda series=series, count=count: live.metric(series) == float(count), name)  # type: ignore[misc]
        assert live.get("/metrics").count("pilotfish_requests_total{") == 2
    finally:
        for model in models:
            model.kill()
            model.wait()
            assert model.stdout is not None
            model.stdout.close()


@needs("unshare", package="util-linux")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a PID namespace")
def test_a_model_in_another_pid_namespace_is_told_of_and_its_traffic_is_seen(live: Live) -> None:
    """As in a pod that does not share it: a notice, target_up 0, and calls all the same."""
    model = subprocess.Popen([sys.executable, "-c", HTTP], stdout=subprocess.PIPE, text=True)
    assert model.stdout is not None
    port = int(model.stdout.readline())
    apart = ["unshare", "--pid", "--fork", "--mount-proc"]
    agent = [SCRIPT, "attach", "--listen", "127.0.0.1:0", "--instance", "toy", "--port", str(port)]
    with open(live.root / "err", "ab") as err:
        live.process = subprocess.Popen([*apart, *agent], env=live.env, stderr=err)
    try:
        until(lambda: live.status().get("capture", {}).get("mode") == "tap", "the tap")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/predict", b"{}", timeout=10) as answer:
            assert answer.status == 200
        until(lambda: live.metric("pilotfish_requests_total") == 1.0, "the call")
        assert live.metric("pilotfish_target_up") == 0.0
        assert [n for n in live.status()["notices"] if "not in this PID namespace" in n]
        assert "not in this PID namespace" in live.err
    finally:
        parent = live.process.pid  # unshare itself waits, deaf, for the agent
        with open(f"/proc/{parent}/task/{parent}/children") as children:
            os.kill(int(children.read()), signal.SIGTERM)
        assert live.process.wait(20) == 0
        model.kill()
        model.wait()
        model.stdout.close()
