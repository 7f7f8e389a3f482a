"""A fault of ours in framing or recording costs data of ours, never a byte of the traffic, nor the heartbeat."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from pilotfish_agent.capture import relay
from pilotfish_agent.capture.control import Control, Orders, RelayOrders, Report
from pilotfish_agent.capture.recorder import Recorder
from tests.capture_relay.box import exactly, free_port, server, until

ASK = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Broken(Recorder):
    """Fails at all that it is asked for."""

    def finish(self, *_: object, **__: object) -> None:
        raise ZeroDivisionError("finish")

    def copy(self, *_: object, **__: object) -> None:
        raise ZeroDivisionError("copy")

    def flush(self, now: float) -> None:
        raise ZeroDivisionError("flush")


@pytest.fixture(params=["uvloop", "asyncio"])
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[Report]]]:
    """The port of a relay with a broken recorder, and its heartbeats; on either loop."""
    if request.param == "asyncio":
        monkeypatch.setitem(__import__("sys").modules, "uvloop", None)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reports: list[Report] = []

    def answer(connection: socket.socket) -> None:
        while connection.recv(65_536):
            connection.sendall(HTTP)

    def hear() -> None:
        while data := ours.recv(1 << 16):
            reports.append(Report.from_bytes(data))

    with server(answer) as model, ours, theirs:
        port = free_port()
        orders = Orders(mode="relay", ports=(model,), relay=RelayOrders(listen=f"127.0.0.1:{port}"))
        recorder = Broken(lambda _: True)
        work = threading.Thread(target=relay.run, args=(orders, recorder, Control(theirs)))
        ears = threading.Thread(target=hear)
        work.start()
        ears.start()
        until(lambda: reports, "a heartbeat")
        yield port, reports
        ours.shutdown(socket.SHUT_RDWR)
        work.join(20)
        ears.join(20)
        assert not work.is_alive()


def test_the_bytes_pass_whatever_fails(broken: tuple[int, list[Report]]) -> None:
    """Several requests on a connection whose framing has failed, and a new connection after it."""
    port, reports = broken
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(20)
            for _ in range(5):
                client.sendall(ASK)
                assert exactly(client, len(HTTP)) == HTTP
    seen = len(reports)
    until(lambda: len(reports) >= seen + 2, "heartbeats go on")
    assert reports[-1].mode == "relay"
    assert reports[-1].counters["relay:faults"] >= 2
    assert "the bytes pass" in (reports[-1].problem or "")
