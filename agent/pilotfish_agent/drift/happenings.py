"""What happened to the model beside its data: a version, a start, an artifact, a setting. Bounded. Pure.

An explanation looks for what happened within two ticks of the beginning of a change.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from pilotfish_agent.drift.explain import moment, shown

Kind = Literal["version", "start", "artifact", "config"]
KINDS: Final = get_args(Kind)
MOST: Final = 64
VERSIONS: Final = 20
AWAY_SECONDS: Final = 600.0
"""A version that comes back after so long is a change again; sooner it shares the traffic, as a canary does."""


SAME_SECONDS: Final = 2.0
"""Of a start, which is reckoned from the boot, whose time clocks correct."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One event.

    Attributes:
        at: epoch seconds.
        kind: version, start, artifact or config.
        words: what it was, for people: "model_version 7 -> 8".
    """

    at: float
    kind: Kind
    words: str

    def __str__(self) -> str:
        """With its time."""
        return f"{self.words} ({moment(self.at)})"


class Happenings:
    """The newest of one model, in order of time.

    Attributes:
        newest: the version that came last, while it serves: versions that share the traffic do not take turns.
    """

    def __init__(self) -> None:
        self.newest: str | None = None
        self._known: deque[Happening] = deque(maxlen=MOST)
        self._versions: dict[str, float] = {}
        self._version: str | None = None

    def add(self, at: float, kind: Kind, words: str) -> Happening:
        """Remembers one; again, after a restart, it is the same.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} of a happening, expected one of {', '.join(KINDS)}")
        made = Happening(at, kind, words)
        if not any(h.words == words and abs(h.at - at) <= SAME_SECONDS for h in self._known):
            self._known.append(made)
        return made

    def version(self, version: str, at: float) -> Happening | None:
        """Rows of a version arrived: news when it is not the first one and was not here in the last ten minutes."""
        seen, before = self._versions.pop(version, None), self._version
        self._versions[version] = at
        if len(self._versions) > VERSIONS:
            del self._versions[next(iter(self._versions))]
        self._version = version
        came = seen is None or at - seen >= AWAY_SECONDS
        if came or self.newest is None or at - self._versions.get(self.newest, -math.inf) >= AWAY_SECONDS:
            self.newest = version
        if before is None or before == version or not came:
            return None
        return self.add(at, "version", f"model_version {shown(before)} -> {shown(version)}")

    def between(self, begin: float, end: float) -> list[Happening]:
        """Those of a span of time, both ends included, in order."""
        return sorted((h for h in self._known if begin <= h.at <= end), key=lambda h: h.at)

    def dump(self) -> dict[str, Any]:
        """For a checkpoint."""
        known = [[h.at, h.kind, h.words] for h in self._known]
        return {"known": known, "versions": self._versions, "version": self._version, "newest": self.newest}

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Back from a checkpoint, before what came since.

        Raises:
            ValueError, KeyError, TypeError: it is of another form.
        """
        newer = list(self._known)
        self._known.clear()
        for at, kind, words in dumped["known"]:
            self.add(float(at), kind, str(words))
        self._known.extend(newer)
        self._versions = {str(v): float(at) for v, at in dumped["versions"].items()} | self._versions
        self._version = self._version or dumped["version"]
        self.newest = self.newest or dumped.get("newest", self._version)
