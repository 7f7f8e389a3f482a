"""A TCP segment out of an IP packet: IPv4 and IPv6, options, extension headers, packets that were cut. Pure.

The usual packet (IPv4, no options, whole) is taken apart by `FIELDS` in `flows`; all others come here.
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

Buffer = bytes | mmap.mmap

FIELDS = struct.Struct("!BxH8x12sIIBB")
"""An IPv4 header without options, then TCP: version and length of the header, length of the packet, the flow's key
(addresses and ports stand side by side), sequence, acknowledgement, data offset, flags. 34 bytes."""
PLAIN = 0x45
"""First byte of an IPv4 header without options."""
FIN, SYN, RST, ACK = 1, 2, 4, 16
UNUSUAL = FIN | SYN | RST

_TCP = 6
_SEGMENT = struct.Struct("!IIBB")  # of the TCP header at byte 4
_HALF = struct.Struct("!H")
_FRAGMENT, _AUTHENTICATION = 44, 51
_HEADERS = (0, 43, 60, _AUTHENTICATION)  # extension headers that say their length
_MOST_HEADERS = 8
_V4, _V6 = 20, 40


class Segment(NamedTuple):
    """One TCP segment.

    Attributes:
        key: addresses and ports: source, destination, source port, destination port.
        begin, stop: where its bytes are; fewer than it had when `cut`.
        cut: the capture holds only the beginning.
    """

    key: bytes
    seq: int
    ack: int
    flags: int
    begin: int
    stop: int
    cut: bool


def parse(data: Buffer, at: int, held: int, length: int) -> Segment | str:
    """The segment of the packet at ``at``, or why there is none: ``fragment``, ``not_tcp``, ``malformed``.

    Args:
        data: a buffer with the packet.
        at: its network header.
        held: bytes of it that are there.
        length: bytes it had on the interface.
    """
    if held < _V4:
        return "malformed"
    version = data[at] >> 4
    if version == 4:
        size = (data[at] & 15) * 4
        total = _HALF.unpack_from(data, at + 2)[0] or length  # 0: longer than 64 KiB ("BIG TCP")
        if _HALF.unpack_from(data, at + 6)[0] & 0x3FFF:
            return "fragment"
        if data[at + 9] != _TCP:
            return "not_tcp"
        addresses = data[at + 12 : at + 20]
        return "malformed" if size < _V4 else _segment(data, at, size, held, total, addresses)
    if version != 6 or held < _V6:
        return "malformed"
    payload = _HALF.unpack_from(data, at + 4)[0]
    total = payload + _V6 if payload else length  # 0: a jumbogram
    found = _after_extensions(data, at, held)
    return found if isinstance(found, str) else _segment(data, at, found, held, total, data[at + 8 : at + 40])


def _after_extensions(data: Buffer, at: int, held: int) -> int | str:
    """Offset of the TCP header in an IPv6 packet."""
    kind, offset = data[at + 6], _V6
    for _ in range(_MOST_HEADERS):
        if kind == _TCP:
            return offset
        if kind == _FRAGMENT:
            return "fragment"
        if kind not in _HEADERS:
            return "not_tcp"
        if offset + 8 > held:
            return "malformed"
        units = data[at + offset + 1]
        kind, size = data[at + offset], (units + 2) * 4 if kind == _AUTHENTICATION else (units + 1) * 8
        offset += size
    return "malformed"


def _segment(data: Buffer, at: int, size: int, held: int, total: int, addresses: bytes) -> Segment | str:
    if size + 20 > held:
        return "malformed"
    tcp = at + size
    seq, ack, offset, flags = _SEGMENT.unpack_from(data, tcp + 4)
    begin, stop = tcp + (offset >> 4) * 4, at + total
    if offset < 0x50 or begin > stop:
        return "malformed"
    end = at + min(held, total)
    key = addresses + data[tcp : tcp + 4]
    return Segment(key, seq, ack, flags, min(begin, end), min(stop, end), stop > end)


def reverse(key: bytes) -> bytes:
    """The key of the other direction."""
    half = (len(key) - 4) // 2
    return b"".join((key[half : 2 * half], key[:half], key[-2:], key[-4:-2]))


def ports(key: bytes) -> tuple[int, int]:
    """(source, destination) port."""
    return int.from_bytes(key[-4:-2]), int.from_bytes(key[-2:])
