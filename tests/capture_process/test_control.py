"""What agent and pf-capture say to each other."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.capture.control import (
    BEAT_SECONDS,
    ClosedError,
    Control,
    Orders,
    RelayOrders,
    Report,
)
from pilotfish_agent.launch.child import LARGEST

words = st.text(max_size=40)
orders = st.builds(
    Orders,
    mode=st.sampled_from(["tap", "relay"]),
    ports=st.lists(st.integers(1, 65535), max_size=8).map(tuple),
    interfaces=st.lists(words, max_size=3).map(tuple),
    intake=words,
    bodies=st.sampled_from(["sampled", "all", "none"]),
    budget=st.integers(1, 1 << 30),
    relay=st.builds(RelayOrders, words, words, words, words),
    path=st.lists(words, max_size=3).map(tuple),
)
counters = st.dictionaries(words, st.integers(0, 1 << 62), max_size=5)


@pytest.fixture
def pair() -> Iterator[tuple[Control, socket.socket]]:
    """The capture process' end, and the agent's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(10)
    with ours, theirs:
        yield Control(theirs), ours


@given(orders)
def test_orders_come_as_they_were_sent(sent: Orders) -> None:
    """All fields."""
    assert Orders.from_bytes(sent.to_bytes()) == sent


@given(st.builds(Report, words, st.none() | words, st.sampled_from([None, "permission", "failed"]), counters))
def test_reports_come_as_they_were_sent(sent: Report) -> None:
    """All fields."""
    assert Report.from_bytes(sent.to_bytes()) == sent


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b'{"counters":{"a":1.5}}', b'{"counters":3}', b'{"ports":3}']))
def test_other_bytes_are_refused(data: bytes) -> None:
    """A damaged message is a ValueError or TypeError for whoever reads it, nothing else."""
    for kind in (Orders, Report):
        try:
            kind.from_bytes(data)
        except (ValueError, TypeError):
            pass


def test_a_report_always_fits() -> None:
    """Counters that cannot be sent in one message stay away, the heartbeat does not."""
    report = Report("tap", "x" * 10_000, None, {f"framing:{'y' * 100}{n}": n for n in range(5_000)})
    assert len(report.to_bytes()) <= LARGEST
    assert Report.from_bytes(report.to_bytes()).mode == "tap"


def test_the_newest_orders_count(pair: tuple[Control, socket.socket]) -> None:
    """Older ones and damaged ones are passed over; the end of the agent is told."""
    control, agent = pair
    assert control.poll() is None
    for data in (Orders(ports=(1,)).to_bytes(), b"{", Orders(ports=(2,)).to_bytes(), b'{"ports": 3}'):
        agent.send(data)
    assert control.poll() == Orders(ports=(2,))
    assert control.poll() is None
    agent.close()
    with pytest.raises(ClosedError):
        control.poll()


def test_a_beat_is_sent_four_times_a_second_or_when_something_changes(pair: tuple[Control, socket.socket]) -> None:
    """However often the loop calls it; a reader that does not read never makes it wait."""
    control, agent = pair
    for now in (0.0, 0.1, BEAT_SECONDS):
        control.beat(now, {"a": 1}, "tap")
    control.beat(BEAT_SECONDS + 0.01, {"a": 2}, "tap", "drops")
    seen = [Report.from_bytes(agent.recv(LARGEST)) for _ in range(3)]
    assert [r.problem for r in seen] == [None, None, "drops"]
    for now in range(10_000):
        control.beat(float(now), {"a": 1}, "tap")
    agent.close()
    control.beat(1e6, {}, "tap")
