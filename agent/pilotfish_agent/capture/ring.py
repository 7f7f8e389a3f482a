"""A ring of packets shared with the kernel: AF_PACKET, TPACKET_V3 (Documentation/networking/packet_mmap.rst).

The socket is ``SOCK_DGRAM``: every packet begins at its network header, whatever the interface puts before it. The
kernel copies packets into blocks and hands a block over when it is full, or 20 ms after its first packet; none of our
delays touches the traffic: what does not fit is dropped for us and counted.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import socket
import struct
from collections.abc import Collection

from pilotfish_agent.capture import bpf
from pilotfish_agent.capture.control import CaptureUnavailableError, Reason

BLOCK = 128 << 10
"""Bytes of a block: twice the largest packet."""
BLOCKS = 128
"""Of the first ring, 16 MiB: 0.2 s of 40,000 exchanges of 1 KB a second."""
MOST_BLOCKS = 256
"""Of all rings together: 32 MiB, which count as our memory."""
FEWEST_BLOCKS = 8
RETIRE_MS = 20
PACKET = struct.Struct("=IIIII")
"""At the begin of each packet: bytes to the next one, seconds, nanoseconds, bytes taken, bytes it had."""
NETWORK = 96
"""Bytes from there to the network header of a ``SOCK_DGRAM`` packet: TPACKET_ALIGN(48 + sockaddr_ll) + 16."""

_SOL_PACKET = 263
_RX_RING, _STATISTICS, _VERSION, _IGNORE_OUTGOING = 5, 6, 10, 23  # PACKET_*
_TPACKET_V3 = 2
_ALL_PROTOCOLS = 3  # ETH_P_ALL: the only one that sees what goes out
_REQUEST = struct.Struct("=7I")  # tpacket_req3
_COUNTS = struct.Struct("=3I")  # tpacket_stats_v3: packets (those dropped included), drops, freezes
_BLOCK = struct.Struct("=III")  # of the block's head, at byte 8: status, packets, offset of the first one
_WORD = struct.Struct("=I")
_USER = 1  # TP_STATUS_USER
_GET_FLAGS = 0x8913  # SIOCGIFFLAGS
_UP, _LOOPBACK = 0x1, 0x8


def interfaces() -> dict[str, bool]:
    """Names of the interfaces that are up -> whether it is a loopback."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _GET_FLAGS, struct.pack("16sh22x", name.encode(), 0))
            except OSError:
                continue  # it has just gone
            flags = struct.unpack_from("16sH", answer)[1]
            if flags & _UP:
                found[name] = bool(flags & _LOOPBACK)
    return found


class Ring:
    """One interface's packets.

    Args:
        interface: its name.
        loopback: on the loopback each packet comes by twice, its way out is left out there; elsewhere both ways.
        ports: see `bpf.program`.
        blocks: of `BLOCK` bytes.

    Attributes:
        memory: the blocks; what `take` names is in there.
        packets, dropped: by the kernel's count, since the start; `packets` includes those it dropped.

    Raises:
        CaptureUnavailableError: it cannot be made here, with the cause.
    """

    __slots__ = (
        "_block",
        "_held",
        "_socket",
        "blocks",
        "dropped",
        "index",
        "interface",
        "loopback",
        "memory",
        "packets",
    )

    def __init__(self, interface: str, *, loopback: bool, ports: Collection[int], blocks: int = BLOCKS) -> None:
        self.interface, self.loopback, self.blocks = interface, loopback, blocks
        self.packets = self.dropped = 0
        self._block, self._held = 0, False
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        except OSError as error:
            raise unavailable(interface, error) from error
        try:
            self.index = socket.if_nametoindex(interface)
            self.watch(ports)  # before it is bound: not one packet that was not asked for
            self._socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
            if loopback:
                self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            request = _REQUEST.pack(BLOCK, blocks, BLOCK, blocks, RETIRE_MS, 0, 0)
            self._socket.setsockopt(_SOL_PACKET, _RX_RING, request)
            self.memory = mmap.mmap(self._socket.fileno(), BLOCK * blocks, mmap.MAP_SHARED)
            self._socket.bind((interface, _ALL_PROTOCOLS))
        except OSError as error:
            self._socket.close()
            raise unavailable(interface, error) from error

    def fileno(self) -> int:
        """Readable when a block is ready."""
        return self._socket.fileno()

    def watch(self, ports: Collection[int]) -> None:
        """Takes the traffic of these ports from now on."""
        bpf.attach(self._socket, bpf.program(ports, loopback=self.loopback))

    def pause(self) -> None:
        """Takes nothing until `watch`."""
        bpf.attach(self._socket, bpf.NOTHING)

    def take(self) -> tuple[int, int] | None:
        """(offset in `memory` of the first packet, packets) of the next block that is ready; `release` gives it back.

        A block may hold no packet.
        """
        at = self._block * BLOCK
        status, packets, first = _BLOCK.unpack_from(self.memory, at + 8)
        if not status & _USER:
            return None
        self._held = True
        return at + first, packets

    def release(self) -> None:
        """The kernel may write into the block of the last `take` again."""
        if self._held:
            _WORD.pack_into(self.memory, self._block * BLOCK + 8, 0)
            self._block = (self._block + 1) % self.blocks
            self._held = False

    def count(self) -> None:
        """Brings `packets` and `dropped` up to date; the kernel's own counts begin anew at each call."""
        packets, dropped, _ = _COUNTS.unpack(self._socket.getsockopt(_SOL_PACKET, _STATISTICS, _COUNTS.size))
        self.packets += packets
        self.dropped += dropped

    def left(self) -> int:
        """Packets in blocks that are ready and not yet taken."""
        total = 0
        for number in range(self.blocks):
            status, packets, _ = _BLOCK.unpack_from(self.memory, number * BLOCK + 8)
            total += packets if status & _USER else 0
        return total

    def alive(self) -> bool:
        """False when the interface is gone; clears the error of one that has only been down."""
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            return socket.if_nametoindex(self.interface) == self.index
        except OSError:
            return False

    def close(self) -> None:
        """Gives the ring back."""
        self._socket.close()
        self.memory.close()


def unavailable(interface: str, error: OSError) -> CaptureUnavailableError:
    """Why there is no tap, in words, and what would give one."""
    reason: Reason = "failed"
    if error.errno in {errno.EPERM, errno.EACCES}:
        reason = "permission"
        words = "the tap needs CAP_NET_RAW in the model's network namespace: run as root, or add the capability NET_RAW"
    elif error.errno in {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ENOPROTOOPT, errno.EINVAL, errno.ENOSYS}:
        reason = "not_supported"
        words = f"this kernel has no packet ring (AF_PACKET, TPACKET_V3): {error.strerror}; use --capture relay"
    else:
        words = f"no packet ring on {interface}: {error.strerror or error}"
    return CaptureUnavailableError(reason, words)
