"""Datagrams and HTTP bytes that nobody should send, for an agent that must go on."""

from __future__ import annotations

import socket
import struct

from hypothesis import strategies as st

from pilotfish import wire
from pilotfish.wire import Frame, Section

TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["", "toy", "__other__", "@prediction", "@score", "@model", '"}\n', "\0", "\x01", "\u202e", "a" * 300, "le"]
)
KINDS = (wire.FLOAT, wire.INTEGER, wire.TEXT, wire.lists_of(3))
COLUMN = st.tuples(st.sampled_from(wire.ROLES), st.sampled_from(KINDS), TEXT)


@st.composite
def sections(draw: st.DrawFn) -> Section:
    """Well-formed or not: roles twice, names of ours, any bit pattern for a number, too few or too many cells."""
    columns = draw(st.lists(COLUMN, min_size=1, max_size=6))
    rows = draw(st.integers(1, 5))
    numbers = sum(wire.cells_of(kind) for _, kind, _ in columns) * rows
    odd = st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e308, -0.0, 5e-324, 0.5, 1.0])
    cells = draw(st.lists(odd, min_size=numbers, max_size=numbers))
    texts = draw(st.lists(TEXT, max_size=len(columns) * rows + 1))
    text = "\0".join(map(wire.escape, texts)).encode()
    count = draw(st.sampled_from([len(columns), len(columns), len(columns), 0, 65535]))
    outcome, layout = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    packed = struct.pack(f"<{numbers}d", *cells)
    return Section(wire.describe(columns), count, rows, packed, text, outcome=outcome, layout=layout)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """An encoded frame, as it is or with bytes changed, cut off or added."""
    sent = draw(st.sampled_from([0.0, float("nan"), 1e300, -1.0, 1_700_000_000.0]))
    frame = Frame(draw(st.integers(0, 3)), draw(st.integers(0, 2**32)), sent, draw(TEXT), draw(TEXT), [])
    frame.sections = draw(st.lists(sections(), max_size=3))
    data = bytearray(wire.encode(frame))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, len(data)))
    return draw(st.sampled_from([bytes(data), bytes(data), bytes(data[:cut]), bytes(data + data)]))


DATAGRAM = frames() | st.binary(max_size=200)

METHOD = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PRI", b"get", b"\x16\x03\x01", b""]
)
PATH = st.sampled_from(
    [
        b"/",
        b"/metrics",
        b"/-/healthy",
        b"/-/ready",
        b"/api/v1/drift",
        b"/api/v1/status?x=%00",
        b"/../../etc/passwd",
        b"//",
        b"*",
        b"http://x/metrics",
        b"/%ff%fe",
        b"/" + b"a" * 9000,
        b"",
        b"/api/v1/labels",
    ]
)
PROTOCOL = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9.9", b"", b"HTTP/1.1 x"])
HEADER = st.sampled_from(
    [
        b"Host: x",
        b"Host:",
        b"Content-Length: -1",
        b"Content-Length: 99999999999",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Expect: 100-continue",
        b"Upgrade: websocket",
        b"Accept: \xff",
        b"Accept: application/openmetrics-text;q=x;version=",
        b"Accept-Encoding: gzip;q=nan",
        b": none",
        b"X: " + b"y" * 20_000,
        b" folded",
        b"Connection: close",
        b"\x00: \x00",
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Something like an HTTP request."""
    first = b" ".join((draw(METHOD), draw(PATH), draw(PROTOCOL)))
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\n", b""]))
    body = draw(st.binary(max_size=40))
    return end.join([first, *draw(st.lists(HEADER, max_size=4)), b"", body])


REQUEST = requests() | st.binary(max_size=200)


def send(path: str, data: bytes) -> None:
    """One datagram into an intake socket, waiting while it is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.sendto(data, path)


def ask(address: str, data: bytes) -> bytes:
    """Sends bytes to a TCP port, says that no more come, and returns what comes back."""
    host, _, port = address.rpartition(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while block := sock.recv(65536):
                answer += block
        except ConnectionError:  # refused in the middle: an answer too
            pass
    return answer
