"""Connections begin and end through the relay as they would without it, and none of them can fill it."""

from __future__ import annotations

import os
import queue
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import pytest

from benchmarks.capture.relay_bench import rss
from tests.capture_relay.box import (
    RelayBox,
    Stage,
    closes_with,
    everything,
    exactly,
    free_port,
    server,
    until,
)

HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ASK = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"


def connect(box: RelayBox, family: int = socket.AF_INET) -> socket.socket:
    made = socket.create_connection(("::1" if family == socket.AF_INET6 else "127.0.0.1", box.port))
    made.settimeout(20)
    return made


def reset(connection: socket.socket) -> None:
    """Ends a connection with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def answer(connection: socket.socket) -> None:
    """A small keep-alive HTTP server."""
    while connection.recv(65_536):
        connection.sendall(HTTP)


def test_a_model_that_is_down_resets_the_client_and_comes_back() -> None:
    """Refused upstream: the client's connection is reset at once; when the model listens, the next one works."""
    port = free_port()
    with RelayBox(port) as box:
        with connect(box) as client:
            assert closes_with(client) == "reset"
        until(lambda: box.counter("relay:refused") == 1, "the count")
        with (
            socket.create_server(("127.0.0.1", port)) as listener,
            connect(box) as client,
            listener.accept()[0] as model,
        ):
            client.sendall(b"x")
            assert model.recv(1) == b"x"


def test_orders_move_the_upstream() -> None:
    """A model that comes back on another port is found by the next connection."""
    with server(answer) as first, server(lambda c: c.sendall(b"second")) as second, RelayBox(first) as box:
        with connect(box) as client:
            client.sendall(ASK)
            assert exactly(client, len(HTTP)) == HTTP
        box.tell(replace(box.orders, ports=()))

        def refused() -> bool:
            with connect(box) as other:
                other.settimeout(0.05)
                try:
                    return other.recv(1) == b""
                except ConnectionResetError:
                    return True
                except TimeoutError:
                    return False

        until(refused, "no upstream, no connection")
        box.tell(replace(box.orders, ports=(second,)))
        until(lambda: not refused(), "the new upstream")
        with connect(box) as client:
            assert everything(client) == b"second"


def test_a_reset_of_the_client_reaches_the_model(stage: Stage) -> None:
    """And not a mere end, which some protocols take for a complete message."""
    seen: queue.SimpleQueue[str] = queue.SimpleQueue()

    def watch(connection: socket.socket) -> None:
        connection.sendall(b"x")
        seen.put(closes_with(connection))

    with stage.play(watch) as box:
        client = connect(box)
        assert client.recv(1) == b"x"
        reset(client)
        assert seen.get(timeout=10) == "reset"


