"""A model behind uvicorn, for `uvicorn --workers 2 benchmarks.servers.app:app`: TensorFlow Serving's predict, classes.

A plain ASGI application, so that it is the server that is measured and not a framework.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
CLASSES = ("low", "middle", "high")


def classify(row: dict[str, float]) -> str:
    """A class from the age: any fixed rule will do."""
    return CLASSES[min(int(row["age"] // 30), 2)]


def answer(path: str, body: bytes) -> tuple[int, bytes]:
    """(status, body): predictions, or the error that TensorFlow Serving would give."""
    if path == "/":
        return 200, b"{}"
    if path.startswith("/v1/models/ages/"):
        try:
            return 200, json.dumps({"predictions": [classify(r) for r in json.loads(body)["instances"]]}).encode()
        except (ValueError, KeyError, TypeError) as error:
            return 400, json.dumps({"error": f"bad instance: {error}"}).encode()
    return 404, b'{"error": "Servable not found"}'


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """The application."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    status, data = answer(scope["path"], body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
