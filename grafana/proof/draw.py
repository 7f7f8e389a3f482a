"""Draws dashboards in headless Chromium and reads back what a person would read."""

from __future__ import annotations

import contextlib
import json
import mimetypes
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, ConsoleMessage

from grafana.proof.bundle import MissingError
from grafana.proof.gpus import NAME
from tests.chromium import MISSING, chromium, installed

WIDTH: Final = 1600
HEIGHT_STEP: Final = 38  # pixels of a grid row, as in src/layout.js
DRAWN_MS: Final = 60_000.0
PAGE: Final = (
    b'<!doctype html><meta charset="utf-8"><title>proof</title><link rel="stylesheet" href="/main.css">'
    b'<body style="margin:0;background:#111217"><div id="root"></div><script src="/main.js"></script>'
)
NOTE: Final = f"a story played for this picture; GPU: {NAME}, a driver library that plays one"
"""Stands in every picture."""
READ: Final = (Path(__file__).parent / "read.js").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class When:
    """What all panels show.

    Attributes:
        prometheus: its address; now: the end of the time range, epoch seconds.
        span, scrape: seconds of the range, and between two scrapes.
    """

    prometheus: str
    now: int
    span: int
    scrape: int = 1


@dataclass(frozen=True, slots=True)
class Drawn:
    """One dashboard as it was drawn.

    Attributes:
        variables: options of each query variable.
        panels: for each what was asked (`targets`) and what stands in the DOM.
        annotations: name, expression and number of series of each.
        errors: of drawing and of the console.
    """

    variables: Mapping[str, list[str]]
    panels: tuple[Mapping[str, Any], ...]
    annotations: tuple[Mapping[str, Any], ...]
    errors: tuple[str, ...]


class Handler(BaseHTTPRequestHandler):
    """The page, its bundle, Grafana's icons and the dashboards."""

    dist: Path
    dashboards: dict[str, bytes]

    def do_GET(self) -> None:
        """One file."""
        path = urllib.parse.urlsplit(self.path).path
        if path == "/":
            self._answer(PAGE, "text/html; charset=utf-8")
        elif path.startswith("/dashboards/"):
            self._answer(self.dashboards.get(path.rpartition("/")[2]), "application/json")
        elif path == "/favicon.ico":
            self._answer(b"", "image/x-icon")  # a missing one is an error on the console
        else:
            path = path.replace("/public/build/", "/public/").replace("/public/fonts/inter/", "/fonts/")
            file = (self.dist / path.removeprefix("/")).absolute()
            inside = file.is_relative_to(self.dist) and ".." not in path and file.is_file()
            self._answer(file.read_bytes() if inside else None, mimetypes.guess_type(path)[0] or "text/plain")

    def _answer(self, body: bytes | None, kind: str) -> None:
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        """No line a request."""


class Studio:
    """A browser and the server of its page.

    Args:
        browser: of Playwright.
        address: of the server.
        dashboards: what the server serves; filled here.
    """

    def __init__(self, browser: Browser, address: str, dashboards: dict[str, bytes]) -> None:
        self._browser = browser
        self._address = address
        self._dashboards = dashboards

    def draw(self, name: str, dashboard: Mapping[str, Any], when: When, picture: Path | None = None) -> Drawn:
        """Draws one dashboard, and keeps a picture of it.

        Raises:
            playwright's TimeoutError: it was not drawn in a minute.
        """
        self._dashboards[name] = json.dumps(dashboard).encode()
        # As tall as the dashboard, twice for repeated rows: tables below the viewport stay blank without an error.
        bottom = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in every_panel(dashboard))
        page = self._browser.new_page(viewport={"width": WIDTH, "height": 2 * HEIGHT_STEP * bottom + 100})
        errors: list[str] = []

        def heard(message: ConsoleMessage) -> None:
            if message.type == "error":
                errors.append(f"console: {message.text[:400]} {message.location.get('url', '')}".rstrip())

        page.on("console", heard)
        page.on("pageerror", lambda error: errors.append(f"page: {str(error)[:400]}"))
        asked = {
            "dashboard": f"/dashboards/{name}",
            "prometheus": when.prometheus,
            "now": when.now,
            "span": when.span,
            "scrape": when.scrape,
            "width": WIDTH,
            "note": NOTE,
        }
        try:
            page.clock.set_fixed_time(when.now)  # "2 minutes ago" is of the shown end
            page.goto(f"{self._address}/?{urllib.parse.urlencode(asked)}")
            page.wait_for_function("window.drawn === true", timeout=DRAWN_MS)
            report, shown = page.evaluate("window.proof"), page.evaluate(READ)
            if picture is not None:
                page.locator("#dashboard").screenshot(path=str(picture))
        finally:
            page.close()
        panels = tuple({**panel, "shown": shown.get(panel["key"])} for panel in report["panels"])
        options = report["variables"].get("options", {})
        return Drawn(options, panels, tuple(report["annotations"]), (*report["errors"], *errors))


def every_panel(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All panels, those of closed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels") or ()


@contextlib.contextmanager
def studio(dist: Path) -> Iterator[Studio]:
    """Opens the browser and the server, closes them.

    Raises:
        MissingError: there is no Chromium.
    """
    if installed() is None:
        raise MissingError(MISSING)
    dashboards: dict[str, bytes] = {}
    handler = type("Bound", (Handler,), {"dist": dist, "dashboards": dashboards})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium() as browser:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="proof", daemon=True).start()
        try:
            yield Studio(browser, f"http://127.0.0.1:{server.server_port}", dashboards)
        finally:
            server.shutdown()
