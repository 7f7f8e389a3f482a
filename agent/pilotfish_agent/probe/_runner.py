"""The probe of the configuration: readiness, the model's state, a canary; on the agent's loop, one at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp

from pilotfish_agent import http_client
from pilotfish_agent.http_client import Answer, Failed, url
from pilotfish_agent.probe._expect import Canary, canary, meets
from pilotfish_agent.probe._states import MAX_MODELS, MODEL_STATE, STATES, Told, Way
from pilotfish_core import registry
from pilotfish_core.clock import Clock
from pilotfish_core.config import duration_between, option, text
from pilotfish_core.events import Event, Events
from pilotfish_core.metrics import Metric, Reading, Sample, Unavailable

SECTION = "probe"
PACKAGE = "pilotfish_agent.probe"
SUCCESS = Metric(
    "pilotfish_probe_success",
    "gauge",
    "1 when the server said that it is ready (readiness), or gave the expected answer (canary); page on 0.",
    ("probe",),
)
DURATION = Metric(
    "pilotfish_probe_duration_seconds", "gauge", "How long the last probe took, to the answer's end.", ("probe",)
)
METRICS = (SUCCESS, DURATION)
FAILED = Event("probe_failed", "warning", "A probe failed.")
PASSED = Event("probe_passed", "info", "A probe passes again.")
EVENTS = (FAILED, PASSED)


@dataclass(frozen=True, slots=True)
class Config:
    """Asks the model's server whether it is ready, and for a known answer (docs/probe.md)."""

    url: str | None = option(
        None, url, "Where readiness or the model's state is asked.", "http://127.0.0.1:8501/v1/models/fraud"
    )
    interval: float = option(15.0, duration_between("1s", "1h"), "Time between two probes.", "15s")
    timeout: float = option(5.0, duration_between("100ms", "1m"), "Time after which no answer counts as none.", "5s")
    request: Canary | None = option(  # noqa: RUF009 - frozen, as every value of a section
        None,
        canary,
        "A canary sent to the same host: method, path, body; it counts as traffic at the model.",
        """'POST /v1/models/fraud:predict {"instances": [[1, 2]]}'""",
    )
    expect: str | None = option(
        None,
        text(100_000),
        "What the canary's answer must hold: JSON (numbers within 1e-4), or a text that occurs in it.",
        """'{"predictions": [[0.1, 0.9]]}'""",
    )

    def __post_init__(self) -> None:
        """Refuses half a probe."""
        if self.url is None and (self.request is not None or self.expect is not None):
            raise ValueError("`url:` beside `request:` and `expect:`")
        if self.expect is not None and self.request is None:
            raise ValueError("`request:` beside `expect:`")


class Prober:
    """The probe. Runs on the agent's loop; `readings` may be called from another thread.

    Args:
        config: the section; without an URL there is nothing to do.
        target: value of the label `target`.
        clock: where time comes from.
        events: where changes are told.
    """

    def __init__(self, config: Config, target: str, *, clock: Clock, events: Events) -> None:
        self._config = config
        self._target = target
        self._clock = clock
        self._events = events
        self._way = _way(urlsplit(config.url).path) if config.url is not None else None
        self._seen: dict[tuple[str | None, str | None], None] = {}
        self._good: dict[str, bool] = {}
        self._latest: tuple[Reading, ...] = ()

    async def run(self) -> None:
        """Probes until cancelled."""
        if self._config.url is None:
            return
        async with http_client.session() as client:
            while True:
                began = self._clock.monotonic()
                await self.once(client)
                wait = self._config.interval * random.uniform(0.95, 1.05) - (self._clock.monotonic() - began)
                await asyncio.sleep(max(wait, 0.1))

    def readings(self) -> tuple[Reading, ...]:
        """What is known now."""
        return self._latest

    async def once(self, client: aiohttp.ClientSession) -> None:
        """One readiness question and one canary; never raises but for the task's end."""
        found = await self._readiness(client)
        if self._config.request is not None:
            found += await self._canary(client, self._config.request)
        self._latest = tuple(found)

    async def _readiness(self, client: aiohttp.ClientSession) -> list[Reading]:
        way, address = self._way, self._config.url
        assert way is not None
        assert address is not None
        path = urlsplit(address).path
        began = self._clock.monotonic()
        words, told = "", [Told(m, v, "unknown") for m, v in self._seen]
        try:
            answer = await self._ask(client, address, way.METHOD, way.BODY)
            told = list(way.told(path, answer.status, answer.body))
            words = f"status {answer.status}, " + (", ".join(f"{t.model}: {t.state}" for t in told) or "no model")
        except Failed as failed:
            words = f"{failed.reason}: {failed}"
        # A server with one ready version serves, whatever its older ones do; of several models each must.
        names = {t.model for t in told}
        good = bool(told) and names == {t.model for t in told if t.state == "ready"}
        return [*self._own("readiness", good, words, began), *self._states(told)]

    async def _canary(self, client: aiohttp.ClientSession, request: Canary) -> list[Reading]:
        parts = urlsplit(str(self._config.url))
        began = self._clock.monotonic()
        good, words = False, ""
        try:
            address = f"{parts.scheme}://{parts.netloc}{request.path}"
            answer = await self._ask(client, address, request.method, request.body)
            expected = self._config.expect
            good = answer.status < 400 and (expected is None or meets(expected, answer.body))
            words = f"status {answer.status}: {answer.body[:200].decode('utf-8', 'replace')!r}"
        except Failed as failed:
            words = f"{failed.reason}: {failed}"
        return self._own("canary", good, words, began)

    async def _ask(self, client: aiohttp.ClientSession, address: str, method: str, body: bytes | None) -> Answer:
        headers = {"Content-Type": "application/json"} if body is not None else None
        return await http_client.ask(
            client, address, method=method, body=body, headers=headers, seconds=self._config.timeout
        )

    def _states(self, told: Sequence[Told]) -> list[Reading]:
        """One series a state; a model that has gone from the list is unknown, once it was seen."""
        now = {(t.model, t.version): t.state for t in told}
        for model in now:
            if len(self._seen) < MAX_MODELS:
                self._seen[model] = None
        if not self._seen:
            return [Unavailable(SECTION, MODEL_STATE.name, "failed")]
        return [
            Sample(MODEL_STATE, (self._target, *model, state), float(now.get(model, "unknown") == state))
            for model in self._seen
            for state in STATES
        ]

    def _own(self, probe: str, good: bool, words: str, began: float) -> list[Reading]:
        if self._good.get(probe, True) != good:
            self._events.emit(PASSED if good else FAILED, probe=probe, url=self._config.url, answer=words)
        self._good[probe] = good
        seconds = self._clock.monotonic() - began
        return [Sample(SUCCESS, (probe,), float(good)), Sample(DURATION, (probe,), seconds)]


def _way(path: str) -> Way:
    """The part that asks there."""
    parts: list[ModuleType | Any] = [part for _, part in registry.parts(PACKAGE)]
    ways = sorted(cast(list[Way], parts), key=lambda way: way.ORDER)
    return next(way for way in ways if way.matches(path))
