"""What a learn-in has counted, hour by hour: when it may end, and as which reference (docs/statistics.md, section 11).

Only counts are kept, so they survive a restart and no value of the traffic goes to disk. Rows of a latched period are
put aside: a change must not be learnt. Where the latch ends by itself, the data came back, and its rows count for the
pattern of the hours, of which they may be a part; never for a reference without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift import strata
from pilotfish_agent.drift.layout import Ints, coarse_map, fold
from pilotfish_agent.drift.reference import FeatureReference, Ignored, Reference
from pilotfish_agent.drift.seasonal import MODEL_CELLS, STREAM_CELLS, TOO_MANY
from pilotfish_agent.drift.strata import ALL, COUNTS, FIT_ROWS, Kind, narrowed
from pilotfish_agent.drift.tested import Tested

MOST_BINS: Final = 8_000
"""Bins of all streams up to which hours are told apart: 11 MB of counts. With more, a pattern stays unknown."""
NEEDED: Final[Mapping[Kind, float]] = {
    "none": 24 * 3600.0,
    "hour": 4 * 86400.0,
    "weekend_hour": 28 * 86400.0,
    "hour_of_week": 28 * 86400.0,
}
"""Seconds that a learn-in must cover: four cycles of a pattern."""
DAY_HOURS: Final = 24
BLOCK_SECONDS: Final = 600.0
"""Shares are learnt in every other block of it and tried on those between: all that a short record allows."""
_LEVELS: Final = 7


@dataclass(frozen=True, slots=True)
class Pattern:
    """What the hours show.

    Attributes:
        kinds: of each stream.
        kind: the richest of them.
    """

    kinds: tuple[Kind, ...]

    @property
    def kind(self) -> Kind:
        """The richest one."""
        return strata.richest(self.kinds)


class Hours:
    """Counts on the bins of one provisional reference.

    Args:
        streams: its streams.
        timezone: `features.timezone`.
        season: `features.season`.

    Attributes:
        clean: counts (width,) of all rows that may become a reference without a pattern.
        rows: how many rows these are.
        every: how many rows the hours know, those of latches that have ended included.
    """

    def __init__(self, streams: Tested, timezone: str, season: str) -> None:
        self._streams = streams
        self._zone = strata.make("hour_of_week", timezone)
        self._candidates: tuple[Kind, ...] = strata.WEEKLY
        if season != "auto":
            self._candidates = tuple(kind for kind in strata.WEEKLY if kind == season)
        self.clean: Ints = streams.flat.copy()
        self.rows = self.every = streams.reference.rows
        told = bool(self._candidates) and streams.width <= MOST_BINS
        self._counts: NDArray[np.int32] | None = np.zeros((2, ALL, streams.width), np.int32) if told else None
        self._aside: NDArray[np.int32] | None = None
        self._aside_rows = 0
        self._seen = np.zeros(ALL, np.bool_)

    def held(self, ids: Mapping[str, Ints], times: NDArray[np.float64]) -> None:
        """Rows that the reference was made of, by the bin of each (n,), -1 for none, and their times."""
        self._seen[self._zone.of(times)] = True
        if self._counts is None:
            return
        blocks = (times // BLOCK_SECONDS).astype(np.int64) % 2
        place = blocks * ALL + self._zone.of(times)
        for f, stream in enumerate(self._streams.streams):
            own, size = ids.get(stream.name), len(stream.counts)
            if own is not None:
                flat = (place * size + own)[own >= 0]
                counted = np.bincount(flat, minlength=2 * ALL * size).reshape(2, ALL, size)
                start = int(self._streams.offsets[f])
                self._counts[:, :, start : start + size] += counted.astype(np.int32)

    def add(self, counts: Ints, at: float, rows: int, *, latched: bool) -> None:
        """One tick of counts (width,) that opened at ``at``."""
        hour = self._zone.at(at)
        if not latched:
            self.clean += counts
            self.rows += rows
            self._seen[hour] = True
        if self._counts is None:
            return
        if latched and self._aside is None:
            self._aside = np.zeros_like(self._counts)
        elif not latched and self._aside is not None:
            self._counts += self._aside
            self.every += self._aside_rows
            self._aside, self._aside_rows = None, 0
        into = self._counts if self._aside is None else self._aside
        if latched:
            self._aside_rows += rows
        else:
            self.every += rows
        into[int(at // BLOCK_SECONDS) % 2, hour] += counts.astype(np.int32)

    def covers(self, kind: Kind, rows: int) -> bool:
        """Whether there are so many rows, and some of 24 hours, to make a reference with strata of this kind."""
        if kind == "none" or self._counts is None:
            return self.rows >= rows and int(self._seen.sum()) >= DAY_HOURS
        return self.every >= rows and int(self._counts.any(axis=(0, 2)).sum()) >= DAY_HOURS

    @property
    def nothing(self) -> Pattern:
        """No stream changes with the hours."""
        alike: Kind = "none"
        return Pattern((alike,) * len(self._streams.streams))

    def pattern(self) -> Pattern:
        """Which streams change with the hours: shares learnt in every other ten minutes tell those between."""
        if self._counts is None:
            return self.nothing
        found: list[Kind] = []
        for f, stream in enumerate(self._streams.streams):
            folded = fold(_groups(stream), self._own(f)).astype(np.int64)
            found.append(strata.chosen(folded[0], folded[1], self._candidates))
        return Pattern(tuple(found))

    def reference(self, pattern: Pattern, now: float, since: float | None) -> Reference:
        """All that was counted, on the bins there are; streams with a pattern have a table for each hour of it."""
        before = self._streams.reference
        tested = {s.name: f for f, s in enumerate(self._streams.streams)}
        features: list[FeatureReference] = []
        ignored = list(before.ignored)
        room = MODEL_CELLS
        for stream in before.features:
            f = tested.get(stream.name)
            if f is None:
                features.append(stream)
                continue
            kind = self._affordable(f, pattern.kinds[f])
            if kind == "none":
                counts = self._streams.part(self.clean, f)
                features.append(replace(stream, counts=counts.copy(), rows=int(counts.sum())))
                continue
            own = self._merged(f, kind)
            room -= own.size
            if room < 0:
                ignored.append(Ignored(stream.name, TOO_MANY))
                continue
            features.append(replace(stream, counts=own.sum(0), stratum_counts=own, rows=int(own.sum())))
        kind = strata.kind_of(max((f.strata for f in features), default=1))
        rows = [int(n) for n in self._rows_of(kind)]
        told = {"kind": kind, "rows": rows, "timezone": self._zone.timezone} if kind != "none" else before.strata
        return replace(
            before,
            created=now,
            rows=self.rows if kind == "none" else self.every,
            features=tuple(features),
            ignored=tuple(ignored),
            begins=since,
            ends=now,
            strata=told,
        )

    def dump(self) -> dict[str, NDArray[Any]]:
        """For a checkpoint."""
        arrays: dict[str, NDArray[Any]] = {
            "clean": self.clean,
            "rows": np.array([self.rows, self.every, self._aside_rows]),
            "seen": self._seen.astype(np.int64),
        }
        for name, array in (("hours", self._counts), ("aside", self._aside)):
            if array is not None:
                arrays[name] = array.ravel()
        return arrays

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Back from `dump`; what is of other bins is left out."""
        if "clean" not in arrays or arrays["clean"].shape != self.clean.shape:
            return
        self.clean = arrays["clean"].astype(np.int64)
        self.rows, self.every, self._aside_rows = arrays["rows"].tolist()
        self._seen = arrays["seen"].astype(np.bool_)
        if self._counts is not None and "hours" in arrays and arrays["hours"].size == self._counts.size:
            shape = self._counts.shape
            self._counts = arrays["hours"].reshape(shape).astype(np.int32)
            self._aside = arrays["aside"].reshape(shape).astype(np.int32) if "aside" in arrays else None

    # -- inside

    def _own(self, f: int) -> Ints:
        """Counts of one stream (2, 168, K)."""
        assert self._counts is not None
        start, end = self._streams.offsets[f : f + 2].tolist()
        return self._counts[:, :, start:end].astype(np.int64)

    def _merged(self, f: int, kind: Kind) -> Ints:
        own = np.zeros((COUNTS[kind], len(self._streams.streams[f].counts)), np.int64)
        np.add.at(own, narrowed(np.arange(ALL), ALL, COUNTS[kind]), self._own(f).sum(0))
        return own

    def _affordable(self, f: int, kind: Kind) -> Kind:
        """The kind, or a poorer one: each table needs rows, and all of them memory."""
        if kind == "none":
            return kind
        poorer = [k for k in COUNTS if COUNTS[k] <= COUNTS[kind]]
        for one in reversed(poorer):
            own = self._merged(f, one)
            if one == "none" or (own.size <= STREAM_CELLS and own.sum(1).min() >= FIT_ROWS):
                return one
        return "none"

    def _rows_of(self, kind: Kind) -> Ints:
        if kind == "none" or self._counts is None:
            return np.zeros(0, np.int64)
        most = np.array([self._merged(f, kind).sum(1) for f in range(len(self._streams.streams))])
        found: Ints = most.max(0)
        return found


def _groups(stream: FeatureReference) -> Ints:
    """Some eight groups of a stream's bins."""
    size = len(stream.counts)
    if stream.special:
        return coarse_map(size, tuple(stream.special.values()))
    groups = np.minimum(np.arange(size), _LEVELS)
    groups[-1] = min(_LEVELS + 1, size - 1)
    return groups
