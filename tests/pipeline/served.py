"""A model behind HTTP as ASGI applications are, for uvicorn: a table, a chat that streams, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
ANSWERS = ["well ", "met, ", "traveller"]


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """`/v1/models/iris/versions/3:predict`, `/v1/chat/completions`, `/slow`; all else is not found."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    path = scope["path"]
    if path == "/v1/chat/completions":
        await _stream(send, json.loads(body))
        return
    if path == "/slow":
        await asyncio.sleep(4.0)
    status, answer = _answer(path, body)
    await _start(send, status, b"application/json")
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def _answer(path: str, body: bytes) -> tuple[int, Any]:
    if path == "/slow":
        return 200, {}
    if path != "/v1/models/iris/versions/3:predict":
        return 404, {"error": "there is no such thing"}
    try:
        rows = json.loads(body)["instances"]
        return 200, {"predictions": [row["x"] + row["y"] for row in rows]}
    except (ValueError, KeyError, TypeError):
        return 400, {"error": "instances are missing"}


async def _start(send: Callable[[Message], Awaitable[None]], status: int, kind: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})


async def _stream(send: Callable[[Message], Awaitable[None]], asked: Any) -> None:
    """Three parts of text, then what was used, where the client wants it."""
    await _start(send, 200, b"text/event-stream")
    for i, word in enumerate([None, *ANSWERS]):
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": "stop" if i == len(ANSWERS) else None}
        await _event(send, {"model": "tiny", "choices": [choice]})
        await asyncio.sleep(0.02)
    if asked.get("stream_options", {}).get("include_usage"):
        usage = {"prompt_tokens": 7, "completion_tokens": 5}
        await _event(send, {"model": "tiny", "choices": [], "usage": usage})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def _event(send: Callable[[Message], Awaitable[None]], event: Any) -> None:
    body = f"data: {json.dumps(event)}\n\n".encode()
    await send({"type": "http.response.body", "body": body, "more_body": True})
