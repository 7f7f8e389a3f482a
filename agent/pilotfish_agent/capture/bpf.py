"""Classic BPF for packet sockets that begin at the network header (``SOCK_DGRAM``): the kernel drops what is not ours.

Kernel: Documentation/networking/filter.rst, include/uapi/linux/filter.h. A small assembler with labels, because
the jumps of classic BPF are relative, forward and at most 255 instructions far.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Collection

SNAP = 1 << 18
"""Bytes taken of a packet: more than any; the ring's block is the limit then."""
FRAGMENT_SNAP = 48
"""Bytes taken of an IPv4 fragment: it is only counted."""
MOST_PORTS = 8

_SO_ATTACH_FILTER = 26
_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF
_PACKET_TYPE = _ANCILLARY + 4
_HOST, _OUTGOING = 0, 4
_FIN_SYN_RST = 0x07
_EXTENSIONS = (0, 43, 44, 60)  # IPv6: hop by hop, routing, fragment, destination options

# Opcodes: BPF_LD | size | mode, BPF_JMP | test | BPF_K, ...
_LDB_ABS, _LDH_ABS = 0x30, 0x28
_LDB_X, _LDH_X = 0x50, 0x48
_LDX_MSH = 0xB1  # X = 4 * (byte & 15): the length of an IPv4 header
_LDX_IMM, _LDX_MEM, _LDA_MEM, _STA = 0x01, 0x61, 0x60, 0x02
_ADD, _ADD_X, _SUB_X, _AND, _RSH = 0x04, 0x0C, 0x1C, 0x54, 0x74
_JEQ, _JSET, _JA = 0x15, 0x45, 0x05
_RET = 0x06
_TOTAL, _HEADERS = 0, 1  # cells of the scratch memory

Instruction = tuple[int, int, int, int]
NOTHING: tuple[Instruction, ...] = ((_RET, 0, 0, 0),)
"""A filter that takes no packet."""


class _Assembler:
    """Instructions whose jumps name labels."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, str, str]] = []
        self._labels: dict[str, int] = {}

    def do(self, code: int, k: int = 0, yes: str = "", no: str = "") -> None:
        """One instruction; ``yes`` and ``no`` are labels, empty: the next one."""
        self._lines.append((code, k, yes, no))

    def label(self, name: str) -> None:
        """Names the next instruction."""
        self._labels[name] = len(self._lines)

    def program(self) -> tuple[Instruction, ...]:
        """With the labels resolved."""
        made = []
        for at, (code, k, yes, no) in enumerate(self._lines):
            if code == _JA:
                made.append((code, 0, 0, self._labels[yes] - at - 1))
                continue
            jumps = [self._labels[name] - at - 1 if name else 0 for name in (yes, no)]
            made.append((code, jumps[0], jumps[1], k))
        return tuple(made)


def program(ports: Collection[int], *, loopback: bool) -> tuple[Instruction, ...]:
    """The filter for TCP servers on ``ports`` of this machine.

    It takes IPv4 and IPv6 TCP segments from or to these ports that carry bytes or SYN, FIN, RST (a pure
    acknowledgement is dropped), 48 bytes of every IPv4 TCP fragment, and every IPv6 packet with an extension header.

    Args:
        ports: at most `MOST_PORTS`; none: nothing is taken.
        loopback: on the loopback both ends are here; elsewhere what goes to a port must come in and what comes from
            it must go out, or the model's own calls to another machine's server would look like its traffic.
    """
    if not ports:
        return NOTHING
    if len(ports) > MOST_PORTS:
        raise ValueError(f"{len(ports)} ports; expected at most {MOST_PORTS}")
    a = _Assembler()
    _lengths(a)
    # From here on X is the length of the IP header, M[TOTAL] that of the packet.
    if loopback:
        _match(a, ports, offset=0, found="ours")
        _match(a, ports, offset=2, found="ours", otherwise="drop")
    else:
        a.do(_LDB_ABS, _PACKET_TYPE)
        a.do(_JEQ, _OUTGOING, "out", "")
        a.do(_JEQ, _HOST, "", "drop")
        _match(a, ports, offset=2, found="ours", otherwise="drop")
        a.label("out")
        _match(a, ports, offset=0, found="ours", otherwise="drop")
    a.label("ours")
    a.do(_LDB_X, 13)
    a.do(_JSET, _FIN_SYN_RST, "take", "")
    a.do(_LDB_X, 12)  # the data offset, in words, is the upper half
    a.do(_AND, 0xF0)
    a.do(_RSH, 2)
    a.do(_ADD_X)
    a.do(_STA, _HEADERS)
    a.do(_LDA_MEM, _TOTAL)
    a.do(_LDX_MEM, _HEADERS)
    a.do(_SUB_X)
    a.do(_JEQ, 0, "drop", "take")
    a.label("take")
    a.do(_RET, SNAP)
    a.label("fragment")
    a.do(_RET, FRAGMENT_SNAP)
    a.label("drop")
    a.do(_RET, 0)
    return a.program()


def _lengths(a: _Assembler) -> None:
    """X: length of the IP header; M[TOTAL]: of the packet. What is not TCP is dropped."""
    a.do(_LDB_ABS, 0)
    a.do(_AND, 0xF0)
    a.do(_JEQ, 0x40, "v4", "")
    a.do(_JEQ, 0x60, "v6", "drop")
    a.label("v4")
    a.do(_LDB_ABS, 9)
    a.do(_JEQ, socket.IPPROTO_TCP, "", "drop")
    a.do(_LDH_ABS, 6)
    a.do(_JSET, 0x3FFF, "fragment", "")
    a.do(_LDH_ABS, 2)
    a.do(_STA, _TOTAL)
    a.do(_LDX_MSH, 0)
    a.do(_JA, 0, "ports")
    a.label("v6")
    a.do(_LDB_ABS, 6)
    for extension in _EXTENSIONS:
        a.do(_JEQ, extension, "take", "")
    a.do(_JEQ, socket.IPPROTO_TCP, "", "drop")
    a.do(_LDH_ABS, 4)
    a.do(_ADD, 40)
    a.do(_STA, _TOTAL)
    a.do(_LDX_IMM, 40)
    a.label("ports")


def _match(a: _Assembler, ports: Collection[int], *, offset: int, found: str, otherwise: str = "") -> None:
    """Compares the 16 bits at ``offset`` of the TCP header."""
    a.do(_LDH_X, offset)
    *some, last = sorted(ports)
    for port in some:
        a.do(_JEQ, port, found, "")
    a.do(_JEQ, last, found, otherwise)


def attach(to: socket.socket, instructions: Collection[Instruction]) -> None:
    """Gives a socket its filter; one that it has is replaced in one step.

    Raises:
        OSError: the kernel refuses it.
    """
    raw = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(instructions), ctypes.addressof(raw)))
