"""The relay before servers as they are: nginx, and uvicorn with an application of ours."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections import Counter

import pytest

from benchmarks.capture.relay_bench import listening, servers
from tests.capture_relay.box import RelayBox, free_port, until
from tests.system import needs

APP = """
import asyncio, json

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    status = 200 if scope["path"] == "/predict" else 404
    head = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": b'{"n":', "more_body": True})
    await send({"type": "http.response.body", "body": b"%d}" % len(body)})

import uvicorn, sys
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


@needs("nginx", package="nginx-light")
@needs("wrk", package="wrk")
def test_nginx_under_load_every_exchange_is_recorded() -> None:
    """wrk through the relay: as many records as requests, all with their status, none failed."""
    with servers() as peer, RelayBox(peer.model) as box:
        done, failed = peer.load(box.port, 1)
        assert failed == 0
        until(lambda: len(box.records) >= done, "the records")
        statuses = Counter(box.lines())
        assert set(statuses) <= {"POST / 200", "POST / 0"}
        assert done <= statuses["POST / 200"] <= done + 64  # wrk leaves those on their way at its end uncounted


def test_uvicorn_exactly_as_the_client_saw_it() -> None:
    """Chunked answers, errors, keep-alive and not: status by status."""
    pytest.importorskip("uvicorn")
    port = free_port()
    model = subprocess.Popen([sys.executable, "-c", APP, str(port)])
    try:
        listening(port)
        with RelayBox(port) as box:
            seen = []
            for _ in range(3):
                client = http.client.HTTPConnection("127.0.0.1", box.port, timeout=20)
                for path in ("/predict", "/nothing", "/predict"):
                    client.request("POST", path, b"x" * 1_000, {"Content-Type": "text/plain"})
                    answer = client.getresponse()
                    assert json.loads(answer.read()) == {"n": 1_000}
                    seen.append(f"POST {path} {answer.status}")
                client.close()
            until(lambda: len(box.records) == len(seen), "the records")
            assert Counter(box.lines()) == Counter(seen)
    finally:
        model.terminate()
        model.wait()
