"""What goes as a copy and what as a record: an unbiased sample in its budget, errors always, all of it bounded."""

from __future__ import annotations

import pathlib
import random
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish import exchange
from pilotfish_agent.capture._reservoir import Reservoir
from pilotfish_agent.capture.http1 import Conversation
from pilotfish_agent.capture.recorder import AT_ONCE, WAITING, WINDOW_S, Recorder
from pilotfish_agent.capture.sender import Sender
from tests.capture_framing.driver import Sink, recorder

OVERHEAD = 200  # bytes of a copy beside its bodies, about


def say(talk: Conversation, size: int, status: int = 200, now: int = 1) -> None:
    """One exchange whose answer has ``size`` bytes."""
    ask = b"POST /%d HTTP/1.1\r\nContent-Length: 0\r\n\r\n" % size
    answer = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, size) + bytes(size)
    talk.request(ask, 0, len(ask), now)
    talk.response(answer, 0, len(answer), now + 1)


class Clock:
    """Windows that close when told."""

    def __init__(self, made: Recorder) -> None:
        self.made = made
        self.now = 0.0
        made.flush(self.now)

    def window(self) -> None:
        """A window's time has passed."""
        self.now += WINDOW_S
        self.made.flush(self.now)


def told(sink: Sink) -> int:
    """Exchanges that came, as records or copies."""
    return len(sink.records()) + len(sink.copies())


def test_every_exchange_goes_once() -> None:
    """Whatever the sample takes, a record or a copy comes of each."""
    sink = Sink()
    made = recorder(sink, bodies="sampled", budget=40_000)
    clock = Clock(made)
    talk = Conversation(80, made)
    for n in range(2_000):
        say(talk, n % 900)
        if n % 100 == 99:
            clock.window()
    clock.window()
    assert told(sink) == 2_000
    assert 0 < len(sink.copies()) < 1_000
    assert made.counters["exchanges:success"] == 2_000


def test_below_the_budget_everything_is_copied() -> None:
    """No sampling where none is needed."""
    sink = Sink()
    made = recorder(sink, bodies="sampled")
    clock = Clock(made)
    talk = Conversation(80, made)
    for _ in range(200):
        say(talk, 500)
    clock.window()
    assert (len(sink.copies()), sink.records()) == (200, [])


@pytest.mark.parametrize("budget", [20_000, 100_000])
def test_the_budget_holds(budget: int) -> None:
    """Copies take the budget's bytes and not more, and most of them, whatever the sizes."""
    sink = Sink()
    made = recorder(sink, bodies="sampled", budget=budget, draw=random.Random(1).random)
    clock = Clock(made)
    talk = Conversation(80, made)
    rng = random.Random(2)
    windows = 120
    for _ in range(windows):
        for _ in range(100):
            say(talk, int(rng.paretovariate(0.9) * 100) % 50_000)
        clock.window()
    used = sum(map(len, (exchange.pack_copy(c) for c in sink.copies())))
    allowed = budget * WINDOW_S * windows
    assert 0.6 * allowed <= used <= 1.05 * allowed + 50_000


def test_the_sample_is_unbiased() -> None:
    """Large exchanges, slow ones and late ones are as likely as the others: |z| < 4.5 for each group.

    Sizes differ by a factor of 200, so that a rule that looks at an exchange's own size would show: dropping what
    does not fit, or the newest, fails this test by tens of standard deviations.
    """
    rng = random.Random(7)
    groups: dict[str, list[tuple[bool, float]]] = {}
    for _ in range(1_500):
        evicted: list[bytes] = []
        made = Reservoir(lambda copy, _, out=evicted: out.append(copy))  # type: ignore[misc]
        made.open(20_000.0)
        sizes = [rng.choice((100, 1_000, 20_000)) for _ in range(30)]
        for place, size in enumerate(sizes):
            made.add(rng.random(), bytes([place]) + bytes(size - 1), b"")
        kept = {item[2][0] for item in made.close()}
        assert len(kept) + len(evicted) == 30
        share = len(kept) / 30
        for place, size in enumerate(sizes):
            for group in (f"size {size}", "early" if place < 15 else "late"):
                groups.setdefault(group, []).append((place in kept, share))
    for group, members in groups.items():
        excess = sum(kept - share for kept, share in members)
        spread = sum(share * (1 - share) for _, share in members) ** 0.5
        assert abs(excess / spread) < 4.5, group


def test_the_sample_is_unbiased_over_windows() -> None:
    """With the carried threshold and debt, too: the mean size of what is copied is that of the traffic."""
    sink = Sink()
    made = recorder(sink, bodies="sampled", budget=160_000, draw=random.Random(11).random)
    clock = Clock(made)
    talk = Conversation(80, made)
    rng = random.Random(12)
    counts = {100: 0, 10_000: 0}
    for _ in range(400):
        for _ in range(40):
            size = rng.choice(tuple(counts))
            counts[size] += 1
            say(talk, size)
        clock.window()
    copied = dict.fromkeys(counts, 0)
    for copy in sink.copies():
        copied[len(copy.response_body)] += 1
    large, small = (copied[s] / counts[s] for s in (10_000, 100))
    spread = (small / counts[100] + large / counts[10_000]) ** 0.5
    assert copied[10_000] > 500
    assert abs(large - small) < 4.5 * spread


