"""The section `scrape` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pilotfish_agent.http_client import url
from pilotfish_core import registry
from pilotfish_core.config import ListSection, duration_between, option, text

PACKAGE = "pilotfish_agent.scrape"
AUTO = "auto"
SECTION = "scrape"


def server(value: Any) -> str:
    """`auto` or a part of this folder."""
    known = registry.names(PACKAGE)
    if value != AUTO and value not in known:
        raise ValueError("one of " + ", ".join((AUTO, *known)))
    return str(value)


@dataclass(frozen=True, slots=True)
class Target:
    """One page of metrics of a model server."""

    url: str = option("", url, "Where the server's metrics are.", "http://127.0.0.1:8002/metrics")
    server: str = option(AUTO, server, "Which server it is; auto tells it by the names on its page.", "triton")
    name: str | None = option(None, text(100), "Value of the label `server`; the server's kind when not given.", "a")
    interval: float = option(5.0, duration_between("1s", "1h"), "Time between two scrapes.", "5s")

    def __post_init__(self) -> None:
        """Refuses an entry without its one needed key."""
        if not self.url:
            raise ValueError("`url:` such as http://127.0.0.1:8002/metrics")


Config = ListSection(
    Target,
    "Pages of metrics that the model's server gives, told under one set of names (docs/scrape.md).",
    ("- {url: http://127.0.0.1:8002/metrics, server: triton}",),
    16,
)
