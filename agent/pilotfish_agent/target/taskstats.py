"""Per-process delay accounting by generic netlink.

Sources: Linux' Documentation/accounting/taskstats.rst and include/uapi/linux/taskstats.h. The request and the answer
lie in kept buffers, and the answer is read at fixed offsets once its layout is known: asking is half the price then.
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
_CMD_GET: Final = 1
_CMD_ATTR_TGID: Final = 2
_TYPE_AGGR_TGID: Final = 5
_TYPE_STATS: Final = 3
_NLM_F_REQUEST: Final = 1
NLMSG_ERROR: Final = 2
HEADERS: Final = 20  # nlmsghdr and genlmsghdr
_ANSWER_BYTES: Final = 8192
_DEADLINE: Final = struct.pack("@ll", 1, 0)  # a second; the kernel answers within microseconds
_HEAD = struct.Struct("=HHI")  # type, flags, sequence of a nlmsghdr
_NUMBER = struct.Struct("=I")
_SEQUENCE_AT, _PID_AT = 8, 24  # in our request
_DELAY = struct.Struct("=Q")
_DELAY_AT: Final = 24  # struct taskstats, version 1 and newer: cpu_delay_total, nanoseconds
_SWITCHES = struct.Struct("=2Q")
_SWITCHES_AT: Final = 272  # nvcsw, nivcsw


class Taskstats:
    """A socket to the kernel's accounting.

    Raises:
        OSError: the kernel has no taskstats, or we may not use netlink.
    """

    def __init__(self) -> None:
        self._socket, family = connect()
        self._sequence = 0
        self._request = bytearray(message(family, _CMD_GET, _CMD_ATTR_TGID, _NUMBER.pack(0)))
        self._answer = bytearray(_ANSWER_BYTES)
        self._size = self._at = 0  # of an answer as it was last understood, and of the numbers in it

    def read(self, pid: int) -> tuple[float, float, float]:
        """Seconds of waiting for a CPU, voluntary and involuntary context switches of all threads, ended ones too.

        Raises:
            ProcessLookupError: no such process, or it has ended.
            PermissionError: without CAP_NET_ADMIN.
        """
        size = self._ask(pid)
        if size != self._size:
            self._at, self._size = stats_at(bytes(self._answer[:size]), _TYPE_AGGR_TGID), size
        delay: int = _DELAY.unpack_from(self._answer, self._at + _DELAY_AT)[0]
        voluntary, involuntary = _SWITCHES.unpack_from(self._answer, self._at + _SWITCHES_AT)
        return delay / 1e9, float(voluntary), float(involuntary)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _ask(self, pid: int) -> int:
        """The size of the answer, which lies in the buffer."""
        sequence = self._sequence = self._sequence + 1 & 0xFFFF_FFFF
        _NUMBER.pack_into(self._request, _SEQUENCE_AT, sequence)
        _NUMBER.pack_into(self._request, _PID_AT, pid)
        self._socket.send(self._request)
        while True:
            size = self._socket.recv_into(self._answer)
            kind, _, answered = _HEAD.unpack_from(self._answer, 4)
            if answered != sequence:
                continue  # the late answer to a question that ran into its deadline
            if kind == NLMSG_ERROR:
                raise refusal(self._answer)
            return size


def connect() -> tuple[socket.socket, int]:
    """A socket with a deadline, and the number of the taskstats family.

    Raises:
        OSError: the kernel has no taskstats, or we may not use netlink.
    """
    found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _DEADLINE)  # Python's timeout would poll each time
        found.bind((0, 0))
        found.send(message(_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0"))
        answer = found.recv(_ANSWER_BYTES)
        where = _find(answer, HEADERS, len(answer), _CTRL_ATTR_FAMILY_ID)
        if where is not None:
            return found, struct.unpack_from("=H", answer, where[0])[0]
    except (OSError, struct.error):
        pass
    found.close()
    raise OSError("no taskstats")


def message(family: int, command: int, attribute: int, value: bytes, *, flags: int = 0) -> bytes:
    """A request with one attribute."""
    payload = struct.pack("=BBH", command, 1, 0) + struct.pack("=HH", len(value) + 4, attribute) + value
    payload += bytes(-len(payload) % 4)
    return struct.pack("=IHHII", len(payload) + 16, family, _NLM_F_REQUEST | flags, 0, 0) + payload


def refusal(answer: bytes | bytearray) -> OSError:
    """The error in an answer of type `NLMSG_ERROR`."""
    code = -struct.unpack_from("=i", answer, 16)[0]
    if code == errno.EINVAL:  # how the kernel answers for a zombie
        return ProcessLookupError(errno.ESRCH, "has ended")
    return OSError(code, os.strerror(code))


def stats_at(answer: bytes, kind: int) -> int:
    """Where in a message the `struct taskstats` of an aggregate (of a thread, of a process) begins.

    Raises:
        OSError: there is none, or it is too short for what we read.
    """
    outer = _find(answer, HEADERS, len(answer), kind)
    inner = _find(answer, *outer, _TYPE_STATS) if outer else None
    if inner is None or inner[1] - inner[0] < _SWITCHES_AT + _SWITCHES.size:
        raise OSError(errno.EPROTO, "taskstats: an answer without numbers")
    return inner[0]


def _find(data: bytes, at: int, end: int, wanted: int) -> tuple[int, int] | None:
    """Begin and end of the value of an attribute; None where there is none."""
    while at + 4 <= end:
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > end:
            return None
        if kind & 0x3FFF == wanted:
            return at + 4, at + length
        at += (length + 3) & ~3
    return None
