"""Chunked bodies, read strictly (RFC 9112, section 7.1), and what is kept of a body."""

from __future__ import annotations

import mmap
import re
from typing import Final

from pilotfish_agent.capture import _head
from pilotfish_agent.capture._pending import Kept

MAX_CHUNK_LINE: Final = 1_024
MAX_TRAILERS: Final = 16 << 10
_SIZE, _DATA, _END, _TRAILER = range(4)
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_size = re.compile(
    rb"([0-9A-Fa-f]{1,15})((?:;[\t ]*+" + _TOKEN + rb"++(?:=(?:" + _TOKEN + rb'++|"[\t !#-\[\]-~]*+"))?)*+)\r\n'
).fullmatch
_digits = re.compile(rb"[0-9A-Fa-f]{1,15}(?=[;\r\t ])").match
_trailer = re.compile(_TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n").fullmatch
_FRAMING = (b"content-length:", b"content_length:", b"transfer-encoding:", b"transfer_encoding:", b"host:", b"trailer:")

Buffer = bytes | bytearray | mmap.mmap


class Chunks:
    """Reads one chunked body.

    Attributes:
        done: its last byte was read.
        reason: why it is ambiguous, one of `_head.REASONS`; None while it is not.
    """

    __slots__ = ("_left", "_line", "_state", "_trailers", "done", "reason")

    def __init__(self) -> None:
        self._state = _SIZE
        self._left = 0
        self._line = bytearray()
        self._trailers = 0
        self.done = False
        self.reason: str | None = None

    def feed(self, data: Buffer, at: int, stop: int, kept: Kept | None) -> int:
        """Reads ``data[at:stop]`` until the body ends or is ambiguous; where it stopped reading."""
        while at < stop and not self.done and self.reason is None:
            if self._state == _DATA:
                taken = min(self._left, stop - at)
                if kept is not None:
                    kept.add(data, at, at + taken)
                self._left -= taken
                at += taken
                if not self._left:
                    self._state = _END
                continue
            end = data.find(b"\n", at, stop)
            end = stop if end < 0 else end + 1
            self._line += data[at : min(end, at + MAX_CHUNK_LINE + 1)]
            at = end
            self._read_line()
        return at

    def _read_line(self) -> None:
        line = self._line
        if self._state == _END and not b"\r\n".startswith(line[:2]):
            self.reason = _head.BARE_LF if line[:1] == b"\n" else _head.CHUNK_END
        elif self._state == _TRAILER and self._trailers + len(line) > MAX_TRAILERS:
            self.reason = _head.TRAILER
        elif len(line) > MAX_CHUNK_LINE:
            self.reason = _head.CHUNK_LINE
        elif line[-1:] == b"\n":
            (self._read_size, self._read_size, self._read_end, self._read_trailer)[self._state](bytes(line))
            line.clear()

    def _read_size(self, line: bytes) -> None:
        found = _size(line)
        if found is None:
            bare = not line.endswith(b"\r\n")
            self.reason = _head.BARE_LF if bare else _head.CHUNK_EXTENSION if _digits(line) else _head.CHUNK_SIZE
            return
        self._left = int(found[1], 16)
        self._state = _DATA if self._left else _TRAILER

    def _read_end(self, _: bytes) -> None:
        self._state = _SIZE

    def _read_trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if line == b"\r\n":
            self.done = True
        elif not line.endswith(b"\r\n"):
            self.reason = _head.BARE_LF
        elif not _trailer(line) or line.lower().startswith(_FRAMING):
            self.reason = _head.TRAILER
