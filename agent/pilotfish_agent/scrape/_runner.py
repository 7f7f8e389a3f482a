"""Scrapes every configured page in its own time, on the agent's loop; the pipeline reads what was last seen."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import cast

import aiohttp

from pilotfish_agent import http_client
from pilotfish_agent.hardware._runner import DURATION, SUCCESS
from pilotfish_agent.http_client import Failed
from pilotfish_agent.scrape._family import Server
from pilotfish_agent.scrape._normal import Normaliser, detect
from pilotfish_agent.scrape._settings import AUTO, PACKAGE, Target
from pilotfish_core import registry
from pilotfish_core.clock import Clock
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Metric, Reading, Sample

FAILURES = Metric(
    "pilotfish_scrape_failures_total",
    "counter",
    "Scrapes of a model server's own metrics that gave nothing, by reason; the agent's log has the words.",
    ("server", "reason"),
)
UNREAD = Metric(
    "pilotfish_scrape_unread_lines_total",
    "counter",
    "Lines of a model server's metrics that are no Prometheus text; the others of the page are used.",
    ("server",),
)
METRICS = (FAILURES, UNREAD)
FAILED = Event("scrape_failed", "warning", "A model server's metrics could not be scraped.")
FOUND = Event("scrape_server_found", "info", "A model server was told by the names on its page.")
EVENTS = (FAILED, FOUND)


class Scraper:
    """All pages of the configuration. Runs on the agent's loop; `readings` may be called from another thread.

    Args:
        targets: of the configuration.
        target: value of the label `target`.
        clock: where time comes from.
        events: where failures are told; one line when a page starts to fail, not one a scrape.
    """

    def __init__(self, targets: Sequence[Target], target: str, *, clock: Clock, events: Events) -> None:
        servers = cast(Mapping[str, Server], dict(registry.parts(PACKAGE))) if targets else {}
        labels = _Labels()
        self._pages = [_Page(entry, labels, target, servers, clock, events) for entry in targets]

    async def run(self) -> None:
        """Scrapes until cancelled."""
        if not self._pages:
            return
        async with http_client.session() as client:
            await asyncio.gather(*(page.run(client) for page in self._pages))

    def readings(self) -> list[Reading]:
        """What is known now."""
        return [reading for page in self._pages for reading in page.latest]


class _Labels:
    """Values of the label `server`, no two pages the same: vllm, vllm-2."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """``name``, or with a number behind it where that is another page's."""
        tries = (name, *(f"{name}-{i}" for i in range(2, len(self._taken) + 3)))
        label = next(n for n in tries if n not in self._taken)
        self._taken.add(label)
        return label


class _Page:
    def __init__(
        self, entry: Target, labels: _Labels, target: str, servers: Mapping[str, Server], clock: Clock, events: Events
    ) -> None:
        self._entry = entry
        self._labels = labels
        self._label = labels.take(entry.name or entry.server)  # of an unknown server until it is told: auto
        self._servers = servers
        self._clock = clock
        self._events = events
        self._target = target
        self._normal: Normaliser | None = None
        if entry.server != AUTO:
            self._know(servers[entry.server])
        self._failures: dict[str, int] = {}
        self._unread = 0
        self._told: str | None = None
        self.latest: tuple[Reading, ...] = ()

    @property
    def _collector(self) -> str:
        return f"scrape:{self._label}"

    def _know(self, server: Server) -> Normaliser:
        self._normal = Normaliser(self._target, self._label, server, self._collector)
        return self._normal

    async def run(self, client: aiohttp.ClientSession) -> None:
        """One scrape an interval."""
        while True:
            began = self._clock.monotonic()
            await self.once(client)
            # A tenth of jitter: two agents started together must not ask together for ever.
            wait = self._entry.interval * random.uniform(0.95, 1.05) - (self._clock.monotonic() - began)
            await asyncio.sleep(max(wait, 0.1))

    async def once(self, client: aiohttp.ClientSession) -> None:
        """One scrape; never raises but for the task's end."""
        began = self._clock.monotonic()
        reason, words = None, ""
        found: list[Reading] | None = None
        try:
            answer = await http_client.ask(client, self._entry.url)
            if answer.status != 200:
                raise Failed("status", f"status {answer.status}, expected 200")
            found = await asyncio.to_thread(self._take, answer.body.decode("utf-8", "replace"))
            if found is None:
                reason, words = "no_known_metric", "no name of a known server on the page; give `server:`"
        except Failed as failed:
            reason, words = failed.reason, str(failed)
        except Exception as error:  # noqa: BLE001 - one page's fault, whatever it is, must not end the others' task
            reason, words = "failed", f"{type(error).__name__}: {error}"
        if found is None:
            found = self._normal.missed() if self._normal is not None else []
        self._tell(reason, words)
        self.latest = (*found, *self._own(reason is None, self._clock.monotonic() - began))

    def _take(self, text: str) -> list[Reading] | None:
        """The readings of a page, None when nothing of it is known. In a thread: a page may take 100 ms."""
        normal = self._normal
        if normal is None:
            kind = detect(text, self._servers)
            if kind is None:
                return None
            if self._entry.name is None:
                self._label = self._labels.take(kind)
            normal = self._know(self._servers[kind])
            self._events.emit(FOUND, server=kind, url=self._entry.url)
        found, unread = normal.take(text)
        self._unread += unread
        # A server without a model yet shows nothing and is well; a page of another server is not.
        known = any(isinstance(r, Sample) for r in found) or detect(text, {"": normal.server}) is not None
        return found if known else None

    def _tell(self, reason: str | None, words: str) -> None:
        if reason is not None:
            self._failures[reason] = self._failures.get(reason, 0) + 1
            if reason != self._told:
                self._events.emit(FAILED, server=self._label, url=self._entry.url, reason=reason, error=words)
        self._told = reason

    def _own(self, good: bool, seconds: float) -> list[Reading]:
        return [
            Sample(SUCCESS, (self._collector,), float(good)),
            Sample(DURATION, (self._collector,), seconds),
            Sample(UNREAD, (self._label,), float(self._unread)),
            *(Sample(FAILURES, (self._label, reason), float(n)) for reason, n in self._failures.items()),
        ]
