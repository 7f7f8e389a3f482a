"""An inbox for Alertmanager's webhooks: prints a line for each alert, and shows what came.

python -m examples.digits.inbox [--listen 127.0.0.1:8080]

POST /ANYTHING   a notification of Alertmanager
GET  /           the last 200 alerts, as JSON
"""

from __future__ import annotations

import argparse
import collections
import json
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final

LARGEST_BODY: Final = 1 << 20
KEPT: Final = 200
Alert = dict[str, Any]


class Handler(BaseHTTPRequestHandler):
    """One notification."""

    kept: ClassVar[collections.deque[Alert]] = collections.deque(maxlen=KEPT)

    def do_GET(self) -> None:
        """What came."""
        self._answer(200, list(self.kept))

    def do_POST(self) -> None:
        """Keeps and prints it."""
        size = self.headers.get("Content-Length", "")
        if not size.isdigit() or int(size) > LARGEST_BODY:
            self._answer(413, {"error": f"Content-Length of at most {LARGEST_BODY} needed"})
            return
        try:
            alerts = read(self.path.strip("/"), self.rfile.read(int(size)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self._answer(400, {"error": f"no notification of Alertmanager: {error!r}"})
            return
        for alert in alerts:
            self.kept.append(alert)
            print(line(alert), flush=True)
        self._answer(200, {})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        """No line a request."""

    def _answer(self, code: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def read(receiver: str, body: bytes) -> list[Alert]:
    """The alerts of a notification.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is none.
    """
    return [
        {
            "at": time.time(),
            "receiver": receiver,
            "status": alert["status"],
            "alert": alert["labels"]["alertname"],
            "labels": alert["labels"],
            "summary": alert.get("annotations", {}).get("summary", ""),
        }
        for alert in json.loads(body)["alerts"]
    ]


def line(alert: Alert) -> str:
    """``pager: FIRING PilotfishDriftCritical: digits on model:7374: inputs ...``."""
    return f"{alert['receiver']}: {alert['status'].upper()} {alert['alert']}: {alert['summary']}"


def main(arguments: list[str]) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="inbox")
    parser.add_argument("--listen", default="127.0.0.1:8080", metavar="HOST:PORT")
    host, _, port = parser.parse_args(arguments).listen.rpartition(":")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    with ThreadingHTTPServer((host, int(port)), Handler) as server:
        server.daemon_threads = True
        print(f"inbox on http://{host}:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
