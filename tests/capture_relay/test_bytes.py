"""Bytes pass the relay untouched, in order, at once, whatever they are and however they are cut."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.capture_relay.box import RelayBox, Stage, everything, exactly, server, until

PIECES = (
    b"POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\nHost: bare\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"ffffffffffffffff\r\n",
    b"\r\n\r\n",
)
CHUNKS = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(min_size=1, max_size=300)), max_size=8)


class Scripted:
    """A server that sends given chunks and keeps what it got; one connection at a time."""

    def __init__(self) -> None:
        self.scripts: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
        self.got: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def __call__(self, connection: socket.socket) -> None:
        chunks = self.scripts.get(timeout=10)
        reader = threading.Thread(target=lambda: self.got.put(everything(connection)))
        reader.start()
        speak(connection, chunks)
        reader.join()


def speak(connection: socket.socket, chunks: list[bytes]) -> None:
    """Sends chunks as segments of their own, then ends this direction."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for chunk in chunks:
        connection.sendall(chunk)
        time.sleep(0.0002)
    connection.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[Scripted, RelayBox]]:
    """A scripted server behind a relay."""
    handle = Scripted()
    with server(handle) as port, RelayBox(port) as box:
        yield handle, box


def connect(box: RelayBox) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", box.port))
    made.settimeout(20)
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=CHUNKS, answered=CHUNKS)
def test_bytes_are_the_same_both_ways(
    scripted: tuple[Scripted, RelayBox], asked: list[bytes], answered: list[bytes]
) -> None:
    """Both directions, at the same time, in any cuts, of anything: HTTP, broken HTTP, TLS, noise."""
    handle, box = scripted
    handle.scripts.put(answered)
    with connect(box) as client:
        speaker = threading.Thread(target=speak, args=(client, asked))
        speaker.start()
        got = everything(client)
        speaker.join()
    assert got == b"".join(answered)
    assert handle.got.get(timeout=10) == b"".join(asked)


def test_no_fault_in_framing_was_met(scripted: tuple[Scripted, RelayBox]) -> None:
    """After all of the above the framer has not failed once, and no pair is left."""
    _, box = scripted
    box.beaten()
    assert box.counter("relay:faults") == 0, box.report


def test_large_bodies_are_the_same(stage: Stage) -> None:
    """Megabytes in both directions at once: back pressure neither loses nor doubles a byte."""
    block = bytes(range(256)) * 4_096 * 8  # 8 MiB

    def echo(connection: socket.socket) -> None:
        while data := connection.recv(1 << 18):
            connection.sendall(data)

    with stage.play(echo) as box, connect(box) as client:
        sender = threading.Thread(target=client.sendall, args=(block,))
        sender.start()
        got = exactly(client, len(block))
        sender.join()
    assert got == block


def test_a_server_that_speaks_first_is_heard(stage: Stage) -> None:
    """The greeting of HTTP/2, SMTP and the like passes though the client has said nothing."""

    def greet(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        connection.sendall(connection.recv(100))

    with stage.play(greet) as box, connect(box) as client:
        assert exactly(client, 5) == b"hello"
        client.sendall(b"you")
        assert exactly(client, 3) == b"you"


def test_a_client_that_ends_its_half_gets_its_answer(stage: Stage) -> None:
    """shutdown(SHUT_WR) reaches the model, whose answer comes after it; the end of the model's half comes too."""

    def answer_at_the_end(connection: socket.socket) -> None:
        asked = everything(connection)
        time.sleep(0.1)
        connection.sendall(asked[::-1])

    with stage.play(answer_at_the_end) as box, connect(box) as client:
        client.sendall(b"abc")
        client.shutdown(socket.SHUT_WR)
        assert everything(client) == b"cba"


def test_a_server_that_ends_its_half_still_hears(stage: Stage) -> None:
    """The other way round: the model ends first, the client's bytes still come."""
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def end_first(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        heard.put(everything(connection))

    with stage.play(end_first) as box, connect(box) as client:
        assert everything(client) == b""
        client.sendall(b"one")
        time.sleep(0.05)
        client.sendall(b"two")
        client.shutdown(socket.SHUT_WR)
        assert heard.get(timeout=10) == b"onetwo"


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson"])
def test_streams_pass_chunk_by_chunk(kind: str) -> None:
    """Each chunk reaches the client before the model sends the next one, which it does only when told to."""
    step = threading.Semaphore(0)

    def stream(connection: socket.socket) -> None:
        connection.recv(1_000)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for n in range(5):
            assert step.acquire(timeout=10)
            connection.sendall(b"9\r\ndata: %d\n\n\r\n" % n)
        connection.sendall(b"0\r\n\r\n")
        everything(connection)

    with server(stream) as port, RelayBox(port) as box:
        with connect(box) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
            while not (head := client.recv(1_000)).endswith(b"\r\n\r\n"):
                assert head
            for n in range(5):
                step.release()
                assert exactly(client, 14) == b"9\r\ndata: %d\n\n\r\n" % n
            assert exactly(client, 5) == b"0\r\n\r\n"
        until(lambda: box.lines() == ["POST /v1/chat/completions 200"], "the exchange")


def test_websocket_frames_pass(stage: Stage) -> None:
    """After 101 the bytes are nobody's HTTP: they pass both ways."""

    def upgrade(connection: socket.socket) -> None:
        connection.recv(1_000)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while data := connection.recv(1_000):
            connection.sendall(data)

    with stage.play(upgrade) as box, connect(box) as client:
        client.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert client.recv(1_000).startswith(b"HTTP/1.1 101")
        for frame in (b"\x81\x85abcd\x00\x01\x02\x03\x04", b"\x89\x00", b"GET / HTTP/1.1\r\n\r\n"):
            client.sendall(frame)
            assert exactly(client, len(frame)) == frame
