"""Exchange frames as pf-capture sends them, made by its own codec."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pilotfish import exchange
from pilotfish.exchange import Copy, Record

PORT = 8_000


def record(**fields: int) -> Record:
    """An exchange of 2 ms at port 8000, answered with 200."""
    return Record(1_000 * 10**9, 2_000_000, 1_000_000, 700, 300, PORT, 200, 0, 0)._replace(**fields)


def timings(exchanges: Sequence[tuple[str, Record]]) -> bytes:
    """One frame of records with their request lines."""
    lines = {line: i for i, line in enumerate(dict.fromkeys(line for line, _ in exchanges))}
    packed = b"".join(exchange.RECORD.pack(*r._replace(line=r.line or lines[line])) for line, r in exchanges)
    return exchange.pack_timings([line.encode() for line in lines], packed, 1_000.0)


def copies(given: Sequence[Copy], first: int = 1) -> Iterator[bytes]:
    """Frames of copies, numbered from ``first``."""
    return exchange.pack_copies([(first + i, exchange.pack_copy(c)) for i, c in enumerate(given)], 1_000.0)


def said(line: str, request: Any, answer: Any, **fields: int) -> Copy:
    """A copy of one exchange of JSON."""
    made = record(**fields)
    return Copy(
        made,
        f"{line} HTTP/1.1\r\nContent-Type: application/json\r\n\r\n".encode(),
        json.dumps(request).encode(),
        f"HTTP/1.1 {made.status} X\r\nContent-Type: application/json\r\n\r\n".encode(),
        json.dumps(answer).encode(),
        (),
    )
