"""JSON of foreign bodies: what it would cost as objects is estimated from the bytes before anything is made."""

from __future__ import annotations

import re
from typing import Any, Final

from pilotfish_agent.decode._coding import decoded
from pilotfish_agent.decode._part import Unreadable
from pilotfish_core.nouns import Exchange

MAX_OBJECTS: Final = 2 << 20
"""Bytes that a body's values may take: some 35,000 numbers. With its body, twice while a coding is taken off, and with
the other side's, it stays below 8 MiB, and below 0.1 s."""
# Bytes of CPython 3.11 to 3.13 on 64 bits: a dict of one to five keys, a list with its first places, a key's place in
# its dict, a number and its place in its list, half of a text beyond that of a number.
_DICT, _LIST, _KEY, _ITEM, _QUOTE = 240, 88, 80, 60, 15
_SMALL: Final = 8_192  # bytes of a text that cannot cost more than the limit
MAX_EXTREME: Final = 1_000
_EXTREME = re.compile(rb"[eE][+-]?0*(?:2[5-9]|3)[0-9]")
"""Numbers near the ends of what a float holds, which msgspec takes 10 us each for, and others 0.04."""


def request(exchange: Exchange) -> Any:
    """The request's JSON.

    Raises:
        Unreadable: when it has none.
    """
    headers = exchange.request_headers
    return parse(body(exchange.request_body, headers.get("content-encoding", ""), cut=exchange.request_cut))


def answer(exchange: Exchange) -> Any:
    """The answer's JSON.

    Raises:
        Unreadable: when it has none.
    """
    headers = exchange.response_headers
    return parse(body(exchange.response_body, headers.get("content-encoding", ""), cut=exchange.response_cut))


def body(data: bytes, coding: str, *, cut: bool) -> bytes:
    """A whole body without its content coding.

    Raises:
        Unreadable: when there is only its beginning, or as `decoded` says.
    """
    if cut:
        raise Unreadable("body_cut")
    return decoded(data, coding)


def parse(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        Unreadable: json_wide, json_deep, json_broken.
    """
    import msgspec

    cost(data)
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise Unreadable("json_deep") from None
    except (msgspec.MsgspecError, ValueError):  # ValueError: a whole number of thousands of digits
        raise Unreadable("json_broken") from None


def cost(data: bytes) -> None:
    """Refuses a text whose values would take too much.

    Raises:
        Unreadable: json_wide.
    """
    if len(data) <= _SMALL:
        return
    count = data.count
    found = _DICT * count(b"{") + _LIST * count(b"[") + _KEY * count(b":") + _ITEM * count(b",") + _QUOTE * count(b'"')
    if found > MAX_OBJECTS:
        raise Unreadable("json_wide")
    if count(b"e") + count(b"E") > MAX_EXTREME and sum(1 for _ in _EXTREME.finditer(data)) > MAX_EXTREME:
        raise Unreadable("json_wide")
