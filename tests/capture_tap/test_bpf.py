"""The filter, run by the kernel itself: a socket pair takes the same programs as a packet socket."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

import pytest

from pilotfish_agent.capture import bpf
from pilotfish_agent.capture.packets import ACK, FIN, RST, SYN
from tests.capture_tap.build import CLIENT, PORT, SERVER, packet

V6 = ("2001:db8::2", 40_000), ("2001:db8::1", PORT)


class Filter:
    """What comes through a filter."""

    def __init__(self) -> None:
        self.sender, self.receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.receiver.setblocking(False)

    def __call__(self, data: bytes, ports: Iterable[int] = (PORT,), *, loopback: bool = True) -> int:
        """Bytes of ``data`` that are taken."""
        bpf.attach(self.receiver, bpf.program(tuple(ports), loopback=loopback))
        try:
            self.sender.send(data)
        except OSError:
            return 0
        try:
            return len(self.receiver.recv(1 << 16))
        except BlockingIOError:
            return 0


@pytest.fixture
def taken() -> Iterator[Filter]:
    """A filter of its own."""
    made = Filter()
    yield made
    made.sender.close()
    made.receiver.close()


def test_segments_with_bytes_of_the_ports_are_taken(taken: Filter) -> None:
    """Both directions, both versions of IP, with options."""
    request = packet(b"x" * 30)
    assert taken(request) == len(request)
    assert taken(packet(b"x", source=(SERVER, PORT), to=(CLIENT, 40_000))) == 41
    assert taken(packet(b"x", options=b"\x01" * 12)) == 53
    assert taken(packet(b"x", source=V6[0], to=V6[1])) == 61
    assert taken(packet(b"x", source=V6[1], to=V6[0])) == 61


def test_other_ports_are_dropped(taken: Filter) -> None:
    """And without a port everything is."""
    assert taken(packet(b"x", to=(SERVER, PORT + 1))) == 0
    assert taken(packet(b"x", source=V6[0], to=(V6[1][0], PORT + 1))) == 0
    assert taken(packet(b"x"), ()) == 0


def test_pure_acknowledgements_are_dropped_but_no_begin_and_no_end(taken: Filter) -> None:
    """SYN, FIN and RST carry no bytes and matter."""
    for source, to in (((CLIENT, 4), (SERVER, PORT)), V6):
        assert taken(packet(source=source, to=to, flags=ACK)) == 0
        for flags in (SYN, SYN | ACK, FIN | ACK, RST):
            assert taken(packet(source=source, to=to, flags=flags)) > 0


def test_what_is_no_tcp_is_dropped(taken: Filter) -> None:
    """UDP, another IP version, nothing at all."""
    assert taken(packet(b"x", protocol=17)) == 0
    assert taken(packet(b"x", source=V6[0], to=V6[1], protocol=17)) == 0
    assert taken(b"\x95" + packet(b"x")[1:]) == 0
    assert taken(b"\x45") == 0


def test_fragments_are_cut_and_extension_headers_taken(taken: Filter) -> None:
    """The reader counts the first and understands the second."""
    assert taken(packet(b"x" * 500, fragment=0x2000)) == bpf.FRAGMENT_SNAP
    assert taken(packet(b"x" * 500, fragment=0x0010)) == bpf.FRAGMENT_SNAP
    assert taken(packet(b"x", source=V6[0], to=V6[1], extensions=[(0, bytes(7))])) > 0


@pytest.mark.parametrize("loopback", [True, False])
def test_eight_ports_and_no_more(taken: Filter, loopback: bool) -> None:
    """Each of them is found."""
    ports = range(8_000, 8_008)
    assert all(taken(packet(b"x", to=(SERVER, port)), ports, loopback=loopback) for port in ports)
    assert not taken(packet(b"x", to=(SERVER, 8_008)), ports, loopback=loopback)
    with pytest.raises(ValueError):
        bpf.program(range(9), loopback=loopback)


def test_elsewhere_than_on_the_loopback_the_direction_counts(taken: Filter) -> None:
    """What comes in (as all does here) from one of these ports is another machine's server's."""
    assert taken(packet(b"x"), loopback=False) == 41
    assert taken(packet(b"x", source=(SERVER, PORT), to=(CLIENT, 4)), loopback=False) == 0
