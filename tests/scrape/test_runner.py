"""A page that comes, fails, and comes again: what is told meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiohttp import web

from pilotfish_agent import config, http_client
from pilotfish_agent.scrape._runner import Scraper
from pilotfish_agent.scrape._settings import Target
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Events
from pilotfish_core.metrics import Sample, Unavailable
from tests.scrape.pages import page, text


class Server:
    """A server whose page a test sets."""

    def __init__(self) -> None:
        self.body = ""
        self.status = 200

    async def handle(self, request: web.Request) -> web.Response:
        return web.Response(text=self.body, status=self.status)


def scraped(entries: Sequence[dict[str, str]], pages: Sequence[tuple[int, str]]) -> list[str]:
    """What is told after each of ``pages``."""

    async def go() -> list[str]:
        server = Server()
        app = web.Application()
        app.router.add_get("/metrics", server.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
        clock = SystemClock()
        targets = [Target(**{"url": address, **entry}) for entry in entries]  # type: ignore[arg-type]
        scraper = Scraper(targets, "serve", clock=clock, events=Events(clock))
        told = []
        async with http_client.session() as client:
            for server.status, server.body in pages:
                for one in scraper._pages:
                    await one.once(client)
                told.append(text(r for r in scraper.readings() if not _time(r)))
        await runner.cleanup()
        return told

    return asyncio.run(go())


def _time(reading: Sample | Unavailable) -> bool:
    return isinstance(reading, Sample) and reading.metric.name == "pilotfish_collector_duration_seconds"


def test_a_server_is_found_and_lost_and_found() -> None:
    """auto tells the server; while it is away its counters stand, its gauges are absent, and the reason is counted."""
    good, bad, again = scraped([{}], [(200, page("vllm")), (500, ""), (200, page("vllm"))])
    assert 'pilotfish_server_requests_waiting{target="serve",server="vllm",model="Qwen/Qwen3-0.6B"} 7\n' in good
    assert 'pilotfish_collector_success{collector="scrape:vllm"} 1\n' in good
    assert "pilotfish_server_requests_waiting{" not in bad
    assert "# pilotfish_server_requests_waiting absent: failed (scrape:vllm)\n" in bad
    assert 'pilotfish_server_preemptions_total{target="serve",server="vllm",model="Qwen/Qwen3-0.6B"} 5\n' in bad
    assert 'pilotfish_collector_success{collector="scrape:vllm"} 0\n' in bad
    assert 'pilotfish_scrape_failures_total{server="vllm",reason="status"} 1\n' in bad
    assert again == good.rstrip() + '\npilotfish_scrape_failures_total{server="vllm",reason="status"} 1\n' or (
        sorted(again.splitlines())
        == sorted([*good.splitlines(), 'pilotfish_scrape_failures_total{server="vllm",reason="status"} 1'])
    )


def test_two_pages_of_one_kind_have_two_labels() -> None:
    """So their series do not collide."""
    (told,) = scraped([{"server": "triton"}, {"server": "triton"}, {"name": "b"}], [(200, page("triton-busy"))])
    for label in ("triton", "triton-2", "b"):
        assert f'pilotfish_collector_success{{collector="scrape:{label}"}} 1\n' in told
        assert f'pilotfish_server_requests_waiting{{target="serve",server="{label}",model="digits",' in told


def test_a_page_of_nobody_or_of_another_is_a_failure() -> None:
    """With what to do in the log; and nothing of it is told."""
    for entry in ({}, {"server": "triton"}):
        (told,) = scraped([entry], [(200, "process_cpu_seconds_total 1\n")])
        assert 'reason="no_known_metric"} 1\n' in told
        assert "pilotfish_server_" not in told.replace("# pilotfish_server_", "")


def test_a_server_without_a_model_is_well() -> None:
    """Triton with an empty repository."""
    (told,) = scraped([{"server": "triton"}], [(200, "nv_pinned_memory_pool_total_bytes 1\nbad line here\n")])
    assert 'pilotfish_collector_success{collector="scrape:triton"} 1\n' in told
    assert "absent: no_data" in told


def test_unread_lines_are_counted() -> None:
    """They cost themselves only."""
    (told,) = scraped([{"server": "triton"}], [(200, page("triton-busy") + "}{\n=\n")])
    assert 'pilotfish_scrape_unread_lines_total{server="triton"} 2\n' in told


def test_the_section(tmp_path: object) -> None:
    """The contract's example is understood; what is wrong is told with the place."""
    good = _load("scrape: [{url: http://127.0.0.1:8002/metrics, server: triton}]\n", tmp_path)
    assert good.problems == ()
    assert good.section("scrape") == (Target("http://127.0.0.1:8002/metrics", "triton"),)
    for entry, words in {
        "{server: triton}": "url",
        "{url: http://a/, server: apache}": "one of auto, bentoml",
        "{url: ftp://a/}": "an URL such as",
        "{url: http://a/, interval: 1ms}": "a duration from 1s to 1h",
    }.items():
        bad = _load(f"scrape:\n- {entry}\n", tmp_path)
        assert bad.section("scrape") == ()
        assert words in bad.problems[0].line()


def _load(text: str, folder: object) -> config.Settings:
    path = f"{folder}/c.yaml"
    with open(path, "w") as file:
        file.write(text)
    return config.load(path, {}, {})


@pytest.mark.parametrize("empty", ["", "scrape:\n", "scrape: []\n"])
def test_nothing_to_scrape(empty: str, tmp_path: object) -> None:
    """No section, no entry: no part is even imported."""
    entries = _load(empty, tmp_path).section("scrape")
    scraper = Scraper(entries, "serve", clock=SystemClock(), events=Events(SystemClock()))
    asyncio.run(scraper.run())
    assert scraper.readings() == []
