"""vLLM's page of metrics, replayed: the one server that cannot run on a machine without a GPU.

The page is the one that the scraper's tests have, written from vLLM's source; its counts grow, its gauges move.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).resolve().parents[2] / "tests/captures_metrics/vllm.txt"
LINE: Final = re.compile(r"(vllm:\w+?(_total|_bucket|_count|_sum|)(?:\{[^}]*\})?) (\S+)\Z")
DOUBLED_S: Final = 20.0
PERIOD_S: Final = 11.0


def page(text: str, seconds: float) -> str:
    """The page as it would be after some time of steady work."""
    grown, swing = 1 + seconds / DOUBLED_S, 0.7 + 0.3 * math.sin(2 * math.pi * seconds / PERIOD_S)
    lines = []
    for line in text.splitlines():
        found = LINE.match(line)
        if found is None or "_created" in found[1]:
            lines.append(line)
            continue
        value = float(found[3])
        counted = value * grown + swing * math.log1p(value)
        lines.append(f"{found[1]} {counted if found[2] else value * swing:.4f}")
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def replayed(port: int) -> Iterator[None]:
    """Serves it on a port of loopback."""
    text, began = PAGE.read_text(encoding="utf-8"), time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page(text, time.monotonic() - began).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="vllm", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
