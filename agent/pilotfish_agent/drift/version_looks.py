"""One look at two versions of a model: each stream's two p-values and effect. Needs scipy, so `pf-worker` runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from pilotfish_agent.drift.layout import Floats, nominal

FEWEST_ROWS: Final = 200
"""Of a stream on either side: fewer say nothing."""
FIRST_LOOK: Final = 500
LOOKS: Final = 12
LEVEL: Final = 0.05
"""Probability that an equal new version is called changed in any stream at any look."""
Found = Literal["not_enough_data", "same", "changed", "different"]
ORDER: Final[tuple[Found, ...]] = ("not_enough_data", "same", "changed", "different")


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared of one stream.

    Attributes:
        name, kind: of the stream.
        baseline, candidate: counts (K,) of the version before and of the new one.
        phi: rows that count as one.
        min_effect: chi distance within which a change is no difference.
    """

    name: str
    kind: str
    baseline: Floats
    candidate: Floats
    phi: float
    min_effect: float

    @property
    def enough(self) -> bool:
        """Whether both sides have rows enough."""
        return bool(min(self.baseline.sum(), self.candidate.sum()) >= FEWEST_ROWS)


class Answer(NamedTuple):
    """Of one stream: p-values of any change and of one beyond the minimum effect, what won, effect with interval."""

    change: float
    beyond: float
    change_winner: str
    beyond_winner: str
    effect: float
    lower: float
    upper: float


def due_at(look: int) -> int:
    """Rows of the new version at which look number ``look`` (from 0) is due."""
    return FIRST_LOOK << look


def alpha(streams: int) -> float:
    """Level of one test: the union bound over all looks and streams."""
    return LEVEL / (LOOKS * max(streams, 1))


def verdict(answer: Answer, level: float) -> Found:
    """What one stream's answer comes to at a test's ``level``."""
    if answer.change > level:
        return "same"
    return "different" if answer.beyond <= level else "changed"


def look(sides: Sequence[Side]) -> dict[str, Answer]:
    """The answers of the streams that have rows enough, by name."""
    from pilotfish_agent.drift import two_sample
    from pilotfish_agent.drift.effect import exact_effect

    found = {}
    for one in sides:
        if not one.enough:
            continue
        r, c = one.baseline / one.phi, one.candidate / one.phi
        change, beyond = two_sample.both(one.kind, r, c, one.min_effect)
        size = exact_effect(one.baseline, one.candidate, nominal(r), one.phi)
        assert size is not None
        found[one.name] = Answer(change.pvalue, beyond.pvalue, change.winner, beyond.winner, *size)
    return found


def plain(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """As JSON."""
    return [
        {
            "name": s.name,
            "kind": s.kind,
            "baseline": s.baseline.tolist(),
            "candidate": s.candidate.tolist(),
            "phi": s.phi,
            "min_effect": s.min_effect,
        }
        for s in sides
    ]


def of_plain(sides: Sequence[Mapping[str, Any]]) -> list[Side]:
    """Back from JSON."""
    return [
        Side(**{**s, "baseline": np.array(s["baseline"], float), "candidate": np.array(s["candidate"], float)})
        for s in sides
    ]
