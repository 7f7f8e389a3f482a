"""JSON of foreign bodies: what it would cost as objects is estimated from the bytes before anything is made."""

from __future__ import annotations

from typing import Any, Final

from pilotfish_agent.decode._coding import decoded
from pilotfish_agent.decode._part import Unreadable
from pilotfish_core.nouns import Exchange

MAX_OBJECTS: Final = 5 << 20
"""Bytes that the parsed values may take: with the body (twice while a coding is taken off) it stays below 8 MiB."""
# Bytes of CPython 3.11 to 3.13 on 64 bits: a dict of one to five keys, a list with its first places, a key's text and
# place in its dict, a number (or a short text) and its place in its list.
_DICT, _LIST, _KEY, _ITEM = 240, 88, 100, 60


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

    if len(data) > 20_000:  # less cannot cost more than the limit
        cost = _DICT * data.count(b"{") + _LIST * data.count(b"[") + _KEY * data.count(b":") + _ITEM * data.count(b",")
        if cost > MAX_OBJECTS:
            raise Unreadable("json_wide")
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise Unreadable("json_deep") from None
    except (msgspec.MsgspecError, ValueError):  # ValueError: a whole number of thousands of digits
        raise Unreadable("json_broken") from None
