"""Per-process delay accounting by generic netlink.

Sources: Linux' Documentation/accounting/taskstats.rst and include/uapi/linux/taskstats.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Final

_NETLINK_GENERIC: Final = 16
_GENL_ID_CTRL: Final = 16
_CTRL_CMD_GETFAMILY: Final = 3
_CTRL_ATTR_FAMILY_ID: Final = 1
_CTRL_ATTR_FAMILY_NAME: Final = 2
_TASKSTATS_CMD_GET: Final = 1
_TASKSTATS_CMD_ATTR_TGID: Final = 2
_TASKSTATS_TYPE_AGGR_TGID: Final = 5
_TASKSTATS_TYPE_STATS: Final = 3
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_HEADERS: Final = 20  # nlmsghdr and genlmsghdr
_CPU_DELAY: Final = 24  # struct taskstats, version 1 and newer: cpu_delay_total, nanoseconds
_SWITCHES: Final = 272  # nvcsw, nivcsw
_DEADLINE: Final = 1.0  # seconds; the kernel answers within microseconds


class Taskstats:
    """A socket to the kernel's accounting.

    Raises:
        OSError: the kernel has no taskstats, or we may not use netlink.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
        self._sequence = 0
        try:
            self._socket.settimeout(_DEADLINE)
            self._socket.bind((0, 0))
            answer = self._ask(_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0")
            self._family = struct.unpack("=H", attributes(answer)[_CTRL_ATTR_FAMILY_ID])[0]
        except (OSError, KeyError, struct.error):
            self._socket.close()
            raise OSError("no taskstats") from None

    def read(self, pid: int) -> tuple[float, float, float]:
        """Seconds of waiting for a CPU, voluntary and involuntary context switches of all threads, ended ones too.

        Raises:
            ProcessLookupError: no such process, or it has ended.
            PermissionError: without CAP_NET_ADMIN.
        """
        try:
            answer = self._ask(self._family, _TASKSTATS_CMD_GET, _TASKSTATS_CMD_ATTR_TGID, struct.pack("=I", pid))
        except OSError as error:
            if error.errno == errno.EINVAL:  # how the kernel answers for a zombie
                raise ProcessLookupError(errno.ESRCH, "has ended") from None
            raise
        stats = attributes(attributes(answer)[_TASKSTATS_TYPE_AGGR_TGID])[_TASKSTATS_TYPE_STATS]
        delay: int = struct.unpack_from("=Q", stats, _CPU_DELAY)[0]
        voluntary, involuntary = struct.unpack_from("=2Q", stats, _SWITCHES)
        return delay / 1e9, float(voluntary), float(involuntary)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _ask(self, family: int, command: int, attribute: int, value: bytes) -> bytes:
        self._sequence += 1
        payload = struct.pack("=BBH", command, 1, 0) + struct.pack("=HH", len(value) + 4, attribute) + value
        payload += bytes(-len(payload) % 4)
        header = struct.pack("=IHHII", len(payload) + 16, family, _NLM_F_REQUEST, self._sequence, 0)
        self._socket.send(header + payload)
        while True:
            answer = self._socket.recv(8192)
            kind, _, sequence = struct.unpack_from("=HHI", answer, 4)
            if sequence != self._sequence:
                continue  # the late answer to a question that ran into its deadline
            if kind == _NLMSG_ERROR:
                code = -struct.unpack_from("=i", answer, 16)[0]
                raise OSError(code, os.strerror(code))
            return answer[_HEADERS:]


def attributes(data: bytes) -> dict[int, bytes]:
    """Netlink attributes by type; a cut one ends the list."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            break
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found
