"""Runs the decoders: finds each request line's one, and answers for its faults."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pilotfish_agent.decode._options import Config
from pilotfish_agent.decode._part import PROBLEMS, Decoder, Route, Unreadable
from pilotfish_core import registry
from pilotfish_core.events import Event, Events
from pilotfish_core.nouns import Exchange, Observation

PACKAGE = "pilotfish_agent.decode"
FAILED = Event("decoder_failed", "warning", "A decoder failed on an exchange, which keeps only its timings.")
EVENTS = (FAILED,)
MAX_ROUTES = 1_024
"""Request lines remembered. A model server has a handful; paths with ids in them come and go."""
MAX_TARGET = 2_048  # as exchange.MAX_LINE: a longer target is looked up each time


@dataclass(slots=True)
class _Found:
    """The decoders whose paths a request line fits, the likelier first, and the one it is taken for."""

    candidates: list[tuple[Decoder, Route]]
    chosen: Route | None


class Decoders:
    """The decoders in use. One thread uses them.

    Args:
        config: which protocols, and the user's own; None: all, and none.
        events: where a decoder's faults are told.

    Attributes:
        problems: exchanges that could not be read whole, by reason: a word of `PROBLEMS`.
        decoded: exchanges given to a decoder.

    Raises:
        ConfigError: there is no such protocol.
    """

    def __init__(self, config: Config | None = None, *, events: Events | None = None) -> None:
        config = config or Config()
        self._events = events
        self._decoders = [_made(part, config) for _, part in registry.parts(PACKAGE, config.protocols)]
        if config.protocols is None:  # in the user's order, else the special before the general
            self._decoders.sort(key=lambda decoder: getattr(decoder, "RANK", 0))
        self._routes: OrderedDict[tuple[str, str], _Found] = OrderedDict()
        self.problems: dict[str, int] = {}
        self.decoded = 0

    def route(self, method: str, target: str) -> Route | None:
        """What a request line asks for; None: no decoder knows it."""
        return self._find(method, target).chosen

    def observe(self, exchange: Exchange) -> tuple[Route | None, Observation]:
        """Reads an exchange; never raises, and is bounded in time and memory whatever the bytes are."""
        found = self._find(exchange.method, exchange.target)
        route = found.chosen
        if route is None:
            return None, Observation("other")
        if exchange.status is None or not 200 <= exchange.status < 300:
            self._recognised(found, exchange, success=False)
            return found.chosen, Observation(route.operation)
        self.decoded += 1
        try:
            decoder, route = self._recognised(found, exchange, success=True)
            observation = decoder.decode(exchange, route)
        except Unreadable as error:
            observation = Observation(route.operation, problem=error.reason)
        except Exception as error:  # noqa: BLE001 - foreign bytes and third parties' decoders; the exchange keeps its timings
            if self._events is not None:
                self._events.emit(FAILED, protocol=route.protocol, error=type(error).__name__)
            observation = Observation(route.operation, problem="failed")
        if observation.problem is not None:
            reason = observation.problem if observation.problem in PROBLEMS else "failed"
            self.problems[reason] = self.problems.get(reason, 0) + 1
        return route, observation

    def _find(self, method: str, target: str) -> _Found:
        path = target.partition("?")[0]
        key = (method, path)
        found = self._routes.get(key)
        if found is not None:
            self._routes.move_to_end(key)
            return found
        candidates = self._own(method, path) or self._candidates(method, path)
        # Until an answer was seen: the one that claims every answer.
        found = _Found(candidates, candidates[-1][1] if candidates else None)
        if len(path) <= MAX_TARGET:
            self._routes[key] = found
            if len(self._routes) > MAX_ROUTES:
                self._routes.popitem(last=False)
        return found

    def _own(self, method: str, path: str) -> list[tuple[Decoder, Route]]:
        """The user's own protocol, before all that we know."""
        for decoder in self._decoders:
            own = getattr(decoder, "own", None)
            if own is not None and (route := own(method, path)) is not None:
                return [(decoder, route)]
        return []

    def _candidates(self, method: str, path: str) -> list[tuple[Decoder, Route]]:
        found: list[tuple[Decoder, Route]] = []
        for decoder in self._decoders:
            try:
                route = decoder.route(method, path)
            except Exception:  # noqa: BLE001, S112 - as in observe; a decoder that cannot read a line does not know it
                continue
            if route is not None:
                found.append((decoder, route))
                if _recogniser(decoder) is None:
                    break
        return found

    @staticmethod
    def _recognised(found: _Found, exchange: Exchange, *, success: bool) -> tuple[Decoder, Route]:
        """The decoder whose answer it is. A proxy's error excludes none, but one may confirm it."""
        for decoder, route in found.candidates:
            recogniser = _recogniser(decoder)
            if recogniser(exchange) if recogniser is not None else success:
                found.chosen = route
                return decoder, route
        return found.candidates[-1]


def _made(part: Any, config: Config) -> Decoder:
    decoder: Decoder = part.make(config) if hasattr(part, "make") else part
    return decoder


def _recogniser(decoder: Decoder) -> Callable[[Exchange], bool] | None:
    recogniser: Callable[[Exchange], bool] | None = getattr(decoder, "recognises", None)
    return recogniser
