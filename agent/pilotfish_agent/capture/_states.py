"""What both directions of a conversation share: states and limits."""

from __future__ import annotations

import mmap
from typing import Final

Buffer = bytes | bytearray | mmap.mmap
"""All have `find`, and give bytes (or what becomes bytes) when sliced."""
MAX_OPEN: Final = 128
"""Requests that wait for their answers on one connection."""
MAX_INTERIM: Final = 32
"""1xx answers to one request."""
HEAD_END: Final = b"\r\n\r\n"

HEAD, PART, BODY, CHUNK, SYNC, DEAD, IGNORE, DONE, CAUGHT, HOLD, CLOSE, SHORT = range(12)
"""HEAD, which is 0: a message may begin, and nothing is unusual (the short path). PART: within a head, or the next head
takes the long path. BODY, CHUNK: within a body. SYNC: bytes were lost, skip to a message's beginning. DEAD: ambiguous
or opaque, count only. IGNORE: a tunnel, or over. DONE: the last message is over. CAUGHT: an answer came that nobody
asked for. HOLD (requests): CONNECT waits for its answer. CLOSE (answers): a body that ends with the connection. SHORT
(answers): within a body nobody keeps, on the short path."""
