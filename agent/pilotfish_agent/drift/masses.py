"""What words about a change need of a stream's reference: its masses and scores, with or without the tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pilotfish_agent.drift.dictionary import scores_of
from pilotfish_agent.drift.layout import Floats, Ints, coarse_map, nominal
from pilotfish_agent.drift.reference import FeatureReference


class Masses(Protocol):
    """Of K bins; `StreamTables` are such, and `of` makes them where there are no tables."""

    @property
    def pi(self) -> Floats:
        """Reference masses (K,)."""

    @property
    def special(self) -> tuple[int, ...]:
        """Bins of missing, +inf and -inf."""

    @property
    def scores(self) -> Floats:
        """Orthonormal location, scale, skew, kurtosis (4, K), 0 at special bins and for levels."""

    @property
    def coarse_map(self) -> Ints:
        """Group of each bin (K,)."""


@dataclass(frozen=True, slots=True)
class Plain:
    """`Masses` of a reference alone."""

    pi: Floats
    special: tuple[int, ...]
    scores: Floats
    coarse_map: Ints


def of(stream: FeatureReference, phi: float = 1.0) -> Plain:
    """Of a stream's counts, of which ``phi`` count as one."""
    pi = nominal(stream.counts / phi)
    special = tuple(sorted(stream.special.values()))
    return Plain(pi, special, scores_of(stream.kind, pi, special), coarse_map(len(pi), special))
