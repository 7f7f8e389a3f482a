"""Whose exchange it is: models and versions as servers' successes name them, never as clients merely ask.

A client may ask for any name; only what its server answered with success is a model. Both are bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pilotfish_agent.decode._part import Route

MAX_MODELS: Final = 16
"""Models with series and drift of their own; the rest share one name. Each costs tables and evidence."""
MAX_VERSIONS: Final = 20
"""Versions with series of their own; a server that counts versions up for ever must not fill /metrics."""
OTHER: Final = "__other__"
RECENT_SECONDS: Final = 60.0
"""A version that no answer has named for so long is not served any more."""


@dataclass(frozen=True, slots=True)
class Who:
    """A model as labels name it.

    Attributes:
        model: its name; version: None when unknown.
        named: the traffic names it; else it is the agent's own name.
    """

    model: str
    version: str | None
    named: bool = True


class Names:
    """The models that are known. One thread uses it.

    Args:
        default: name of the model where the traffic names none.
        version: of the configuration, where the traffic names none; may be set.
        default_of: the same as ``default`` for captured traffic on a port, where several targets are watched.
    """

    def __init__(self, default: str, version: str | None, default_of: Callable[[int], str] | None = None) -> None:
        self._default = default
        self._default_of = default_of or (lambda _: default)
        self.version = version
        self._models: dict[str, dict[str, float]] = {}  # versions, and when they were named last
        self._places: dict[tuple[int, str], set[str]] = {}

    def sender(self, model: str, version: str | None, now: float) -> Who:
        """Of an SDK's rows: it is in the model's own process and knows; ``now``: monotonic seconds."""
        name = self._learn(model or self._default)
        return Who(name, self._learn_version(name, version, now) if version else self.version, named=bool(model))

    def answered(self, port: int, protocol: str, model: str, version: str | None, now: float) -> Who:
        """As the server's own success says."""
        name = self._learn(model)
        self._places.setdefault((port, protocol), set()).add(name)
        return Who(name, self._learn_version(name, version, now) if version else self._newest(name, now))

    def unnamed(self, port: int, protocol: str) -> Who:
        """A success whose server names no model: the agent's own name is meant, now and for what fails there."""
        self._places.setdefault((port, protocol), set())
        return Who(self._default_of(port), self.version, named=False)

    def unsure(self, port: int, route: Route | None, *, good: bool) -> bool:
        """Whether a success that is still to come could tell whose this is."""
        if route is None or (good and route.model is not None):
            return False
        here = self._places.get((port, route.protocol))
        return here is None or (route.model is not None and route.model not in here)

    def asked(self, port: int, route: Route | None, *, good: bool, now: float) -> Who:
        """Of an exchange of which only the request line is known; ``good``: it was answered with success."""
        if route is None:
            return Who(self._default_of(port), self.version, named=False)
        here = self._places.get((port, route.protocol), set())
        if route.model is not None:
            if good:
                return self.answered(port, route.protocol, route.model, route.version, now)
            if route.model in here:
                known = route.version in self._models[route.model]
                return Who(route.model, route.version if known else self._newest(route.model, now))
        if len(here) == 1:
            (name,) = here
            return Who(name, self._newest(name, now))
        return Who(self._default_of(port), self.version, named=False)

    def only(self, port: int) -> str:
        """The only model known to answer on a port, else the agent's own name."""
        here = {name for (at, _), names in self._places.items() if at == port for name in names}
        return here.pop() if len(here) == 1 else self._default_of(port)

    def _learn(self, name: str) -> str:
        if name not in self._models and len(self._models) >= MAX_MODELS:
            name = OTHER
        self._models.setdefault(name, {})
        return name

    def _learn_version(self, name: str, version: str, now: float) -> str:
        versions = self._models[name]
        if version not in versions and len(versions) >= MAX_VERSIONS:
            return OTHER
        versions[version] = now
        return version

    def _newest(self, name: str, now: float) -> str | None:
        """The version that answers now; None where several do, for it may be any of them."""
        versions = self._models[name]
        recent = [v for v, at in versions.items() if now - at <= RECENT_SECONDS] or list(versions)
        if len(recent) == 1:
            return recent[0]
        return None if recent else self.version
