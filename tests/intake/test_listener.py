"""The agent's socket: bounded, counted, never down because of what comes in."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotfish import wire
from pilotfish.wire import Frame, Section
from pilotfish_agent.intake import columns, listener
from pilotfish_agent.intake.listener import Intake
from pilotfish_core.clock import ManualClock
from pilotfish_core.errors import UnavailableError, UsageError
from pilotfish_core.events import Events

NUMBER = wire.describe([(wire.FEATURE, wire.FLOAT, "x")])


def frame(
    values: list[float], *, model: str = "m", lost: int = 0, descriptor: bytes = NUMBER, source: int = 0
) -> bytes:
    """A frame of one column of numbers."""
    section = Section(descriptor, 1, len(values), struct.pack(f"<{len(values)}d", *values))
    return wire.encode(Frame(source, lost, 0.0, model, "", [section]))


@pytest.fixture
def events() -> Events:
    return Events(ManualClock())


@pytest.fixture
def intake(tmp_path: Path, events: Events) -> Iterator[Intake]:
    made = Intake(str(tmp_path / "intake.sock"), events=events)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def sender(intake: Intake) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        made.connect(intake.path)
        yield made


def counters(intake: Intake) -> dict[str, float]:
    found = {}
    for sample in intake.samples():
        assert isinstance(sample.value, float)
        found[str(sample.labels[0])] = sample.value
    return found


def test_frames_of_one_schema_make_one_batch(intake: Intake, sender: socket.socket) -> None:
    """Rows of many datagrams come out together, in the order in which they were sent."""
    for i in range(30):
        sender.send(frame([float(i), float(i) + 0.5]))
    (batch,) = intake.drain()
    assert batch.rows == 60
    np.testing.assert_array_equal(batch.features["x"], [i / 2 for i in range(60)])
    assert counters(intake)["sdk"] == 60
    assert intake.drain() == []


_SEND = "import socket, sys; s = socket.socket(1, 2); s.connect(sys.argv[1]); s.send(bytes.fromhex(sys.argv[2]))"


def test_rows_of_each_sender_are_told_apart_by_what_the_kernel_says(intake: Intake, sender: socket.socket) -> None:
    """Two processes, the same schema: a batch each, named by its process; with too many nobody is named."""
    sender.send(frame([1.0, 2.0]))
    subprocess.run([sys.executable, "-S", "-c", _SEND, intake.path, frame([3.0]).hex()], check=True, timeout=30)
    mine, other = intake.drain()
    assert (mine.sender, mine.rows, other.rows) == (f"process {os.getpid()}", 2, 1)
    assert other.sender.startswith("process ")
    assert other.sender != mine.sender
    made, _ = columns.batches([wire.decode(frame([1.0]))] * 20, list(range(1, 21)))
    assert [(b.sender, b.rows) for b in made] == [("", 20)]


def test_models_and_sources_are_kept_apart(intake: Intake, sender: socket.socket) -> None:
    """A batch is of one model and one source."""
    sender.send(frame([1.0], model="a"))
    sender.send(frame([2.0], model="b"))
    sender.send(frame([3.0], model="a", source=1))
    assert [(b.model, b.source, list(b.features["x"])) for b in intake.drain()] == [
        ("a", "sdk", [1.0]),
        ("b", "sdk", [2.0]),
        ("a", "capture", [3.0]),
    ]
    assert counters(intake)["capture"] == 1


def test_rows_lost_by_the_sender_are_counted(intake: Intake, sender: socket.socket) -> None:
    """What a frame reports as lost adds up."""
    sender.send(frame([1.0], lost=5))
    sender.send(frame([1.0], lost=7))
    intake.drain()
    assert counters(intake)["sdk_buffer"] == 12


def test_bad_frames_are_counted_by_reason_and_hurt_no_other(
    intake: Intake, sender: socket.socket, events: Events
) -> None:
    """A datagram that is no frame is an event and a count; the rows beside it arrive."""
    sender.send(b"hello")
    sender.send(frame([1.0]))
    sender.send(frame([1.0])[:-1])
    bad = Section(wire.describe([(wire.FEATURE, wire.TEXT, "t")]), 1, 1, b"", b"\xff")
    sender.send(wire.encode(Frame(0, 0, 0.0, "m", "", [bad])))
    assert sum(b.rows for b in intake.drain()) == 1
    found = counters(intake)
    assert (found["frame_magic"], found["frame_truncated"], found["frame_text"]) == (1, 1, 1)
    assert [s.value for s in events.samples()] == [3.0]


def test_a_datagram_over_the_limit_is_counted(intake: Intake, sender: socket.socket) -> None:
    """More than 64 KiB is refused whole, not cut."""
    sender.send(b"x" * (wire.MAX_FRAME + 1))
    intake.drain()
    assert counters(intake)["frame_too_large"] == 1


def test_an_empty_datagram_is_no_end(intake: Intake, sender: socket.socket) -> None:
    """Zero bytes from anyone do not stop the intake."""
    sender.send(b"")
    sender.send(frame([1.0]))
    assert sum(b.rows for b in intake.drain()) == 1


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(0, 60), st.integers(0, 255))
def test_nothing_sent_stops_the_intake(
    intake: Intake, sender: socket.socket, junk: list[bytes], at: int, byte: int
) -> None:
    """After any datagrams, and frames with any byte changed, the next good frame still arrives."""
    changed = bytearray(frame([2.0, 3.0]))
    changed[at % len(changed)] = byte
    for data in (*junk, bytes(changed), frame([123.5], model="good")):
        sender.send(data)
    batches = [b for b in intake.drain() if b.model == "good"]
    assert sum(b.rows for b in batches) == 1
    assert intake.listening


def test_the_buffer_is_bounded_by_bytes_and_keeps_the_newest(tmp_path: Path, events: Events) -> None:
    """Undrained, the oldest datagrams go, their rows are counted, and what is left fits the bound."""
    intake = Intake(str(tmp_path / "s"), events=events, max_bytes=20_000)
    intake.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(intake.path)
        for i in range(200):
            sender.send(frame([float(i)] * 100))
    intake.stop()
    (batch,) = intake.drain()
    assert batch.rows + counters(intake)["intake_buffer"] == 20_000
    assert batch.rows * 8 < 20_000
    assert batch.features["x"][-1] == 199.0


def test_somebody_is_called_once_before_the_buffer_is_full(tmp_path: Path, events: Events) -> None:
    """Who drains once a second must come earlier when there is much; called again only when it has drained."""
    calls: list[int] = []
    called = threading.Event()

    def hurry() -> None:
        calls.append(1)
        called.set()

    one = frame([0.0] * 500)
    intake = Intake(str(tmp_path / "intake.sock"), events=events, max_bytes=8 * (len(one) + listener.FRAME_OVERHEAD))
    intake.hurry = hurry
    intake.start()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(intake.path)
            for expected in (1, 2):
                called.clear()
                for _ in range(3):
                    sender.send(one)
                assert called.wait(10)
                intake.drain()
                assert len(calls) == expected
    finally:
        intake.stop()


def test_what_a_dropped_frame_says_of_lost_rows_is_kept(tmp_path: Path, events: Events) -> None:
    """The sender tells it once; a frame the agent has no room for is no reason to forget it."""
    intake = Intake(str(tmp_path / "s"), events=events, max_bytes=1_000)
    intake.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(intake.path)
        for _ in range(20):
            sender.send(frame([1.0], lost=3))
        intake.stop()
    arrived = sum(b.rows for b in intake.drain())
    assert 0 < arrived < 20
    assert counters(intake) == {"sdk": arrived, "sdk_buffer": 60, "intake_buffer": 20 - arrived}


class Endless:
    """Senders that are always faster."""

    def recvmsg(self, _: int, __: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        return frame([1.0]), [], 0, None


def test_senders_that_never_pause_do_not_hold_a_step_up(tmp_path: Path, events: Events) -> None:
    """`drain` comes back, and says what it had no room for."""
    intake = Intake(str(tmp_path / "s"), events=events, max_bytes=10_000)
    intake._socket = Endless()  # type: ignore[assignment]
    taken = sum(b.rows for b in intake.drain())
    assert taken + counters(intake)["intake_buffer"] == listener.AT_ONCE


def test_stop_takes_in_what_the_kernel_holds_and_removes_the_socket(tmp_path: Path, events: Events) -> None:
    """Nothing that was sent before the end is lost, and no stale socket stays."""
    intake = Intake(str(tmp_path / "s"), events=events)
    intake.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(intake.path)
        for _ in range(8):
            sender.send(frame([1.0]))
        intake.stop()
    assert sum(b.rows for b in intake.drain()) == 8
    assert not os.path.lexists(intake.path)
    assert not intake.listening
    intake.stop()


def test_a_stale_socket_is_replaced(tmp_path: Path, events: Events) -> None:
    """After a kill the file of the dead agent is in the way; the new one takes its place."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(path))
    intake = Intake(str(path), events=events)
    intake.start()
    assert intake.listening
    intake.stop()


