"""The agent's page in Chromium, with an ear for everything that must not happen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.agent.live import until

SIZES = {"desk": (1440, 900), "phone": (360, 740), "wall": (2560, 1440)}


@dataclass(slots=True)
class Heard:
    """What a page did.

    Attributes:
        errors: of the console and of scripts.
        foreign: addresses of another origin that were asked for.
        received: bytes of bodies as they went over the wire, by path.
    """

    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    received: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def opened(
    browser: Browser, address: str, *, size: str = "desk", theme: str = "light", script: bool = True
) -> Iterator[tuple[Page, Heard]]:
    """The agent's page, loaded; what it does is heard from the first byte on."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        java_script_enabled=script,
        reduced_motion="reduce",
    )
    page, heard = context.new_page(), Heard()
    page.on("console", lambda m: heard.errors.append(m.text) if m.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: heard.errors.append(str(error)))
    page.on("request", lambda r: None if _ours(r.url, address) else heard.foreign.append(r.url))
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    paths: dict[str, str] = {}
    network.on(
        "Network.requestWillBeSent", lambda e: paths.update({e["requestId"]: urlsplit(e["request"]["url"]).path})
    )
    network.on("Network.loadingFinished", lambda e: _count(heard, paths.get(e["requestId"], ""), e))
    try:
        page.goto(f"http://{address}/")
        yield page, heard
    finally:
        context.close()


def _ours(url: str, address: str) -> bool:
    return url.startswith((f"http://{address}/", "data:"))


def _count(heard: Heard, url: str, event: dict[str, Any]) -> None:
    path = urlsplit(url).path
    heard.received[path] = heard.received.get(path, 0) + int(event["encodedDataLength"])


def drawn(page: Page) -> float:
    """Milliseconds from the navigation to the first charts. Our own waiting: the page's policy forbids Playwright's."""
    look = "performance.getEntriesByName('drawn')[0]?.startTime ?? 0"
    return float(until(lambda: page.evaluate(look), "a chart to be drawn"))


def grave(page: Page) -> list[str]:
    """What axe finds serious or critical, a line each."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html']}" for v in found if v["impact"] in {"serious", "critical"}]
