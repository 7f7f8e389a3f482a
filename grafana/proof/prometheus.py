"""Prometheus' HTTP API, asked directly: the other side of every comparison."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

TIMEOUT_S: Final = 30.0


class QueryError(Exception):
    """Prometheus refused a query."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its labels, and its points as (seconds, value)."""

    labels: dict[str, str]
    points: tuple[tuple[float, float], ...]


class Prometheus:
    """One server.

    Args:
        address: ``http://host:port``.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def ready(self) -> bool:
        """Whether it answers queries."""
        return self._get("/-/ready", {})[0] == http.client.OK

    def at(self, query: str, when: float) -> list[Series]:
        """The query's value at one instant."""
        return self._ask("/api/v1/query", {"query": query, "time": when})

    def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """The query's values over a range."""
        return self._ask("/api/v1/query_range", {"query": query, "start": start, "end": end, "step": step})

    def has(self, query: str) -> Callable[[], bool]:
        """Whether the query gives anything now."""
        return lambda: bool(self._ask("/api/v1/query", {"query": query}))

    def _ask(self, path: str, parameters: dict[str, Any]) -> list[Series]:
        status, body = self._get(path, parameters)
        answer: dict[str, Any] = (
            json.loads(body) if body.startswith(b"{") else {"status": "error", "error": body.decode()[:200]}
        )
        if status != http.client.OK or answer["status"] != "success":
            raise QueryError(f"{parameters['query']}: {answer.get('error')}")
        data: dict[str, Any] = answer["data"]
        found: list[Any] = (
            [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else data["result"]
        )
        return [
            Series(one["metric"], tuple((float(t), float(v)) for t, v in one.get("values") or [one["value"]]))
            for one in found
        ]

    def _get(self, path: str, parameters: dict[str, Any]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=TIMEOUT_S)
        try:
            connection.request("GET", f"{path}?{urllib.parse.urlencode(parameters)}")
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
