"""The page in a real browser, beside a real agent and a model whose inputs shift."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.agent.live import Live, until
from tests.chromium import chromium
from tests.system import needs
from tests.web.browser import drawn, grave, opened

pytestmark = needs("chromium", package="chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests here; each opens a context of its own."""
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """An agent that has learnt what is normal and judges each second."""
    one = Live(pathlib.Path(tmp_path_factory.mktemp("page")))
    one.start(PILOTFISH_DRIFT_TICK="1s", PILOTFISH_DRIFT_DEPENDENCE="1")
    until(lambda: any(d["verdict"] == "stable" for d in one.status().get("drift", ())), "the first verdict")
    yield one
    one.stop()


@pytest.mark.parametrize("size", ["desk", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_quiet_reachable_and_fits(browser: Browser, live: Live, size: str, theme: str) -> None:
    """No error, nothing from elsewhere, nothing serious for axe, no scrolling sideways; charts are drawn."""
    with opened(browser, live.address(), size=size, theme=theme) as (page, heard):
        drawn(page)
        page.locator("#streams a").first.wait_for()
        page.locator("#shape svg").first.wait_for()
        page.locator("summary").first.click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert grave(page) == []
        assert heard.errors == []
        assert heard.foreign == []
        assert sum(n for path, n in heard.received.items() if not path.startswith("/api/")) <= 150_000


def test_the_first_screen_answers_without_a_script(browser: Browser, live: Live) -> None:
    """Well or not, what changed, the budget, the streams, how far it has learnt: all in the HTML."""
    with opened(browser, live.address(), script=False) as (page, heard):
        text = page.inner_text("body")
        for part in (
            "toy runs on a provisional reference",
            "of 5,000 rows",
            "of 24 h",
            "What changed",
            "The budget is 1 per 30d",
        ):
            assert part in text
        assert page.locator("#streams a").count() >= 3
        assert heard.errors == []


def test_the_keyboard_reaches_the_verdict_and_every_stream(browser: Browser, live: Live) -> None:
    """The first Tab offers the way past the header; arrows walk through the streams; Enter draws one."""
    with opened(browser, live.address()) as (page, heard):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "verdict"
        page.locator("#streams a").first.focus()
        page.keyboard.press("ArrowDown")
        name = page.evaluate("document.activeElement.textContent")
        page.keyboard.press("Enter")
        until(lambda: page.inner_text("#shape h2") == name, f"{name} to be drawn")
        assert page.locator("#streams a[aria-current=true]").inner_text() == name
        label = page.locator("#shape svg").get_attribute("aria-label")
        assert label is not None
        assert "reference" in label
        assert heard.errors == []


def test_a_stream_is_drawn_against_its_reference(browser: Browser, live: Live) -> None:
    """A pair of bars a bin, and the same in numbers; the address says which stream it is."""
    with opened(browser, live.address()) as (page, _):
        page.locator("#streams a", has_text="color").click()
        until(lambda: page.inner_text("#shape h2") == "color", "color to be drawn")
        assert page.evaluate("location.hash") == "#stream=toy/color"
        until(lambda: page.locator("#shape .now").count() == 3, "the present, once there are rows enough")
        assert page.locator("#shape .before").count() == 3
        page.locator("#shape summary").click()
        rows = page.locator("#shape tbody tr").all_inner_texts()
        assert {row[0] for row in rows} == set("abc")


def test_a_shift_comes_to_the_open_page_and_is_said_aloud(browser: Browser, live: Live) -> None:
    """Nobody reloads: the headline changes, the live region says it, the stream that moved comes first."""
    with opened(browser, live.address(), size="phone") as (page, heard):
        page.locator("#streams a").first.wait_for()
        (live.root / "shift").touch()
        until(lambda: "something changed" in page.inner_text("h1"), "the page to say that something changed")
        assert "something changed" in page.inner_text("#said")
        assert "something changed" in page.title()
        assert "age" in page.inner_text("#changes")
        # a notice may come of the first few rows alone, and name a tail; the alarm after it knows what moved
        until(lambda: "mean up" in page.inner_text("#changes"), "the page to say what changed")
        assert page.locator("#streams a").first.inner_text() == "age"
        assert grave(page) == []
        assert heard.errors == []


def test_an_agent_that_is_gone_is_said_to_be_gone(browser: Browser, live: Live) -> None:
    """What stands on the page is older, and the page says so."""
    with opened(browser, live.address()) as (page, _):
        page.locator(".live").wait_for()
        live.stop()
        until(lambda: "has not answered since" in page.inner_text("#lost"), "the page to notice")
