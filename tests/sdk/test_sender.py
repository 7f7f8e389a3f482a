"""From the model to the socket: late agents, lost rows, forks and exits; nothing waits and nothing grows."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from pilotfish import Monitor, _find, _sender, wire
from pilotfish_core.nouns import ObservationBatch
from tests.sdk.conftest import Agent

Until = Callable[[Callable[[], bool]], None]
ROW = {"x": 1.0, "y": 2.0}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without an agent: an empty runtime folder."""
    for name in list(os.environ):
        if name.startswith("PILOTFISH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PILOTFISH_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    monkeypatch.setattr(_sender, "PROBE_SECONDS", 0.0)
    return tmp_path


def pilotfish_threads() -> int:
    return sum(thread.name == "pilotfish" for thread in threading.enumerate())


def predictions(batches: list[ObservationBatch]) -> list[float]:
    return [value for batch in batches if batch.prediction is not None for value in batch.prediction]


def observe(monitor: Monitor, count: int, start: int = 0) -> None:
    for i in range(start, start + count):
        monitor.observe(features=ROW, prediction=float(i), latency=0.1)


def test_without_an_agent_nothing_happens(nowhere: Path) -> None:
    """No thread, no socket, no rows kept."""
    before = pilotfish_threads()
    monitor = Monitor()
    observe(monitor, 1_000)
    monitor.observe_batch([[1.0]] * 100, [1.0] * 100)
    assert monitor.wrap(len)([1, 2]) == 2
    assert monitor.flush(0.1)
    assert pilotfish_threads() == before
    assert (monitor._sender.schemas, len(monitor._sender._pending), monitor._sender.lost) == ([], 0, 0)


def test_a_late_agent_is_found(nowhere: Path) -> None:
    """An agent that starts after the model gets the next row."""
    monitor = Monitor()
    observe(monitor, 10)
    (nowhere / "model").mkdir()
    late = Agent(nowhere / "model" / "intake.sock")
    observe(monitor, 3, start=10)
    assert predictions(late.received(monitor)) == [10, 11, 12]
    monitor.close()
    late.intake.stop()


def test_an_agent_that_goes_turns_the_monitor_off_until_another_comes(nowhere: Path) -> None:
    """Found by itself, not promised: after its end nothing is collected; the next one is found."""
    (nowhere / "model").mkdir()
    path = nowhere / "model" / "intake.sock"
    first = Agent(path)
    monitor = Monitor()
    observe(monitor, 5)
    assert first.one(monitor).rows == 5
    first.intake.stop()
    observe(monitor, 5)
    monitor.flush(0.1)
    assert monitor._sender.off
    second = Agent(path)
    observe(monitor, 2)
    assert second.one(monitor).rows == 2
    assert second.counters()["sdk_buffer"] == 5
    monitor.close()
    second.intake.stop()


def test_probing_is_rare(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an agent the folders are looked at once a second, not once a row."""
    monkeypatch.setattr(_sender, "PROBE_SECONDS", 3_600.0)
    looks: list[int] = []

    def find() -> list[str]:
        looks.append(1)
        return []

    sender = _sender.Sender(b"", b"", find, waits=False)
    assert not any(sender.probe() for _ in range(100))
    assert len(looks) == 1


def test_under_run_the_newest_thousand_rows_wait(tmp_path: Path, until: Until) -> None:
    """Rows from before the socket is there: the newest 1,000 at least arrive, the others count as lost."""
    monitor = Monitor(socket=str(tmp_path / "s"))
    observe(monitor, 3_000)
    agent = Agent(tmp_path / "s")
    until(lambda: monitor.flush(1))
    values = predictions(agent.intake.drain())
    assert len(values) in range(1_000, 1_000 + 256)
    assert values == [float(i) for i in range(3_000 - len(values), 3_000)]
    assert agent.counters()["sdk_buffer"] == 3_000 - len(values)
    monitor.close()
    agent.intake.stop()


def test_a_restarted_agent_gets_what_waited(agent: Agent, monitor: Monitor, tmp_path: Path) -> None:
    """Under run the socket's path is promised: rows of the gap go to the new agent."""
    observe(monitor, 5)
    assert agent.one(monitor).rows == 5
    agent.intake.stop()
    observe(monitor, 7)
    assert not monitor.flush(0.05)
    agent.intake.start()
    assert agent.one(monitor).rows == 7
    assert agent.counters()["sdk_buffer"] == 0


def test_a_full_socket_never_blocks_and_what_does_not_fit_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody drains: memory stays within its bound, the newest rows stay, the rest is reported in the next frame."""
    monkeypatch.setattr(_sender, "MAX_BYTES", 100_000)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "s"))
        deaf.setblocking(False)
        monitor = Monitor(socket=str(tmp_path / "s"))
        observe(monitor, 40_000)
        assert not monitor.flush(0.05)
        assert monitor._sender._pending_bytes <= 100_000
        lost = monitor._sender.lost
        assert lost > 20_000
        rows, told = 0, 0
        while not monitor.flush(0.05) or rows + told < 40_000:
            frame = wire.decode(deaf.recv(wire.MAX_FRAME))
            rows += sum(section.rows for section in frame.sections)
            told += frame.lost
        assert rows + told == 40_000
        assert told == lost
        monitor.close()


def test_slow_traffic_arrives_without_a_flush(agent: Agent, monitor: Monitor, until: Until) -> None:
    """A single row is sent by the thread; afterwards it parks until the next one."""
    for _ in range(2):
        monitor.observe(features=ROW, prediction=1.0, latency=0.1)
        until(lambda: sum(batch.rows for batch in agent.intake.drain()) == 1)
        until(lambda: monitor._sender.parked)


def test_a_forgotten_monitor_ends_its_thread(agent: Agent, until: Until) -> None:
    """Garbage collected: its rows are sent, its thread is gone."""
    before = pilotfish_threads()
    monitor = Monitor(socket=agent.path)
    observe(monitor, 5)
    gone = weakref.ref(monitor)
    del monitor
    gc.collect()
    assert gone() is None
    assert sum(batch.rows for batch in agent.intake.drain()) == 5
    until(lambda: pilotfish_threads() == before)


def test_after_close_nothing_happens(agent: Agent, monitor: Monitor) -> None:
    """Calls after close do nothing, closing twice neither."""
    observe(monitor, 3)
    monitor.close()
    observe(monitor, 3)
    monitor.close()
    assert sum(batch.rows for batch in agent.intake.drain()) == 3


def script(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run((sys.executable, "-c", code, *args), capture_output=True, text=True, timeout=60)


def test_rows_are_flushed_at_exit(agent: Agent) -> None:
    """A short script loses nothing, prints nothing, exits 0."""
    done = script(
        "import sys, pilotfish\nm = pilotfish.Monitor(socket=sys.argv[1])\n"
        "for i in range(700): m.observe(features={'x': 1.0}, prediction=float(i))\n",
        agent.path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sum(batch.rows for batch in agent.intake.drain()) == 700


def test_an_exit_without_agent_is_quiet(tmp_path: Path) -> None:
    """The promised socket never came: exit 0, no output."""
    done = script(
        "import sys, pilotfish\nm = pilotfish.Monitor(socket=sys.argv[1])\nm.observe(features={'x': 1.0})\n",
        str(tmp_path / "none"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


FORK = """
import os, sys, pilotfish
m = pilotfish.Monitor(socket=sys.argv[1])
for i in range(10): m.observe(features={"x": 1.0}, prediction=1.0, latency=0.1)
children = []
for n in range(2):
    pid = os.fork()
    if pid == 0:
        for i in range(5): m.observe(features={"x": 1.0}, prediction=2.0, latency=0.1)
        sys.exit(0)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
for i in range(10): m.observe(features={"x": 1.0}, prediction=3.0, latency=0.1)
assert codes == [0, 0]
"""


def test_forked_workers_send_their_own_rows(agent: Agent) -> None:
    """gunicorn's preload: rows from before the fork are sent once, by the parent; each child has a new sender."""
    done = script(FORK, agent.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(predictions(agent.intake.drain())) == [1.0] * 10 + [2.0] * 10 + [3.0] * 10


def test_no_thread_to_be_had_loses_no_row(agent: Agent, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where threads cannot be started (limits), full frames and flushes still go out."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    observe(monitor, 600)
    assert sum(batch.rows for batch in agent.received(monitor)) == 600


def test_the_socket_of_this_model_is_taken_first(tmp_path: Path) -> None:
    """With several agents, the one whose lock names this process; the others by name."""
    for name, pid in (("a", 1), ("b", os.getpid()), ("c", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").write_text(f"{pid} 123 4026531836\n", encoding="ascii")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
            made.bind(str(tmp_path / name / "intake.sock"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "intake.sock").write_text("no socket", encoding="ascii")
    assert list(_find.sockets([str(tmp_path / "none"), str(tmp_path)])) == [
        f"{tmp_path}/{name}/intake.sock" for name in "bac"
    ]


def test_a_folder_of_somebody_else_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone may make a folder of our name under /tmp; rows must not go there."""
    (tmp_path / "a").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "a" / "intake.sock"))
    os.chown(tmp_path, 12_345, -1) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    assert list(_find.sockets([str(tmp_path)])) == []


def test_the_folders_are_those_in_which_the_agent_makes_its_socket() -> None:
    """SDK and launcher cannot import each other; this keeps their lists equal."""
    from pilotfish_agent.launch import places

    for environ in (
        {},
        {"XDG_RUNTIME_DIR": "/run/user/1", "TMPDIR": "/t"},
        {"PILOTFISH_RUNTIME_DIR": "/p", "TMPDIR": "/t"},
    ):
        assert _find.bases(environ) == places.runtime_bases(lambda name, e=environ: e.get(name, ""))  # type: ignore[misc]
