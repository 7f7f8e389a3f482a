"""The request-smuggling corpus through a real relay: bytes, exchanges, reasons; the tap frames by the same code."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.bars import Result, bar
from pilotfish.exchange import AMBIGUOUS, OPAQUE, REQUEST_CUT, RESPONSE_CUT
from tests.capture_framing.corpus import CASES, CLIENT, Case
from tests.capture_relay.box import RelayBox

PATIENCE_S = 10.0


class Backend:
    """A socket that answers as the script says and keeps what it got."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE_S)
        self.port = int(self.listener.getsockname()[1])

    def play(self, case: Case, port: int) -> tuple[bytes, bytes]:
        """Plays a case through ``port``, step by step; (bytes at the backend, bytes at the client)."""
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
            server, _ = self.listener.accept()
            with server:
                server.settimeout(PATIENCE_S)
                at_server, at_client = bytearray(), bytearray()
                for side, data in case.script:
                    giver, taker, got = (client, server, at_server) if side == CLIENT else (server, client, at_client)
                    giver.sendall(data)
                    got += exactly(taker, len(data))
                client.shutdown(socket.SHUT_WR)
                at_server += rest(server)
                server.shutdown(socket.SHUT_WR)
                at_client += rest(client)
        return bytes(at_server), bytes(at_client)


def exactly(one: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        piece = one.recv(size - len(got))
        if not piece:
            break
        got += piece
    return bytes(got)


def rest(one: socket.socket) -> bytes:
    return b"".join(iter(lambda: one.recv(65_536), b""))


def different(backend: Backend, port: int) -> Iterator[str]:
    """Names of the cases whose bytes differ from a direct connection's."""
    for case in CASES:
        direct = backend.play(case, backend.port)
        if backend.play(case, port) != direct:
            yield case.name


@bar(
    "Request-smuggling corpus through the relay: bytes at the backend and at the client identical to a direct "
    "connection; of an ambiguous message no request, model or prediction is invented, counted by reason",
    "0 cases with other bytes, 0 exchanges or copies invented or missed, every reason counted",
)
def smuggling() -> Result:
    expected = Counter(seen for case in CASES for seen in case.seen)
    reasons = Counter(reason for case in CASES for reason in case.reasons)
    backend = Backend()
    with backend.listener, RelayBox(backend.port, bodies="all") as box:
        other = list(different(backend, box.port))
        end = time.monotonic() + PATIENCE_S
        while len(box.records) < expected.total() and time.monotonic() < end:
            time.sleep(0.05)
        box.beaten()  # and what comes too much
        cut = ~(REQUEST_CUT | RESPONSE_CUT)
        told = Counter((line, r.status, r.flags & cut) for line, r in list(box.records))
        copies = [c for c in list(box.copies) if c.record.flags & (AMBIGUOUS | OPAQUE)]
        report = box.report
        counted = Counter(
            {k[8:]: n for k, n in (report.counters if report else {}).items() if k.startswith("framing:")}
        )
    invented, missed = (told - expected).total(), (expected - told).total()
    measured = (
        f"{len(CASES)} cases, {reasons.total()} ambiguous by {len(reasons)} reasons: {len(other)} with other bytes, "
        f"{invented} exchanges invented, {missed} missed, {len(copies)} copies of ambiguous ones, "
        f"reasons {'as expected' if counted == reasons else f'differ: {counted - reasons} {reasons - counted}'}"
    )
    for name in other:
        print(f"  other bytes: {name}")
    for kind, which in (("invented", told - expected), ("missed", expected - told)):
        for seen, n in which.items():
            print(f"  {kind}: {n} x {seen}")
    holds = not other and told == expected and not copies and counted == reasons
    return Result(measured, holds)
