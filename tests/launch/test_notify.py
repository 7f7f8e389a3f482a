"""What the service manager hears: sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket

import pytest

from pilotfish_agent.launch.notify import Manager
from tests.deploy.manager import listening


class Time:
    """Seconds that pass when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_ready_status_and_the_end(kind: str, tmp_path: pathlib.Path) -> None:
    """Each is one datagram, on a socket with a path or of the abstract namespace."""
    name = f"{tmp_path}/notify" if kind == "path" else f"@pilotfish-test-{os.getpid()}"
    with listening(name) as heard:
        environ = {"NOTIFY_SOCKET": name, "HOME": "/"}
        manager = Manager(environ, Time())
        manager.ready("watching\nPID 7")
        manager.status("waiting")
        manager.stopping()
        manager.beat()
        assert heard.hear() == [
            {"READY": "1", "STATUS": "watching PID 7"},
            {"STATUS": "waiting"},
            {"STOPPING": "1", "STATUS": "stopping"},
        ]
    assert environ == {"HOME": "/"}, "no child speaks in our name"


def test_the_watchdog_hears_twice_in_its_limit(tmp_path: pathlib.Path) -> None:
    """However often we are well, it is told every half of WATCHDOG_USEC."""
    with listening(f"{tmp_path}/notify") as heard:
        time = Time()
        pid = str(os.getpid())
        environ = {"NOTIFY_SOCKET": heard.name, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": pid}
        manager = Manager(environ, time)
        assert manager.watchdog == 15.0
        for _ in range(91):
            manager.beat()
            time.now += 0.5
        assert heard.hear() == [{"WATCHDOG": "1"}] * 4
        assert not environ


def test_the_watchdog_of_another_process_is_not_ours(tmp_path: pathlib.Path) -> None:
    """WATCHDOG_PID names who is meant."""
    with listening(f"{tmp_path}/notify") as heard:
        manager = Manager({"NOTIFY_SOCKET": heard.name, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, Time())
        manager.beat()
        assert heard.hear() == []


@pytest.mark.parametrize("name", ["", "relative", "vsock:2:1234", "/nonexistent/notify", "@nobody-listens"])
def test_nobody_hears(name: str) -> None:
    """No manager, another kind of socket, or one that is gone: nothing happens."""
    manager = Manager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "nonsense"}, Time())
    manager.ready("x")
    manager.beat()
    manager.stopping()


def test_a_full_queue_delays_but_loses_nothing(tmp_path: pathlib.Path) -> None:
    """READY must arrive: what a busy manager could not take comes with the next beat, the newest status only."""
    with listening(f"{tmp_path}/notify") as heard, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.sendto(b"STATUS=filler", heard.name)
        manager = Manager({"NOTIFY_SOCKET": heard.name}, Time())
        manager.ready("watching")
        manager.status("waiting")
        fillers = len(heard.hear())
        manager.beat()
        manager.beat()
        assert heard.hear()[fillers:] == [{"READY": "1", "STATUS": "waiting"}]
