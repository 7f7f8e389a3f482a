"""A watched process over its ends and starts: what is said, counted and measured of them. Real processes."""

from __future__ import annotations

import functools
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pilotfish_agent.hardware._context import HostContext
from pilotfish_agent.pipeline import startup
from pilotfish_agent.pipeline.startup import DURATION, StartUps
from pilotfish_agent.pipeline.targets import Wanted, Watched
from pilotfish_agent.probe._runner import SUCCESS
from pilotfish_agent.target.locate import Finder, Selector
from pilotfish_agent.target.processes import Processes, start_time
from pilotfish_agent.windows.requests import REQUESTS
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Events
from pilotfish_core.metrics import Reading, Sample, Unavailable

SERVES = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"


@pytest.fixture
def port() -> int:
    """A free one."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        number: int = found.getsockname()[1]
        return number


def serve(port: int) -> subprocess.Popen[bytes]:
    """A process that listens."""
    model = subprocess.Popen((sys.executable, "-I", "-S", "-c", SERVES, str(port)))
    until_it_listens(port)
    return model


def until_it_listens(port: int) -> None:
    """Waits for a process on a port."""
    for _ in range(1000):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("the model does not listen")


@pytest.fixture
def watched(port: int) -> Iterator[Watched]:
    """What listens on the port."""
    clock = SystemClock()
    found = Watched(Wanted("m", None, Finder(Selector(port=port))), host=HostContext(clock), events=Events(clock))
    yield found
    found.close()


def sample(watched: Watched) -> list[Reading]:
    """One sample."""
    return watched.sample(functools.cache(Processes))


def test_how_it_ended_is_told_until_the_next_end(
    watched: Watched, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the log at once, in `status` also when the next process is there."""
    sample(watched)
    assert watched.status() == {"name": "m", "pid": None, "up": False}
    first = serve(port)
    sample(watched)
    assert watched.status() == {"name": "m", "pid": first.pid, "up": True}
    first.send_signal(signal.SIGTERM)
    first.wait()
    sample(watched)
    assert watched.ending is not None
    if watched.ending.cause == "unknown":
        pytest.skip("before Linux 6.15 nobody tells how a process ended whose parent has waited for it")
    assert (watched.ending.pid, watched.ending.cause, watched.ending.signal) == (first.pid, "signal", 15)
    assert str(watched.status()["ended"]).startswith(f"PID {first.pid} was ended by signal 15, 20")
    second = serve(port)
    sample(watched)
    status = watched.status()
    assert status["pid"] == second.pid
    assert str(status["ended"]).startswith(f"PID {first.pid} was ended")
    assert watched.tree.restarts == 1
    second.kill()
    second.wait()


def calls(code: str, count: float) -> Sample:
    """So many calls of the target with this code."""
    return Sample(REQUESTS, ("m", "m", None, "http", "other", code), count)


def phases(readings: list[Reading]) -> dict[str, float]:
    """Seconds by phase."""
    return {str(r.labels[1]): r.value for r in readings if isinstance(r, Sample) and isinstance(r.value, float)}


def test_a_start_is_measured_by_the_kernels_clock(port: int) -> None:
    """Spawn, load by our own look at the ports, initialise by the first good call: an error is no sign of readiness."""
    child = subprocess.Popen((sys.executable, "-I", "-S", "-c", f"input(); {SERVES}", str(port)), stdin=subprocess.PIPE)
    assert child.stdin is not None
    clock = SystemClock()
    key = (child.pid, start_time(child.pid) or 0)
    wanted = Wanted("m", key, None, launched=clock.wall())
    watched = Watched(wanted, host=HostContext(clock), events=Events(clock))
    sample(watched)
    starts = StartUps([watched], clock)
    assert set(phases(starts.see([]))) == {"spawn"}
    assert set(phases(starts.see([]))) == {"spawn"}, "it is told as long as the process is there"
    child.stdin.write(b"\n")
    child.stdin.close()
    until_it_listens(port)
    assert set(phases(starts.see([calls("503", 4.0)]))) == {"spawn", "load"}
    assert set(phases(starts.see([calls("503", 5.0)]))) == {"spawn", "load"}
    told = phases(starts.see([calls("503", 5.0), calls("200", 1.0)]))
    assert set(told) == {"spawn", "load", "initialise"}
    assert all(0 <= seconds < 60 for seconds in told.values())
    assert phases(starts.see([calls("200", 9.0)])) == told
    child.kill()
    child.wait()
    sample(watched)
    (gap,) = starts.see([])
    assert isinstance(gap, Unavailable)
    assert (gap.signal, gap.reason) == (DURATION.name, "no_data")
    watched.close()


def test_an_agent_that_is_started_anew_tells_no_start_it_has_not_seen(
    watched: Watched, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model served already when this agent came; only a young one may have just begun."""
    monkeypatch.setattr(startup, "YOUNG_SECONDS", -1.0)
    model = serve(port)
    sample(watched)
    starts = StartUps([watched], SystemClock())
    for _ in range(3):
        assert phases(starts.see([calls("200", 1.0)])) == {}
    model.kill()
    model.wait()


def test_ports_are_looked_at_and_a_probe_ends_the_start(watched: Watched, port: int) -> None:
    """One that has not passed does not."""
    sample(watched)
    starts = StartUps([watched], SystemClock())
    starts.see([])
    model = serve(port)
    sample(watched)
    assert set(phases(starts.see([]))) == {"load"}
    assert set(phases(starts.see([Sample(SUCCESS, ("readiness",), 0.0)]))) == {"load"}
    assert set(phases(starts.see([Sample(SUCCESS, ("readiness",), 1.0)]))) == {"load", "initialise"}
    model.kill()
    model.wait()
