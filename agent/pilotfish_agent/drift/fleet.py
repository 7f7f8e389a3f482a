"""Bin counters for drift over all replicas (docs/fleet.md): Prometheus adds them up and computes KS, PSI and JS.

A stream's bins are folded to at most ten of its reference's plus the special ones: the labels are the same on all
replicas that have the same reference, and ten times fewer than what the engine counts would be worth in series.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from pilotfish_agent.drift.gauges import OTHER, Labels
from pilotfish_agent.drift.layout import Ints
from pilotfish_agent.drift.reference import FeatureReference
from pilotfish_agent.drift.tested import Tested
from pilotfish_core.metrics import Metric, Sample

TOPK: Final = 50
"""Streams shown under `topk`: 50 x 13 bins x 2 families are 1,300 of the 10,000 series of `limits.series`."""
MOST_BINS: Final = 10
"""Regular bins a stream; deciles are what PSI's usual thresholds (.1, .25) were made for."""
MISSING: Final = "missing"
_LABELS: Final = ("feature", "bin", "reference_id", "model", "model_version")
_ORDERED: Final = re.compile(r"\d: [(<>]")
"""How the label of a numeric bin begins; the rule for KS adds up bins by it."""
_SPECIAL: Final = {"missing": MISSING, "pinf": "+inf", "ninf": "-inf"}

VALUES = Metric(
    "pilotfish_feature_values_total",
    "counter",
    "Values by bin of the reference, for drift over all replicas (drift.bins); see the recording rules.",
    _LABELS,
)
REFERENCE_RATIO = Metric(
    "pilotfish_feature_reference_ratio",
    "gauge",
    "Share of the bin in the reference, the same on all replicas; compare with feature_values_total.",
    _LABELS,
)
METRICS: Final = (VALUES, REFERENCE_RATIO)


@dataclass(frozen=True, slots=True)
class Folded:
    """How the K bins of a stream become few.

    Attributes:
        names: labels of the few, in order.
        place: (K,) which of them each bin goes to.
    """

    names: tuple[str, ...]
    place: Ints


def folded(stream: FeatureReference) -> Folded:
    """The bins of a stream as they are exported."""
    return _of_levels(stream) if stream.levels is not None else _of_numbers(stream)


def _of_levels(stream: FeatureReference) -> Folded:
    # The most frequent come first in the reference. A level that is called `other`, or looks like a numeric bin,
    # counts as other: two series must not have one name, and KS of categories would be nonsense.
    levels = stream.levels or ()
    names = [name for name in levels if name not in (OTHER, MISSING) and not _ORDERED.match(name)][: MOST_BINS - 1]
    index = {name: i for i, name in enumerate([*names, OTHER, MISSING])}
    place = [index.get(name, index[OTHER]) if name != MISSING else index[OTHER] for name in levels]
    return Folded(tuple(index), np.array([*place, index[OTHER], index[MISSING]], np.int64))


def _of_numbers(stream: FeatureReference) -> Folded:
    regular = len(stream.counts) - len(stream.special)
    counts = stream.counts[:regular].astype(np.float64)
    whole = max(float(counts.sum()), 1.0)
    middles = (np.cumsum(counts) - counts / 2) / whole
    _, group = np.unique(np.minimum((middles * MOST_BINS).astype(np.int64), MOST_BINS - 1), return_inverse=True)
    last = np.flatnonzero(np.diff(group, append=group[-1] + 1))  # of each group
    names = [f"{i}: {words}" for i, words in enumerate(_ranges(stream, last))]
    order = sorted(stream.special, key=lambda word: stream.special[word])
    place = [*group.tolist(), *range(len(names), len(names) + len(order))]
    return Folded((*names, *(_SPECIAL[word] for word in order)), np.array(place, np.int64))


def _ranges(stream: FeatureReference, last: Ints) -> Iterator[str]:
    """What each group of regular bins holds; ``last`` are the groups' last bins."""
    if stream.edges is None:
        raise ValueError(f"{stream.name}: a numeric stream without edges")
    if stream.stratum_edges is not None:  # the edges of each stratum are others: the ranks are what is common
        counts = np.cumsum(stream.counts[: last[-1] + 1])
        ends = [f"rank {share:.0%}" for share in (counts[last[:-1]] / max(int(counts[-1]), 1)).tolist()]
    else:
        ends = [f"{edge:.6g}" for edge in stream.edges[last[:-1]].tolist()]
    for i in range(len(last)):
        if not ends:
            yield "(all)"
        elif i == 0:
            yield f"<= {ends[0]}"
        elif i == len(ends):
            yield f"> {ends[-1]}"
        else:
            yield f"({ends[i - 1]}, {ends[i]}]"


def _poolable(streams: Tested) -> Iterator[int]:
    """Streams whose counts mean the same at all hours: with a table for each, the hour would look like drift."""
    for f, stream in enumerate(streams.streams):
        if stream.stratum_counts is None:
            yield f


class Bins:
    """The bin counters of one reference.

    Args:
        streams: its tested streams.
        mode: ``drift.bins``.

    Attributes:
        shown: positions of the streams that have counters now.
    """

    def __init__(self, streams: Tested, mode: str) -> None:
        self.streams = streams
        self._limit = {"off": 0, "topk": TOPK}.get(mode, len(streams.streams))
        self._drifted: dict[int, None] = {}
        # Predictions and scores first: a shift that matters shows there.
        self._order = sorted(_poolable(streams), key=lambda f: not streams.streams[f].name.startswith("@"))
        self._folded = {f: folded(streams.streams[f]) for f in self._order} if self._limit else {}
        self.shown: tuple[int, ...] = ()
        self._names: list[tuple[str, str]] = []
        self._place: Ints = np.zeros(0, np.int64)
        self._ratios: list[float] = []
        self._choose()

    def drifting(self, streams: Container[int]) -> None:
        """Streams (positions) that drift get counters: under `topk` in place of the last ones that never did.

        What has counters keeps them until then: a series that comes and goes is worth nothing over an hour.
        """
        fresh = [f for f in self._order if f not in self._drifted and f in streams]
        if fresh:
            self._drifted.update(dict.fromkeys(fresh))
            self._choose()

    def _choose(self) -> None:
        first = [*self._drifted, *(f for f in self._order if f not in self._drifted)]
        self.shown = tuple(sorted(first[: self._limit]))
        self._names, places, self._ratios = [], [], []
        for f in self.shown:
            one, stream = self._folded[f], self.streams.streams[f]
            places.append(one.place + len(self._names))
            self._names += [(stream.name, name) for name in one.names]
            counts = np.bincount(one.place, stream.counts, len(one.names))
            self._ratios += (counts / counts.sum()).tolist()
        self._place = np.concatenate(places) if places else np.zeros(0, np.int64)

    def samples(self, make: Labels, totals: Ints) -> Iterator[Sample]:
        """All series.

        Args:
            make: the model's labels.
            totals: counts so far (width,), of all streams.
        """
        if not self.shown:
            return
        wanted = np.concatenate([self.streams.part(totals, f) for f in self.shown])
        counts = np.bincount(self._place, wanted, len(self._names)).tolist()
        reference = self.streams.reference.id
        for (feature, name), value, share in zip(self._names, counts, self._ratios, strict=True):
            yield make(VALUES, value, feature, name, reference)
            yield make(REFERENCE_RATIO, share, feature, name, reference)
