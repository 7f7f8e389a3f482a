"""pf-capture is started, told its ports, replaced when it dies or hangs, and ended with the agent."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from pilotfish_agent.capture.settings import Config
from pilotfish_agent.capture.view import MODE, MODES, RELAYED, View
from pilotfish_core.metrics import Sample, Unavailable
from tests.capture_process.watched import Model, Watched, gone, running, until
from tests.system import needs

AUTO = Config()
GIVEN = Config(ports=(7,))


def modes(supervisor: Watched) -> dict[str | None, float]:
    """Value of pilotfish_capture_mode by mode."""
    samples = [r for r in supervisor.samples() if isinstance(r, Sample) and r.metric == MODE]
    return {s.labels[0]: float(s.value) for s in samples if isinstance(s.value, float)}


def test_nothing_is_started_before_the_tree_listens(tmp_path: pathlib.Path) -> None:
    """A batch script costs no second process; once it listens, its port is tapped, and the mode says so."""
    with Model() as model, running(Watched(tmp_path, AUTO, model=model.process.pid)) as supervisor:
        until(lambda: "me" in supervisor.view.by_target, "a look at the ports")
        assert supervisor.view.pid is None
        assert modes(supervisor) == {m: float(m == "sdk") for m in MODES}
        port = model.open()
        pid = supervisor.captured()
        assert supervisor.orders() == [(pid, [port])]
        assert supervisor.view.by_target == {"me": {port}}
        assert modes(supervisor) == {m: float(m == "tap") for m in MODES}
        assert not [r for r in supervisor.samples() if isinstance(r, Unavailable)]
        assert supervisor.status() == {"mode": "tap", "ports": [port]}
    assert gone(pid)
    assert supervisor.view.pid is None


def test_other_ports_are_new_orders_for_the_same_process(tmp_path: pathlib.Path) -> None:
    """The model restarted on another port: the tap goes on."""
    with Model() as model, running(Watched(tmp_path, AUTO, model=model.process.pid)) as supervisor:
        first = model.open()
        pid = supervisor.captured()
        second = model.open(6)
        until(lambda: supervisor.orders()[-1] == (pid, sorted((first, second))), "both ports")
        model.close(first)
        until(lambda: supervisor.orders()[-1] == (pid, [second]), "the second port alone")
        with Model() as again:
            third = again.open()
            supervisor.follow((("me", (again.process.pid,)),))
            until(lambda: supervisor.orders()[-1] == (pid, [third]), "the port of the next process")
        assert supervisor.view.restarts == 0


@pytest.mark.parametrize(("number", "event"), [(signal.SIGSTOP, "capture_hung"), (signal.SIGKILL, "capture_ended")])
def test_a_hung_or_dead_one_is_replaced_and_counts_go_on(tmp_path: pathlib.Path, number: int, event: str) -> None:
    """No beat for the limit: SIGKILL. Counters never fall, and the restart is counted."""
    with running(Watched(tmp_path, GIVEN, hang=1.0)) as supervisor:
        first = supervisor.captured()
        until(lambda: supervisor.view.counters.get("exchanges:success", 0) > 5, "counts")
        before = supervisor.view.counters["exchanges:success"]
        os.kill(first, number)
        until(lambda: supervisor.view.pid not in {first, None} and supervisor.view.mode == "tap", "another one")
        assert gone(first)
        assert supervisor.view.restarts == 1
        assert supervisor.count(event) == 1
        assert supervisor.view.counters["exchanges:success"] > before
        assert supervisor.view.counters["framing:two_lengths"] == 2
        assert supervisor.view.ended_cpu > 0


def test_one_that_cannot_work_here_is_not_started_again_at_once(tmp_path: pathlib.Path) -> None:
    """It said why: that is the reason of the missing signal, and a line for people."""
    with running(Watched(tmp_path, GIVEN, "unavailable")) as supervisor:
        until(lambda: supervisor.view.reason == "permission" and supervisor.view.pid is None, "its words")
        assert supervisor.notices() == ("capture: no tap: not here; the SDK tells of the traffic",)
        missing = [r for r in supervisor.samples() if isinstance(r, Unavailable)]
        assert missing == [Unavailable("capture", "pilotfish_capture_exchanges_total", "permission")]
        assert supervisor.view.restarts == 0
        assert supervisor.count("capture_unavailable") == 1
        assert supervisor.count("capture_ended") == 0


def test_one_that_crashes_is_tried_again_with_longer_and_longer_waits(tmp_path: pathlib.Path) -> None:
    """The fault is told in words."""
    with running(Watched(tmp_path, GIVEN, "crash")) as supervisor:
        until(lambda: supervisor.view.restarts >= 2, "two more attempts")
        until(lambda: supervisor.view.words == "RuntimeError: a fault of ours", "the fault")
        assert supervisor.view.mode == "sdk"


def test_auto_gives_up_where_nothing_can_be_read(tmp_path: pathlib.Path) -> None:
    """TLS on all connections: no tap, with words; other ports are tried again. A tap that was asked for stays."""
    with Model() as model, running(Watched(tmp_path, AUTO, "sealed", model=model.process.pid)) as supervisor:
        model.open()
        until(lambda: supervisor.view.reason == "not_supported", "an end of the tap")
        assert supervisor.view.mode == "sdk"
        assert supervisor.view.pid is None
        assert "TLS" in supervisor.notices()[0]
        assert supervisor.view.counters["exchanges:opaque"] >= 20
        model.open()
        supervisor.captured()
    with running(Watched(tmp_path, Config(mode="tap", ports=(7,)), "sealed")) as supervisor:
        until(lambda: supervisor.view.counters.get("exchanges:opaque", 0) > 25, "opaque connections")
        assert supervisor.view.mode == "tap"


def test_a_scrape_targets_port_is_not_the_models_unless_it_is_the_only_one(tmp_path: pathlib.Path) -> None:
    """Metrics on a port of their own are not traffic; a server that gives both on one port is watched."""
    with Model() as model:
        pages = model.open()
        with running(Watched(tmp_path, AUTO, model=model.process.pid, scraped=frozenset({pages}))) as supervisor:
            supervisor.captured()
            assert supervisor.view.ports == (pages,)
            serving = model.open()
            until(lambda: supervisor.view.ports == (serving,), "the serving port alone")


@needs("unshare", package="util-linux")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network namespace")
def test_a_model_in_another_network_is_said(tmp_path: pathlib.Path) -> None:
    """Its traffic is not ours to see; where the target moves to this network the tap begins."""
    with Model("unshare", "--net") as model, Model() as here:
        here.open()
        with running(Watched(tmp_path, AUTO, model=model.process.pid)) as supervisor:
            until(lambda: supervisor.view.reason == "not_supported", "the reason")
            assert "network namespace" in supervisor.notices()[0]
            supervisor.follow((("me", (here.process.pid,)),))
            supervisor.captured()
            assert supervisor.view.reason is None


def test_a_fault_of_the_supervisor_is_told_and_ends_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot look at ports: the reason is there, no process is left, and it can still be stopped."""
    supervisor = Watched(tmp_path, AUTO, model=os.getppid())
    monkeypatch.setattr(supervisor, "_find", lambda *_: 1 / 0)
    with running(supervisor):
        until(lambda: supervisor.view.reason == "failed", "the reason")
        assert supervisor.view.words == "ZeroDivisionError: division by zero"