def test_a_file_in_the_way_is_left_alone(tmp_path: Path, events: Events) -> None:
    """Only a socket is replaced; a user's file is an error that names it."""
    path = tmp_path / "s"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(UnavailableError, match="a file"):
        Intake(str(path), events=events).start()
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_path_that_cannot_be_bound_says_what_to_do(tmp_path: Path, events: Events) -> None:
    """Over 107 bytes, or a folder that is not there."""
    for path in (tmp_path / ("x" * 120), tmp_path / "none" / "s"):
        with pytest.raises(UnavailableError, match="runtime folder"):
            Intake(str(path), events=events).start()


@pytest.mark.parametrize(("group", "mode"), [(None, 0o600), (str(os.getgid()), 0o660)])
def test_others_may_send_only_with_a_group(tmp_path: Path, events: Events, group: str | None, mode: int) -> None:
    """0600 by default, 0660 and the group's with --intake-group."""
    intake = Intake(str(tmp_path / "s"), group=group, events=events)
    intake.start()
    found = os.stat(intake.path)
    assert stat.S_IMODE(found.st_mode) == mode
    assert found.st_gid == os.getgid()
    intake.stop()


def test_an_unknown_group_is_an_error(tmp_path: Path, events: Events) -> None:
    """The message names the option and the group."""
    with pytest.raises(UsageError, match=r"--intake-group.*nobody-has-this"):
        Intake(str(tmp_path / "s"), group="nobody-has-this", events=events).start()


def test_the_counters_are_declared_and_bounded() -> None:
    """Reasons come from a fixed list: nobody who sends can make new series."""
    assert {m.name for m in listener.METRICS} == {"pilotfish_observations_total", "pilotfish_capture_dropped_total"}
    assert set(wire.REASONS) < set(listener.REASONS)
