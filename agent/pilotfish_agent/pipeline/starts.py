"""When the watched processes started, for the explanations of what began then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pilotfish_agent.hardware.tree import STARTED
from pilotfish_core.metrics import Sample

SAME_SECONDS = 1.0
"""Starts are told in whole seconds of the boot: within one they are the same."""


class Starts:
    """The newest start of each target, as it was sampled."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def see(self, samples: Iterable[Sample]) -> list[tuple[str, float]]:
        """(target, epoch seconds) of the starts that are new in ``samples``."""
        found = []
        for sample in samples:
            if sample.metric is not STARTED or not isinstance(sample.value, float):
                continue
            target, at = str(sample.labels[0]), sample.value
            if abs(self._known.get(target, 0.0) - at) > SAME_SECONDS:
                self._known[target] = at
                found.append((target, at))
        return found

    def known(self) -> Iterator[tuple[str, float]]:
        """Those seen last, for a model that is new."""
        yield from self._known.items()
