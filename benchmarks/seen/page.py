"""The page's bars: Debian's Chromium on the page of a really running agent, beside the digits model and its traffic."""

from __future__ import annotations

import contextlib
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from playwright.sync_api import Browser, Page

from benchmarks.bars import Result, bar, versions
from examples.digits.demo import Place, get, prepare, serving
from examples.digits.traffic import Traffic
from tests.agent.live import until
from tests.chromium import MISSING, chromium, installed
from tests.web.browser import Heard, drawn, grave, opened

LOAD_MS = 1000.0
BYTES = 150_000
TICK_S = 2.0  # of examples/digits/pilotfish.yaml
SEEN_S = TICK_S + 2.0
LOADS = 5
FAST_MS = 20


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of everything; its rows read it.

    Attributes:
        loads: milliseconds from the navigation to headline and first charts, of each load.
        received: bytes over the wire, of everything that is not the API's.
        errors, foreign, grave: console errors, requests to another origin, and what axe finds, over all pages.
        seen: seconds from the first alarm at `/api/v1/drift` to the headline on a page that was open.
        version: of the browser.
    """

    loads: tuple[float, ...]
    received: int
    errors: tuple[str, ...]
    foreign: tuple[str, ...]
    grave: tuple[str, ...]
    seen: float
    version: str


@contextlib.contextmanager
def digits() -> Iterator[tuple[str, Traffic]]:
    """(the agent's address, the traffic) of a judged digits model."""
    with tempfile.TemporaryDirectory(prefix="pf-page-", dir="/tmp") as folder:
        place = Place(pathlib.Path(folder))
        artifact, reference = prepare(place, 5)
        with serving(place, artifact, reference) as (server, agent):
            traffic = Traffic(server, "frozen", 6)
            traffic.start()
            try:
                until(lambda: _well(agent), "a verdict")
                yield agent, traffic
            finally:
                traffic.stop()


def _well(agent: str) -> bool:
    """Whether the model has been judged, all streams of it, and is well."""
    status = get(agent, "/api/v1/status") or {}
    judged = all(d["verdict"] != "not_enough_data" for d in status.get("drift", ()))
    return judged and [m["state"] for m in status.get("models", ())] == ["stable"]


@cache
def measured() -> Measured | None:
    """Everything at once: a model takes half a minute to be judged. None without a browser."""
    if installed() is None:
        return None
    all_heard: list[Heard] = []
    found: list[str] = []
    with digits() as (agent, traffic), chromium() as browser:
        address = agent.removeprefix("http://")
        loads = [_load(browser, address, all_heard) for _ in range(LOADS)]
        for size, theme in (("desk", "light"), ("desk", "dark"), ("phone", "light"), ("phone", "dark")):
            with opened(browser, address, size=size, theme=theme) as (page, heard):
                all_heard.append(heard)
                drawn(page)
                page.locator("#shape svg").wait_for()
                found += grave(page)
        with opened(browser, address) as (page, heard):
            all_heard.append(heard)
            drawn(page)
            seen = _shifted(page, agent, traffic)
            found += grave(page)
        return Measured(
            tuple(loads),
            sum(n for path, n in all_heard[0].received.items() if not path.startswith("/api/")),
            tuple(e for h in all_heard for e in h.errors),
            tuple(f for h in all_heard for f in h.foreign),
            tuple(found),
            seen,
            browser.version,
        )


def _load(browser: Browser, address: str, all_heard: list[Heard]) -> float:
    """One load with nothing kept from an earlier one."""
    with opened(browser, address) as (page, heard):
        all_heard.append(heard)
        at = drawn(page)
        title = page.inner_text("h1")
        assert title == "The model is well", title
        page.wait_for_timeout(300)  # what loads late counts too
        return at


def _shifted(page: Page, agent: str, traffic: Traffic) -> float:
    """Seconds by which the open page is later than the API. The page notes the moment itself; one clock for both."""
    page.evaluate(
        """() => new MutationObserver(() => {
          const title = document.querySelector("h1").textContent;
          if (title.includes("drifting")) window.seenAt ??= Date.now() / 1000;
        }).observe(document.getElementById("verdict"), {childList: true, subtree: true})"""
    )
    traffic.shift()
    found = _when(lambda: any(d["severity"] in {"warning", "critical"} for d in get(agent, "/api/v1/drift") or ()))
    seen = float(until(lambda: page.evaluate("window.seenAt ?? 0"), "the page to say it"))
    return max(0.0, seen - found)


def _when(true: Callable[[], bool]) -> float:
    """Epoch seconds at which something became true, looked at fifty times a second."""
    end = time.monotonic() + 60
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("no alarm within 60 s of the shift")
        time.sleep(FAST_MS / 1000)
    return time.time()


def row(say: Callable[[Measured], tuple[str, bool]]) -> Result:
    """A row of the one measurement."""
    found = measured()
    if found is None:
        return Result(MISSING, None)
    text, holds = say(found)
    return Result(text, holds, f"{versions('playwright', 'axe-playwright-python')}, Chromium {found.version}")


@bar("page: from navigation to headline and first charts, loopback", "< 1 s, median of 5 cold loads")
def loads() -> Result:
    def say(m: Measured) -> tuple[str, bool]:
        middle = statistics.median(m.loads)
        return f"{middle:.0f} ms (worst {max(m.loads):.0f})", middle < LOAD_MS

    return row(say)


@bar("page: HTML, styles, scripts, icon over the wire", "<= 150 kB")
def weight() -> Result:
    return row(lambda m: (f"{m.received / 1000:.1f} kB", 0 < m.received <= BYTES))


@bar("page: console errors and warnings over 10 pages, light, dark, phone, drifting", "0")
def quiet() -> Result:
    return row(lambda m: (f"{len(m.errors)} {'; '.join(m.errors[:2])}".strip(), not m.errors))


@bar("page: requests to another origin", "0")
def at_home() -> Result:
    return row(lambda m: (f"{len(m.foreign)} {'; '.join(m.foreign[:2])}".strip(), not m.foreign))


@bar("page: axe, light and dark, desk and phone, well and drifting", "0 serious or critical")
def reachable() -> Result:
    return row(lambda m: (f"{len(m.grave)} {'; '.join(m.grave[:2])}".strip(), not m.grave))


@bar("page: drift on an open page after the API has it, tick 2 s", "<= 1 tick + 2 s")
def shown() -> Result:
    return row(lambda m: (f"{m.seen:.2f} s", m.seen <= SEEN_S))
