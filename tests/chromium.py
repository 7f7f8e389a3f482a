"""Debian's Chromium, driven by Playwright; it asks nobody for anything of its own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Final

from playwright.sync_api import Browser, sync_playwright

MISSING: Final = "chromium is not installed: apt-get install chromium fonts-dejavu-core (or make system-deps)"
_QUIET: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def installed() -> str | None:
    """Where it is, None when it is not."""
    return shutil.which("chromium")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a profile; it must be `installed`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed(), args=list(_QUIET))
        try:
            yield browser
        finally:
            browser.close()
