"""The agent scrapes and probes what its configuration names, beside a process that it watches."""

from __future__ import annotations

import http.server
import os
import pathlib
import threading
from collections.abc import Iterator

import pytest

from tests.agent.live import Live, until
from tests.scrape.pages import page


class Handler(http.server.BaseHTTPRequestHandler):
    """Triton's page, a model that is ready, and a canary's answer."""

    def do_GET(self) -> None:
        self.give(page("triton-busy") if self.path == "/metrics" else '{"name": "m", "ready": true}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.give('{"predictions": [3]}')

    def give(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    """A server on loopback."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_agent_scrapes_and_probes(tmp_path: pathlib.Path, address: str) -> None:
    """Series of the server on the agent's own page, and gone gauges once the server is gone."""
    (tmp_path / "c.yaml").write_text(
        f"scrape: [{{url: http://{address}/metrics, interval: 1s}}]\n"
        "capture: {mode: 'off'}\n"
        f"probe: {{url: http://{address}/v1/models/m, interval: 1s, expect: '{{\"predictions\": [3]}}',\n"
        "  request: 'POST /v1/models/m:predict {\"instances\": [1]}'}\n"
    )
    live = Live(tmp_path)
    live.attach("--pid", str(os.getpid()), "--config", str(tmp_path / "c.yaml"))
    try:
        until(lambda: live.metric(r'pilotfish_probe_success\{probe="canary"\}') == 1.0, "the canary")
        until(lambda: live.metric(r"pilotfish_server_requests_waiting\{.*digits") == 2.0, "the page")
        assert live.metric(r'pilotfish_probe_success\{probe="readiness"\}') == 1.0
        assert live.metric(r"pilotfish_server_model_state\{.*ready") == 1.0
        assert live.metric(r'pilotfish_collector_success\{collector="scrape:triton"\}') == 1.0
        assert live.metric(r"pilotfish_server_requests_total\{.*digits.*success") == 8.0
    finally:
        live.stop()
