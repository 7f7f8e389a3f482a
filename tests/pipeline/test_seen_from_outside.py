"""A model that knows nothing of us, on a real server: what the agent says of its traffic is what the client saw."""

from __future__ import annotations

import json
import pathlib
import re
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from pilotfish_agent.capture.rights import tap_problem
from tests.agent.live import Live, until

PREDICT = "/v1/models/iris/versions/3:predict"
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(params=["tap", "relay"])
def served(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[tuple[Live, int]]:
    """The agent beside uvicorn, and the port that clients use."""
    if request.param == "tap" and tap_problem():
        pytest.skip("a tap needs CAP_NET_RAW")
    live = Live(tmp_path)
    port, other = _free(), _free()
    app = ["-m", "uvicorn", "served:app", "--app-dir", str(ROOT / "tests/pipeline"), "--log-level", "warning"]
    options = ["--capture", request.param]
    if request.param == "relay":
        options += ["--relay-listen", f"127.0.0.1:{port}"]
    command = [sys.executable, *app, "--port", str(other if request.param == "relay" else port)]
    live.start(*options, command=command)
    try:
        until(lambda: (live.status().get("capture") or {}).get("mode") == request.param, "capture")
        until(lambda: _answers(port), "the model")
        yield live, port
    finally:
        live.stop()


def _free() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        return ask(port, "/nowhere", None) == 404
    except (urllib.error.URLError, ConnectionError):
        return False


def ask(port: int, path: str, body: Any) -> int:
    """The status of an answer that was read to its end."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def series(live: Live, name: str) -> dict[frozenset[str], float]:
    """The series of a metric by their labels but `target`."""
    found = {}
    for labels, value in re.findall(rf"^pilotfish_{name}{{(.*)}} (\S+)$", live.get("/metrics"), re.MULTILINE):
        found[frozenset(part for part in re.findall(r'\w+="[^"]*"', labels) if not part.startswith("target"))] = value
    return {labels: float(value) for labels, value in found.items()}


def labels(**given: str) -> frozenset[str]:
    """As `series` has them."""
    return frozenset(f'{name}="{value}"' for name, value in given.items())


def test_requests_predictions_and_tokens_are_as_the_client_saw_them(served: tuple[Live, int]) -> None:
    """Exactly: codes, operations, model, version, rows, tokens of streams, and what is still open."""
    live, port = served
    for i in range(12):
        rows = [{"x": float(i), "y": 1.0}] * (1 + i % 3)
        assert ask(port, PREDICT, {"instances": rows}) == 200
    assert ask(port, PREDICT, b"junk") == 400
    assert ask(port, "/v1/models/nobody:predict", {"instances": []}) == 404
    message = {"model": "what-i-want", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    assert ask(port, "/v1/chat/completions", {**message, "stream_options": {"include_usage": True}}) == 200
    assert ask(port, "/v1/chat/completions", message) == 200
    waiting = threading.Thread(target=ask, args=(port, "/slow", {}))
    waiting.start()
    until(lambda: live.metric("pilotfish_requests_in_flight") == 1.0, "an open request")
    waiting.join()
    iris = {"model": "iris", "model_version": "3"}
    table = {**iris, "protocol": "tensorflow_serving", "operation": "predict"}
    tables = {name: {**table, "protocol": name} for name in ("tensorflow_serving", "kserve_v1")}
    until(
        lambda: labels(model="toy", protocol="http", operation="other", code="200") in series(live, "requests_total"),
        f"the last request; {series(live, 'requests_total')}",
    )
    requests = series(live, "requests_total")
    counted = {code: sum(requests.get(labels(**t, code=code), 0.0) for t in tables.values()) for code in ("200", "400")}
    assert counted == {"200": 12.0, "400": 1.0}
    assert sum(n for kind, n in requests.items() if 'code="404"' in kind and 'operation="predict"' in kind) == 1.0
    assert requests[labels(model="tiny", protocol="openai", operation="chat", code="200")] == 2.0
    assert not any("nobody" in part or "what-i-want" in part for kind in requests for part in kind)
    assert series(live, "predictions_total")[labels(**iris)] == 24.0
    tiny = {"model": "tiny"}
    assert series(live, "output_tokens_total") == {labels(**tiny): 5.0, labels(**tiny, estimated="true"): 3.0}
    assert series(live, "input_tokens_total") == {labels(**tiny): 7.0}
    assert series(live, "generations_total") == {labels(**tiny, finish_reason="stop"): 2.0}
    assert series(live, "time_to_first_token_seconds_count") == {labels(**tiny): 2.0}
    assert series(live, "inter_chunk_duration_seconds_count") == {labels(**tiny): 4.0}
    assert {m["model"]: m["words"] for m in live.status()["models"]}["iris"] == "learning: 24 of 500 rows"
    page = live.get("/")
    assert "Traffic seen by" in page
    assert "7 input, 8 output" in page
