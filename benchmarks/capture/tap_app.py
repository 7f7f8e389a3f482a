"""A model server without a framework, for uvicorn: reads the request, answers 1 KB."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.capture.tap_bench import ANSWER

_BODY = ANSWER.encode()
_HEAD = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """ASGI."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
    await send({"type": "http.response.body", "body": _BODY})
