"""What goes from guard to agent, and what comes back through the heartbeat pipe."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.launch.handover import LONGEST, Handover, Heart, Messages

# What a word of a command line can be: any bytes but NUL, decoded as Python decodes them.
WORDS = st.binary(max_size=20).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
KEYS = st.sampled_from(["listen", "config", "model-version"])


@given(WORDS, st.integers(0, 2**40), st.lists(WORDS), st.lists(WORDS), st.dictionaries(KEYS, WORDS))
def test_a_handover_comes_back_equal(
    text: str, number: int, command: list[str], path: list[str], options: dict[str, str]
) -> None:
    """Any bytes the system allows in names, paths and arguments survive the way to the agent."""
    sent = Handover(
        instance=text,
        state_dir=text,
        model_pid=number,
        heartbeat_fd=3,
        command=command,
        path=path,
        problems=[text],
        options=options,
    )
    got = Handover.from_bytes(sent.to_bytes())
    assert {name: getattr(got, name) for name in Handover.__slots__} == {
        name: getattr(sent, name) for name in Handover.__slots__
    }


@given(st.binary(max_size=60) | st.sampled_from([b"model_pid=x\0", b"option=a\0", b"instance\0", b"option\0"]))
def test_other_bytes_are_refused(data: bytes) -> None:
    """What is no handover raises ValueError and nothing else."""
    with contextlib.suppress(ValueError):
        assert isinstance(Handover.from_bytes(data), Handover)


def test_it_says_where_socket_and_address_are() -> None:
    """The two files other processes look for stand in the instance's runtime folder."""
    handover = Handover(runtime_dir="/run/pilotfish/m")
    assert handover.intake == "/run/pilotfish/m/intake.sock"
    assert handover.address_file == "/run/pilotfish/m/address"


MESSAGES = st.lists(
    st.tuples(st.sampled_from("WR"), st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=30))
)


@given(MESSAGES, st.lists(st.integers(1, 9)))
def test_messages_survive_any_cutting(messages: list[tuple[str, str]], cuts: list[int]) -> None:
    """A pipe hands bytes over in pieces of its own choice; the messages are the same."""
    stream = "".join(f"{kind}{text}\n" for kind, text in messages).encode()
    reader, got, at = Messages(), [], 0
    for cut in [*cuts, len(stream)]:
        got += reader.feed(stream[at : at + cut])
        at += cut
    assert got == messages


@given(st.lists(st.binary(max_size=50)))
def test_any_bytes_are_harmless(pieces: list[bytes]) -> None:
    """Garbage in the pipe never raises and never brings control characters to the user's terminal."""
    reader = Messages()
    for piece in pieces:
        for kind, text in reader.feed(piece):
            assert kind in {".", "W", "R"}
            assert text.isprintable()


def test_a_line_without_end_is_bounded() -> None:
    """An agent gone mad cannot fill the guard's memory."""
    reader = Messages()
    for _ in range(100):
        assert reader.feed(b"W" + b"x" * 1000) == []
    (message,) = reader.feed(b"\n")
    assert len(message[1]) <= LONGEST


def test_a_heart_speaks_in_whole_lines() -> None:
    """Beats, warnings and readiness arrive as they were said; a newline within a text is none."""
    read, write = os.pipe2(os.O_NONBLOCK)
    heart = Heart(write)
    heart.beat()
    heart.warn("port 7374\nis taken")
    heart.ready("x" * 10_000)
    first, second, third = Messages().feed(os.read(read, 1 << 16))
    assert (first, second) == ((".", ""), ("W", "port 7374 is taken"))
    assert third[0] == "R"
    assert set(third[1]) == {"x"}
    os.close(read)
    before = heart.alone
    heart.beat()
    assert (before, heart.alone) == (False, True), "the guard has gone, and the agent knows it"
    os.close(write)


def test_a_text_that_is_no_utf8_is_said_all_the_same() -> None:
    """A heart never raises: half a surrogate, as a configuration may hold, is written as its escape."""
    read, write = os.pipe2(os.O_NONBLOCK)
    Heart(write).warn("tick: \ud800")
    assert Messages().feed(os.read(read, 1 << 16)) == [("W", "tick: \\ud800")]
    os.close(read)
    os.close(write)


def test_a_full_pipe_is_no_error() -> None:
    """While the guard is stopped the beats pile up, and the agent goes on."""
    read, write = os.pipe2(os.O_NONBLOCK)
    heart = Heart(write)
    for _ in range(70_000):
        heart.beat()
    assert not heart.alone
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("call", ["beat", "warn", "ready"])
def test_nobody_listens(call: str) -> None:
    """Without a guard, as under attach, a heart says nothing."""
    heart = Heart(-1)
    getattr(heart, call)(*([] if call == "beat" else ["text"]))
    assert heart.alone
