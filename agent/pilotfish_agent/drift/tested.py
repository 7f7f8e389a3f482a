"""Which streams of a reference are tested, and how their bin counts lie side by side in one vector.

All streams of a model share its ticks, so one tick is one int64 vector of ``width`` counts: stream f has
``counts[offsets[f]:offsets[f + 1]]``. Counts add, so ticks, senders and workers merge exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.reference import Binner, FeatureReference, Reference
from pilotfish_agent.drift.streams import PREDICTION, SCORE

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_T = TypeVar("_T", bound=np.generic)

LATENCY: Final = "@latency"
PSEUDO: Final = (PREDICTION, SCORE, LATENCY)


@dataclass(frozen=True, slots=True)
class Tested:
    """The tested streams of one reference.

    Attributes:
        reference: what they are compared with.
        streams: in the reference's order, pseudo-features included; F of them.
        skipped: features that the limit left out.
        offsets: (F + 1,) where each stream's bins start.
        missing: (F,) position of each stream's missing bin in the whole vector.
        index: position of a stream by name.
        binners: one a stream.
    """

    reference: Reference
    streams: tuple[FeatureReference, ...]
    skipped: tuple[str, ...]
    offsets: Ints
    missing: Ints
    index: Mapping[str, int]
    binners: tuple[Binner, ...]
    flat: Ints = field(repr=False)

    @property
    def width(self) -> int:
        """Bins of all streams together."""
        return int(self.offsets[-1])

    def part(self, vector: NDArray[_T], f: int) -> NDArray[_T]:
        """The bins of stream ``f`` in a vector of ``width``."""
        return vector[self.offsets[f] : self.offsets[f + 1]]

    def parts(self, vector: Ints) -> list[Ints]:
        """The bins of each stream, as views."""
        ends = self.offsets.tolist()
        return [vector[a:b] for a, b in itertools.pairwise(ends)]


def missing_bin(stream: FeatureReference) -> int:
    """Where a stream counts its missing values."""
    return stream.special["missing"] if stream.kind == "numeric" else len(stream.counts) - 1


def tested(reference: Reference, limit: int, ignore: Container[str] = ()) -> Tested:  # noqa: PT028 - no test
    """The streams of ``reference`` that are tested: all but ``ignore``, and of features at most ``limit``."""
    kept: list[FeatureReference] = []
    skipped: list[str] = []
    room = limit
    for stream in reference.features:
        if stream.name in ignore:
            continue
        if stream.name.startswith("@"):
            if stream.name in PSEUDO:
                kept.append(stream)
        elif room > 0:
            kept.append(stream)
            room -= 1
        else:
            skipped.append(stream.name)
    sizes = [len(s.counts) for s in kept]
    offsets = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64))).astype(np.int64)
    missing = np.array([o + missing_bin(s) for o, s in zip(offsets[:-1].tolist(), kept, strict=True)], np.int64)
    return Tested(
        reference=reference,
        streams=tuple(kept),
        skipped=tuple(skipped),
        offsets=offsets,
        missing=missing,
        index={s.name: f for f, s in enumerate(kept)},
        binners=tuple(s.binner() for s in kept),
        flat=np.concatenate([s.counts for s in kept]) if kept else np.zeros(0, np.int64),
    )
