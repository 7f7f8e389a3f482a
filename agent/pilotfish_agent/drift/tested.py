"""Which streams of a reference are tested, and how their bin counts lie side by side in one vector.

All streams of a model share its ticks, so one tick is one int64 vector of ``width`` counts: stream f has
``counts[offsets[f]:offsets[f + 1]]``. Counts add, so ticks, senders and workers merge exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift import composites
from pilotfish_agent.drift.layout import Floats, Ints
from pilotfish_agent.drift.reference import Binner, FeatureReference, Reference
from pilotfish_agent.drift.strata import Strata, narrowed, of_reference, owed
from pilotfish_agent.drift.streams import LATENCY, PREDICTION, SCORE
from pilotfish_agent.drift.whole import Unit, units

_T = TypeVar("_T", bound=np.generic)

MOST_BINNERS: Final = 10_000  # kept: some 10 MB
SHARED: Final = -1  # those of streams whose bins are alike in all strata
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
        strata: of the reference, which ticks lie in.
        units: what is told as one stream each, in the same order.
        tabled: whether a stream has a table for each of them.
    """

    reference: Reference
    streams: tuple[FeatureReference, ...]
    skipped: tuple[str, ...]
    offsets: Ints
    missing: Ints
    index: Mapping[str, int]
    strata: Strata
    tabled: bool
    flat: Ints = field(repr=False)
    units: tuple[Unit, ...] = field(repr=False)
    _binners: dict[int, tuple[Binner, ...]] = field(repr=False, default_factory=dict)
    _moved: dict[int, Floats] = field(repr=False, default_factory=dict)

    @property
    def width(self) -> int:
        """Bins of all streams together."""
        return int(self.offsets[-1])

    def binners(self, stratum: int) -> tuple[Binner, ...]:
        """What bins the rows of one stratum, one a stream."""
        if stratum not in self._binners:
            if SHARED not in self._binners:
                self._binners[SHARED] = tuple(s.binner() for s in self.streams)
            if len(self._binners) > 1 and len(self._binners) * len(self.streams) > MOST_BINNERS:
                self._binners.pop(next(reversed(self._binners)))  # the newest: what is read in order comes back last
            places = [narrowed(stratum, self.strata.count, s.strata) for s in self.streams]
            self._binners[stratum] = tuple(
                one if s.stratum_edges is None else s.binner(at)
                for one, s, at in zip(self._binners[SHARED], self.streams, places, strict=True)
            )
        return self._binners[stratum]

    def levelled(self, counts: Ints, stratum: int) -> Floats | None:
        """Counts (width,) of a tick less what their stratum owes to the season, so that all strata are alike.

        Sums stay as they are. None where no stream has a table for each stratum: then there is nothing to level.
        """
        if not self.tabled:
            return None
        if stratum not in self._moved:
            places = [narrowed(stratum, self.strata.count, s.strata) for s in self.streams]
            self._moved[stratum] = np.concatenate([_moved(s, at) for s, at in zip(self.streams, places, strict=True)])
        rows = np.add.reduceat(counts, self.offsets[:-1])
        levelled: Floats = counts - np.repeat(rows, np.diff(self.offsets)) * self._moved[stratum]
        return levelled

    def part(self, vector: NDArray[_T], f: int) -> NDArray[_T]:
        """The bins of stream ``f`` in a vector of ``width``."""
        return vector[self.offsets[f] : self.offsets[f + 1]]

    def parts(self, vector: NDArray[Any]) -> list[NDArray[Any]]:
        """The bins of each stream, as views."""
        ends = self.offsets.tolist()
        return [vector[a:b] for a, b in itertools.pairwise(ends)]


def _moved(stream: FeatureReference, stratum: int) -> Floats:
    """By how much the masses (K,) of a stratum differ from those of all."""
    if stream.stratum_counts is None:
        return np.zeros(len(stream.counts))
    return owed(stream.stratum_counts[stratum], stream.counts)


def missing_bin(stream: FeatureReference) -> int:
    """Where a stream counts its missing values."""
    return stream.special["missing"] if stream.kind == "numeric" else len(stream.counts) - 1


def tested(reference: Reference, limit: int, ignore: Container[str] = ()) -> Tested:  # noqa: PT028 - no test
    """The streams of ``reference`` that are tested: all but ``ignore``, and of features at most ``limit``."""
    kept: list[FeatureReference] = []
    skipped: list[str] = []
    room = limit
    sources = composites.sources(reference.encoders)
    for stream in reference.features:
        if stream.name in ignore or sources.get(stream.name, stream.name) in ignore:
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
        units=units(kept),
        strata=of_reference(reference.strata),
        tabled=any(s.stratum_counts is not None for s in kept),
        flat=np.concatenate([s.counts for s in kept]) if kept else np.zeros(0, np.int64),
    )