def test_errors_always_within_a_cap() -> None:
    """Errors are copied beside the sample until a quarter of the budget is used; then counted, and told as records."""
    sink = Sink()
    made = recorder(sink, bodies="sampled", budget=80_000)
    clock = Clock(made)
    talk = Conversation(80, made)
    made.threshold = 0.0
    for _ in range(5):
        say(talk, 300, 503)
    clock.window()
    assert len(sink.copies()) == 5
    for _ in range(200):
        say(talk, 300, 404)
    clock.window()
    dropped = made.counters["dropped:bodies_error_cap"]
    assert 150 < dropped < 200
    assert told(sink) == 205
    assert made.counters["exchanges:client_error"] == 200


def test_no_bodies() -> None:
    """With ``none`` nothing of a body is kept, not even of errors."""
    sink = Sink()
    made = recorder(sink, bodies="none")
    talk = Conversation(80, made)
    say(talk, 10, 500)
    made.flush(0.0)
    assert (sink.copies(), len(sink.records())) == ([], 1)


@pytest.mark.parametrize("bodies", ["all", "sampled"])
def test_a_silent_agent_costs_a_bounded_number_of_bytes(bodies: str) -> None:
    """What it does not take waits within a bound, is counted beyond, and comes when it is back."""
    sink = Sink(takes=False)
    made = recorder(sink, bodies=bodies)
    clock = Clock(made)
    talk = Conversation(80, made)
    for n in range(600):
        say(talk, 20_000)
        if n % 20 == 19:
            clock.window()
            assert made.waiting <= WAITING + AT_ONCE
    assert (made.counters["dropped:bodies_agent_slow"] > 0) == (bodies == "all")  # a sample shrinks before
    assert made.counters["dropped:exchanges_agent_slow"] == 0
    sink.takes = True
    clock.window()
    clock.window()
    assert told(sink) == 600


def test_records_beyond_the_bound_are_counted_and_told() -> None:
    """Without an agent the oldest records go; the next frame says how many."""
    sink = Sink(takes=False)
    made = recorder(sink)
    for n in range(200_000):
        made.finish(b"GET /", n, 1, 1, 1, 1, 80, 200, 0)
    made.flush(0.0)
    assert made.waiting <= WAITING + 65_536
    lost = made.counters["dropped:exchanges_agent_slow"]
    sink.takes = True
    made.finish(b"GET /", 1, 1, 1, 1, 1, 80, 200, 0)
    made.flush(0.05)
    frames = [exchange.unpack(f) for f in sink.frames]
    assert sum(f.rows for f in frames if isinstance(f, exchange.Timings)) + lost == 200_001
    assert sum(f.lost for f in frames) <= lost


def test_the_budget_halves_while_the_agent_lags_and_recovers() -> None:
    """Each window in which something waits halves it; each other one gives a quarter back."""
    sink = Sink()
    made = recorder(sink, bodies="sampled")
    clock = Clock(made)
    talk = Conversation(80, made)
    sink.takes = False
    shares = []
    for _ in range(4):
        say(talk, 100)
        clock.window()
        shares.append(made.share)
    assert shares == [1.0, 0.5, 0.25, 0.125] or shares == [0.5, 0.25, 0.125, 0.0625]
    sink.takes = True
    for _ in range(30):
        clock.window()
    assert made.share == 1.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3_000), st.sampled_from([200, 404, 503]), st.booleans()), max_size=60))
def test_nothing_is_lost_in_any_order(steps: list[tuple[int, int, bool]]) -> None:
    """Exchanges counted = exchanges that came, with an agent that refuses now and then."""
    sink = Sink()
    made = recorder(sink, bodies="sampled", budget=8_000)
    clock = Clock(made)
    talk = Conversation(80, made)
    for size, status, takes in steps:
        sink.takes = takes
        say(talk, size, status)
        if size % 5 == 0:
            clock.window()
    sink.takes = True
    clock.window()
    clock.window()
    assert told(sink) == len(steps)


def test_orders_change_while_it_runs() -> None:
    """From ``none`` to ``all``: what begins afterwards is copied."""
    sink = Sink()
    made = recorder(sink)
    talk = Conversation(80, made)
    say(talk, 5)
    made.configure(bodies="all", budget=1_000, body_limit=3)
    say(talk, 5)
    made.flush(0.0)
    assert len(sink.records()) == 1
    assert [c.response_body for c in sink.copies()] == [bytes(3)]


def test_the_sender_never_waits(tmp_path: pathlib.Path) -> None:
    """No agent, a full agent, an agent started anew: refused, refused, found."""
    path = str(tmp_path / "s")
    sender = Sender(path)
    assert not sender(b"x")
    agent = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    agent.bind(path)
    sender.retry_at = 0.0
    taken = 0
    while sender(b"x" * 1_000):
        taken += 1
    assert taken > 0
    assert agent.recv(2_000) == b"x" * 1_000
    assert sender(b"y")
    agent.close()
    pathlib.Path(path).unlink()
    assert not sender(b"z")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(path)
        sender.retry_at = 0.0
        assert sender(b"z")
        assert again.recv(10) == b"z"
    sender.close()


def test_orders_and_the_end_lose_no_copy() -> None:
    """What a window kept goes when orders change, and when the capture ends."""
    sink = Sink()
    made = recorder(sink, bodies="sampled")
    talk = Conversation(80, made)
    for _ in range(3):
        say(talk, 10)
    made.configure(bodies="sampled", budget=5_000, body_limit=100)
    say(talk, 10)
    made.close()
    assert told(sink) == 4
