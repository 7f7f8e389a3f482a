"""The states of a model as its server tells them, whatever the server calls them; one file a way of asking."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pilotfish_core.metrics import Metric

State = Literal["loading", "ready", "unloading", "unavailable", "unknown"]
STATES: tuple[State, ...] = ("loading", "ready", "unloading", "unavailable", "unknown")
MODEL_STATE = Metric(
    "pilotfish_server_model_state",
    "gauge",
    "The model's state by its server, exactly one at 1; unknown: the server did not say. Page on not ready for long.",
    ("target", "model", "model_version", "state"),
)
METRICS = (MODEL_STATE,)
MAX_MODELS = 64


@dataclass(frozen=True, slots=True)
class Told:
    """One model's state.

    Attributes:
        model, version: None where the server does not name them.
        state: of `STATES`.
    """

    model: str | None
    version: str | None
    state: State


class Way(Protocol):
    """A file of this folder: one way of asking.

    ``matches(path)``: whether an URL's path is asked this way. ``METHOD`` and ``BODY``: how.
    ``told(path, status, body)``: what an answer says; an answer that makes no sense is `unavailable`.
    """

    METHOD: str
    BODY: bytes | None
    ORDER: int

    def matches(self, path: str) -> bool:
        """Whether this is the way to ask there."""

    def told(self, path: str, status: int, body: bytes) -> Sequence[Told]:
        """What an answer says."""


def parsed(body: bytes) -> Any:
    """JSON of an answer; None when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def word(value: Any) -> str | None:
    """A name or version from a foreign answer, cut; None when it is none."""
    return str(value)[:200] if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def named(words: Mapping[str, State], value: Any) -> State:
    """The state of a server's word."""
    return words.get(value, "unknown") if isinstance(value, str) else "unknown"