def test_off_is_off(tmp_path: pathlib.Path) -> None:
    """No thread, no process, one mode at 1, and the missing signal says disabled."""
    supervisor = Watched(tmp_path, Config(mode="off", ports=(7,)))
    with running(supervisor):
        assert modes(supervisor) == {m: float(m == "off") for m in MODES}
        assert supervisor.notices() == ()
        assert [r.reason for r in supervisor.samples() if isinstance(r, Unavailable)] == ["disabled"]
        assert supervisor.view.pid is None


def test_given_ports_are_taken_as_they_are(tmp_path: pathlib.Path) -> None:
    """`capture.ports` asks nobody who listens."""
    with running(Watched(tmp_path, Config(ports=(7, 9)))) as supervisor:
        pid = supervisor.captured()
        assert supervisor.orders() == [(pid, [7, 9])]


LONE = """
import pathlib, sys, time
sys.path[:0] = {path!r}
from pilotfish_agent.capture.settings import Config
from tests.capture_process.watched import Watched
supervisor = Watched(pathlib.Path({folder!r}), Config(ports=(7,)))
supervisor.start()
while supervisor.view.mode != "tap":
    time.sleep(0.01)
print(supervisor.view.pid, file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_it_ends_with_the_agent(tmp_path: pathlib.Path, stopped: bool) -> None:
    """kill -9 of the agent: its capture process is gone, even when it is stopped and reads nothing."""
    code = LONE.format(path=[p for p in sys.path if p], folder=str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stderr is not None
        pid = int(agent.stderr.readline())
        assert not gone(pid)
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        agent.kill()
        agent.wait()
        until(lambda: gone(pid), "the capture process to leave")


def test_what_became_of_a_relays_connections_is_told() -> None:
    """The counts of the heartbeat reach /metrics, each under its outcome."""
    view = View("relay", counters={"relay:passed": 7, "relay:refused": 2, "relay:full": 0, "exchanges:success": 5})
    told = {s.labels: s.value for s in view.samples() if isinstance(s, Sample) and s.metric == RELAYED}
    assert told == {("passed",): 7.0, ("refused",): 2.0, ("full",): 0.0}