def test_a_reset_of_the_model_reaches_the_client() -> None:
    """A model that dies in the middle of an answer is not an answer that is complete."""

    def die(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        time.sleep(0.05)
        reset(connection)

    with server(die) as port, RelayBox(port) as box:
        with connect(box) as client:
            client.sendall(ASK)
            assert closes_with(client) == "reset"
        until(lambda: len(box.records) == 1, "the exchange that died")


def test_an_early_end_of_the_model_is_an_end(stage: Stage) -> None:
    """An answer before the request's body is over, then the end: the client gets the answer."""

    def refuse(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        everything(connection)

    with stage.play(refuse) as box, connect(box) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert everything(client).startswith(b"HTTP/1.1 413")


def test_a_slow_reader_holds_its_sender_back() -> None:
    """A client that does not read stops the model's writes; the relay keeps some 64 KiB of it, whatever is sent."""
    sent = threading.Event()
    taken = [0]

    def flood(connection: socket.socket) -> None:
        connection.settimeout(1.0)
        block = bytes(1 << 20)
        try:
            for _ in range(64):
                connection.sendall(block)
                taken[0] += len(block)
        except TimeoutError:
            pass
        sent.set()

    with server(flood) as port, RelayBox(port, bodies="none") as box, connect(box) as client:
        before = rss(box.process.pid)
        assert client.recv(1) == bytes(1)
        assert sent.wait(20)
        assert taken[0] < 40 << 20  # the kernel's own buffers of two connections, no more
        assert rss(box.process.pid) - before < 2 << 20


def test_a_thousand_connections() -> None:
    """All are served, and all are gone afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8_192)), hard))
    with server(answer) as port, RelayBox(port) as box:
        clients = [connect(box) for _ in range(1_000)]
        for client in clients:
            client.sendall(ASK)
        assert all(exactly(client, len(HTTP)) == HTTP for client in clients)
        until(lambda: len(box.records) == 1_000, "all exchanges")
        before = descriptors(box)  # the socket to the agent among them, which the first record opens
        for client in clients:
            client.close()
        until(lambda: descriptors(box) <= before - 2_000, "all sockets closed")
        assert set(box.lines()) == {"GET /a 200"}


def descriptors(box: RelayBox) -> int:
    return len(os.listdir(f"/proc/{box.process.pid}/fd"))


def test_more_than_there_is_room_for_is_refused() -> None:
    """With few descriptors: the connections that are there go on, the others are reset and counted."""
    with server(answer) as port, RelayBox(port, descriptors=128) as box, ExitStack() as open_ones:  # 32 pairs
        clients = [open_ones.enter_context(connect(box)) for _ in range(60)]
        for client in clients:
            try:
                client.sendall(ASK)
            except ConnectionError:
                pass
        answers = [answer_of(client) for client in clients]
        assert answers.count(HTTP) == 32
        until(lambda: box.counter("relay:full") == 28, "the count")
        clients[answers.index(HTTP)].close()
        until(lambda: served(box), "room again")


def answer_of(client: socket.socket) -> bytes:
    try:
        return exactly(client, len(HTTP))
    except ConnectionError:
        return b""


def served(box: RelayBox) -> bool:
    with connect(box) as client:
        try:
            client.sendall(ASK)
        except ConnectionError:
            return False
        return answer_of(client) == HTTP


def test_the_end_waits_for_an_answer_that_is_owed() -> None:
    """The agent ends: idle connections close, the one with a request under way gets its answer first."""

    def slow(connection: socket.socket) -> None:
        while connection.recv(1_000):
            time.sleep(0.7)
            connection.sendall(HTTP)

    with server(slow) as port, RelayBox(port) as box, connect(box) as idle, connect(box) as busy:
        for client in (idle, busy):
            client.sendall(ASK)
            assert exactly(client, len(HTTP)) == HTTP
        busy.sendall(ASK)
        time.sleep(0.2)
        assert box.stop() == 0
        assert everything(idle) == b""
        assert everything(busy) == HTTP
        with pytest.raises(ConnectionRefusedError):
            connect(box)


def test_killed_and_started_again_it_has_its_port_at_once() -> None:
    """kill -9 with open connections: they are reset or end, and a new process listens on the same address."""
    with server(answer) as port, RelayBox(port) as box:
        with connect(box) as client:
            client.sendall(ASK)
            assert exactly(client, len(HTTP)) == HTTP
            box.kill()
            assert closes_with(client) in {"end", "reset"}
        box.start()
        until(lambda: _open(box) and served(box), "the port")


def _open(box: RelayBox) -> bool:
    try:
        connect(box).close()
    except OSError:
        return False
    return True


def test_a_port_that_is_taken_is_told() -> None:
    """The report says what to do, and the process ends with the code for it."""
    with server(answer) as port, RelayBox(port, listen=f"127.0.0.1:{port}") as box:
        assert box.process.wait(10) == 3
        until(lambda: box.report is not None, "the report")
        assert box.report is not None
        assert (box.report.mode, box.report.reason) == ("off", "failed")
        assert "the port is taken" in (box.report.problem or "")


def test_ipv6_both_sides() -> None:
    """A listener and a model on ::1."""
    address = f"[::1]:{free_port(socket.AF_INET6)}"
    with (
        server(answer, family=socket.AF_INET6) as port,
        RelayBox(port, listen=address, relay={"upstream": f"[::1]:{port}"}) as box,
    ):
        with connect(box, socket.AF_INET6) as client:
            client.sendall(ASK)
            assert exactly(client, len(HTTP)) == HTTP
        until(lambda: box.lines() == ["GET /a 200"], "the exchange")
        assert box.records[0][1].port == port


def test_it_does_not_dial_itself() -> None:
    """An upstream that is the relay's own address is refused, not followed round and round."""
    port = free_port()
    with RelayBox(port, listen=f"127.0.0.1:{port}") as box:
        with connect(box) as client:
            assert closes_with(client) == "reset"
        until(lambda: box.counter("relay:refused") == 1, "the count")


def test_without_uvloop_it_works_on_asyncio() -> None:
    """Slower, the same."""
    code = (
        "import sys; sys.modules['uvloop'] = None\n"
        "from pilotfish_agent.capture import relay\n"
        "loop = relay.new_loop(); print(type(loop).__module__); loop.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.startswith("asyncio.")
