"""Framing of one captured connection that speaks HTTP/1.1 (or does not), both directions, in order."""

from __future__ import annotations

import mmap
import re
from collections import deque

from pilotfish import exchange
from pilotfish_agent.capture.recorder import Recorder

Buffer = bytes | bytearray | mmap.mmap
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*(\d+)")


class Conversation:
    """One TCP connection; the bytes of each direction are given in order, with their kernel timestamps (epoch ns).

    Args:
        port: the server's.
        recorder: takes the exchanges.
        joined: the connection was open before the capture saw it: bytes are skipped until a message begins.
    """

    __slots__ = ("_open", "_q_left", "_q_part", "_r_left", "_r_part", "_recorder", "port")

    def __init__(self, port: int, recorder: Recorder, *, joined: bool = False) -> None:
        self.port = port
        self._recorder = recorder
        self._open: deque[list[int | bytes]] = deque()
        self._q_part = self._r_part = b""
        self._q_left = self._r_left = 0

    @property
    def in_flight(self) -> int:
        """Requests without a complete answer."""
        return len(self._open)

    def request(self, data: Buffer, start: int, stop: int, now: int) -> None:
        """``data[start:stop]`` came from the client at ``now`` (epoch ns); nothing of it is kept after the call."""
        self._q_part += data[start:stop]
        while self._q_part:
            if self._q_left:
                taken = min(self._q_left, len(self._q_part))
                self._q_left -= taken
                self._q_part = self._q_part[taken:]
                continue
            end = self._q_part.find(_END)
            if end < 0:
                return
            head, self._q_part = self._q_part[: end + 4], self._q_part[end + 4 :]
            found = _LENGTH.search(head)
            self._q_left = int(found[1]) if found else 0
            self._open.append([now, b" ".join(head.split(b" ", 2)[:2]), len(head) + self._q_left, -1, 0, 0])

    def response(self, data: Buffer, start: int, stop: int, now: int) -> None:
        """``data[start:stop]`` came from the server at ``now``."""
        self._r_part += data[start:stop]
        while self._r_part and self._open:
            item = self._open[0]
            if not self._r_left:
                end = self._r_part.find(_END)
                if end < 0:
                    return
                head, self._r_part = self._r_part[: end + 4], self._r_part[end + 4 :]
                found = _LENGTH.search(head)
                self._r_left = int(found[1]) if found else 0
                item[3:] = [now - int(item[0]), len(head) + self._r_left, int(head[9:12])]
            taken = min(self._r_left, len(self._r_part))
            self._r_left -= taken
            self._r_part = self._r_part[taken:]
            if not self._r_left:
                self._finish(now, 0)

    def lost(self, *, from_client: bool) -> None:
        """The capture lost bytes of that direction here."""

    def encrypted(self, now: int) -> None:
        """What follows is TLS nobody opens here: one OPAQUE record of the connection's timings."""

    def end(self, now: int, *, reset: bool = False) -> None:
        """The connection is over: what is open is aborted, a close-delimited answer is complete unless ``reset``."""
        while self._open:
            self._finish(now, exchange.ABORTED)

    def _finish(self, now: int, flags: int) -> None:
        started, line, sent, first, got, status = self._open.popleft()
        self._recorder.finish(line, started, now, first, sent, got, self.port, status, flags)  # type: ignore[arg-type]
