"""A small model server that speaks TensorFlow Serving's REST, watched by three lines of the Pilotfish SDK.

pilotfish run -- python -m examples.digits.server MODEL [--host 127.0.0.1] [--port 8501]

GET  /v1/models/digits
POST /v1/models/digits:predict   {"instances": [[64 numbers], ...]} -> {"predictions": [[10 probabilities], ...]}
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import numpy as np

from examples.digits.classifier import PIXELS, load, probabilities
from pilotfish import Monitor

LARGEST_BODY: Final = 1 << 20
STATUS: Final = {
    "model_version_status": [
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
}


class Digits:
    """The model and the monitor that watches it."""

    def __init__(self, artifact: Path) -> None:
        self._model = load(artifact)
        self._monitor = Monitor(name="digits", version="1")

    def predict(self, instances: list[list[float]]) -> list[list[float]]:
        """Answers, and tells Pilotfish what came in, what went out and how long it took."""
        began = time.perf_counter()
        answers: list[list[float]] = probabilities(self._model, np.asarray(instances, dtype=np.float64)).tolist()
        took = time.perf_counter() - began
        for pixels, answer in zip(instances, answers, strict=True):
            self._monitor.observe(features=dict(zip(PIXELS, pixels, strict=True)), prediction=answer, latency=took)
        return answers


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together
    digits: Digits

    def do_GET(self) -> None:
        """The model's state."""
        if self.path == "/v1/models/digits":
            self._answer(200, STATUS)
        else:
            self._answer(404, {"error": f"no such path: {self.path}"})

    def do_POST(self) -> None:
        """A prediction."""
        size = self.headers.get("Content-Length", "")
        if not size.isdigit() or int(size) > LARGEST_BODY:
            self.close_connection = True  # the body stays unread
            self._answer(413 if size.isdigit() else 411, {"error": f"Content-Length of at most {LARGEST_BODY} needed"})
            return
        body = self.rfile.read(int(size))
        if self.path != "/v1/models/digits:predict":
            self._answer(404, {"error": f"no such path: {self.path}"})
            return
        try:
            instances = read_instances(body)
        except ValueError as error:
            self._answer(400, {"error": str(error)})
            return
        self._answer(200, {"predictions": self.digits.predict(instances)})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        """No line a request."""

    def _answer(self, code: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def read_instances(body: bytes) -> list[list[float]]:
    """The rows of a request.

    Raises:
        ValueError: it is no JSON of the form above; the text says what was expected.
    """
    content = json.loads(body)
    instances = content.get("instances") if isinstance(content, dict) else None
    if not isinstance(instances, list) or not instances:
        raise ValueError('expected {"instances": [[64 numbers], ...]}')
    for row in instances:
        if not isinstance(row, list) or len(row) != len(PIXELS):
            raise ValueError("expected 64 numbers in each instance")
        if not all(isinstance(pixel, int | float) for pixel in row):
            raise ValueError("expected numbers in each instance")
    return instances


def main(arguments: list[str]) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="server")
    parser.add_argument("model", type=Path)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 in a container")
    parser.add_argument("--port", type=int, default=8501, help="0 takes a free one")
    options = parser.parse_args(arguments)
    Handler.digits = Digits(options.model)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ThreadingHTTPServer((options.host, options.port), Handler) as server:
        server.daemon_threads = True
        print(f"serving http://{options.host}:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
