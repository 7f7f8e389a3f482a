"""``make screenshots``: the demo is started, shifts, and its page is photographed in Chromium: docs/pictures/*.png."""

from __future__ import annotations

import json
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.request
from typing import Final

from playwright.sync_api import Browser

from docs import evidence
from tests.chromium import chromium

PICTURES: Final = pathlib.Path(__file__).parent / "pictures"
SECONDS: Final = 150.0
FIRST_ROWS: Final = 20.0  # seconds of clean traffic in the pictures of a model that is well
AFTER_ALARM: Final = 8.0
SIZE: Final = (1280, 900)


def main() -> int:
    """Four pictures: well and drifting, light and dark; and that of a replay."""
    PICTURES.mkdir(exist_ok=True)
    evidence.main()
    command = [sys.executable, "-m", "examples.digits.demo", "--seconds", str(SECONDS), "--shift-after", "40"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = _page(demo)
        with chromium() as browser:
            time.sleep(FIRST_ROWS)
            _take(browser, address, "page")
            _wait_for_drift(address)
            time.sleep(AFTER_ALARM)
            _take(browser, address, "drifting")
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=20)
    return 0


def _page(demo: subprocess.Popen[str]) -> str:
    """Where the demo says that the page is."""
    for line in demo.stdout or ():
        if found := re.search(r"page on (http://\S+?)/ ", line):
            return found[1]
    raise RuntimeError("the demo ended before it had a page")


def _wait_for_drift(address: str) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with urllib.request.urlopen(f"{address}/api/v1/drift", timeout=5) as answer:  # noqa: S310 - loopback
            if any(item["severity"] == "critical" for item in json.load(answer)):
                return
        time.sleep(0.5)
    raise TimeoutError("no critical alarm on the page")


def _take(browser: Browser, address: str, name: str) -> None:
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme=scheme)
        page.goto(address)
        page.wait_for_timeout(2500)
        page.screenshot(path=PICTURES / f"{name}-{scheme}.png")
        page.close()


if __name__ == "__main__":
    sys.exit(main())
