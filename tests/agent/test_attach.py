"""`pilotfish attach`: beside a process that runs already."""

import os
import signal
import socket
import subprocess
import sys

from pilotfish_agent.hardware import _locate
from tests.agent.live import PILOTFISH, Live, until

SERVER = "import socket,sys,time; s=socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"

WORKERS = """
import os, socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
os.fork(); os.fork(); time.sleep(600)
"""


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
        (*me, "--capture", "tap"),
    )
    places = ((*me, "--intake-group", "nobody-has-this"), (*me, "--state-dir", "/proc/nowhere"))
    for words in (
        (),
        ("--pid", "x"),
        ("--port", "99999"),
        ("--config", "/nonexistent.yaml", "--pid", "1"),
        *bad,
        *places,
    ):
        done = subprocess.run([*PILOTFISH, "attach", *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2, words
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_recycled_pid_is_another_process() -> None:
    """A PID given by the user is the process that had it then."""
    model = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    find = _locate.finder(model.pid, None)
    assert find() == (model.pid, _locate.start_time(model.pid))
    model.kill()
    model.wait()
    assert find() is None


def test_workers_on_one_port_have_one_root() -> None:
    """Several owners of a port: the process above them all."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            WORKERS,
        ],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        until(lambda: len(_locate.listeners(port)) == 4, "the workers")
        assert _locate.common_root(_locate.listeners(port)) == parent.pid
        assert _locate.holder_of(port).startswith(" (held by ")
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()
