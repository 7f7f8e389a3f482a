"""A new model version against the one before it, on the bins of the reference (docs/versions.md). Pure.

Rows are counted per version. While one version is in use that costs one addition a tick; while there are more, each has
an open tick of its own. The newcomer is compared with the version that had the most rows when it came: over the ticks
in which both had rows where it shares the traffic (a canary), else with the rows before the switch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pilotfish_agent.drift import phi
from pilotfish_agent.drift.happenings import AWAY_SECONDS
from pilotfish_agent.drift.ingest import Mask, OpenTick
from pilotfish_agent.drift.layout import Floats, Ints
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.streams import LATENCY
from pilotfish_agent.drift.tested import Tested
from pilotfish_agent.drift.tick_clock import Tick
from pilotfish_agent.drift.version_looks import (
    FEWEST_ROWS,
    LOOKS,
    ORDER,
    Answer,
    Found,
    Side,
    alpha,
    due_at,
    verdict,
)
from pilotfish_core.nouns import ObservationBatch

MOST_VERSIONS: Final = 4
DAY: Final = 86_400.0
AFTER_DAYS: Final = 7
"""A comparison with the rows before a switch ends then: what differs later is drift, whichever version serves."""
Name = str | None  # None: rows that name no version; they are kept apart and compared with nothing


class Tally:
    """The rows of one version: of the last one to two days, and of the tick that is open.

    Attributes:
        last: when its newest row came, epoch seconds.
        open: its own open tick, None while it is alone.
    """

    def __init__(self, width: int, at: float) -> None:
        self.last = at
        self.open: OpenTick | None = None
        self._older = np.zeros(width)
        self._newer = np.zeros(width)
        self._since = at

    @property
    def recent(self) -> Floats:
        """Counts (width,)."""
        return self._older + self._newer

    def add(self, counts: Floats, at: float) -> None:
        """Counts of a closed tick."""
        if at - self._since > DAY:
            self._older, self._newer, self._since = self._newer, np.zeros_like(self._newer), at
        self._newer += counts


@dataclass(slots=True)
class Pair:
    """A new version and the one before it.

    Attributes:
        baseline, candidate: their names.
        began: when the first row of the new one came, epoch seconds.
        before: counts of the baseline up to then (width,).
        after: of the candidate since.
        both: of the baseline and of the candidate, of ticks in which both had rows.
        look: number of the next look, from 0.
        rows: of the candidate and of the baseline at the last look.
        shared: whether the last look was at rows of the same ticks; None before the first.
        answers: of the last look, by stream.
        found: the gravest verdict of each stream so far: looking again takes nothing back.
        winners: what spoke for it, by stream, with the counts of both sides at that look.
        texts: what of that has been put in words, by stream.
    """

    baseline: str
    candidate: str
    began: float
    before: Floats
    after: Floats
    both: tuple[Floats, Floats]
    look: int = 0
    rows: tuple[int, int] = (0, 0)
    shared: bool | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    found: dict[str, Found] = field(default_factory=dict)
    winners: dict[str, tuple[str, Side]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Found:
        """The gravest of all streams."""
        return max(self.found.values(), key=ORDER.index, default="not_enough_data")


@dataclass(frozen=True, slots=True)
class Look:
    """What is to be compared now; the answer comes back with it.

    Attributes:
        pair: whose.
        shared: whether these are rows of the same ticks.
        rows: of the candidate and of the baseline, of the stream that has the most.
        sides: the streams with rows enough.
    """

    pair: Pair
    shared: bool
    rows: tuple[int, int]
    sides: tuple[Side, ...]


class Versions:
    """The versions of one model.

    Attributes:
        pair: what is compared, None while no second version has come.
        changes: moves whenever what is told of them may.
        waits: what the next look waits for beside rows.
    """

    def __init__(self) -> None:
        self.pair: Pair | None = None
        self.changes = 0
        self.waits = ""
        self.streams: Tested | None = None
        self._task = "auto"
        self._known: dict[Name, Tally] = {}
        self._alone: Name = None
        self._split = False
        self._due: Look | None = None
        self._told: list[Pair] = []

    def begin(self, streams: Tested | None, task: str) -> None:
        """From now on rows are counted on the bins of ``streams``; what was counted on others is forgotten."""
        self.streams, self._task = streams, task
        self._known.clear()
        self._split, self.pair, self._due = False, None, None
        self.changes += 1

    # -- rows

    def add(
        self,
        batch: ObservationBatch,
        features: Mask | None,
        predictions: Mask | None,
        whole: OpenTick,
        at: float,
    ) -> None:
        """Rows of the open tick; before they go into ``whole``, the open tick of all versions."""
        if self.streams is None:
            return
        tally = self._known.get(batch.version)
        if tally is None:
            tally = self._new(batch.version, whole, at)
        if tally is None:
            return
        tally.last = at
        if self._split or batch.version != self._alone:
            self._apart(whole)
            opened = self._opened(tally, whole.stratum)
            opened.add(batch, features, predictions)

    def _new(self, name: Name, whole: OpenTick, at: float) -> Tally | None:
        """A version is seen for the first time; None where there is no room for it among those in use."""
        assert self.streams is not None
        if len(self._known) >= MOST_VERSIONS and not self._forget(at):
            return None
        made = Tally(self.streams.width, at)
        if not self._known:
            self._alone = name
        else:
            self._apart(whole)
            self._pair_with(name, self._most(self._known), at)
        self._known[name] = made
        return made

    def _forget(self, at: float) -> bool:
        """Makes room: the version that has been away for longest goes, unless all are in use."""
        oldest = min(self._known, key=lambda name: self._known[name].last)
        if at - self._known[oldest].last < AWAY_SECONDS:
            return False
        del self._known[oldest]
        return True

    def _most(self, among: Iterable[Name]) -> Name:
        """Of the versions that served last the one with the most rows in closed ticks, None where none has any."""
        named = [name for name in among if name is not None]
        last = max((self._known[name].last for name in named), default=0.0)
        served = [(self._rows(t.recent), n) for n in named if last - (t := self._known[n]).last < AWAY_SECONDS]
        rows, name = max(served, default=(0, None), key=lambda one: one[0])
        return name if rows else None

    def _pair_with(self, name: Name, before: Name, at: float) -> None:
        if name is None or before is None:
            return
        counts = self._known[before].recent
        zeros = np.zeros_like(counts)
        self.pair = Pair(before, name, at, counts, zeros.copy(), (zeros.copy(), zeros.copy()))
        self._due = None
        self.changes += 1

    def _apart(self, whole: OpenTick) -> None:
        """From now on each version has its own open tick; what is in the common one belongs to the only version."""
        if self._split:
            return
        self._split = True
        tally = self._known.get(self._alone)
        if tally is not None:
            whole.flush()
            self._opened(tally, whole.stratum).counts += whole.counts

    def _opened(self, tally: Tally, stratum: int) -> OpenTick:
        assert self.streams is not None
        if tally.open is None:
            tally.open = OpenTick(self.streams, self._task)
        tally.open.stratum = stratum
        return tally.open

    def close(self, counts: Ints, tick: Tick) -> None:
        """The open tick is over; ``counts`` (width,) are those of all versions."""
        if not self._known or self.streams is None:
            return
        if self._split:
            parts = {name: self._taken(t, tick.stratum) for name, t in self._known.items() if t.open is not None}
        else:
            parts = {self._alone: self._levelled(counts, tick.stratum)}
        for name, part in parts.items():
            self._known[name].add(part, tick.closed)
        if self.pair is None:
            # Both came in one tick, as after a start of the agent: the one with more rows is taken for the older.
            before = self._most(parts)
            others = [name for name, part in parts.items() if name not in (None, before) and part.any()]
            self._pair_with(others[-1] if others else None, before, tick.opened)
        else:
            self._pair_rows(self.pair, parts)
        self._join(tick.closed)

    def _pair_rows(self, pair: Pair, parts: Mapping[Name, Floats]) -> None:
        new, old = parts.get(pair.candidate), parts.get(pair.baseline)
        if new is None or not new.any():
            return
        pair.after += new
        if old is not None and old.any():
            pair.both[0][:] += old
            pair.both[1][:] += new
        self.changes += 1

    def _taken(self, tally: Tally, stratum: int) -> Floats:
        assert tally.open is not None
        counts = tally.open.take()
        tally.open.columns()  # scores and values are for the counters, which have them already
        return self._levelled(counts, stratum)

    def _levelled(self, counts: Ints, stratum: int) -> Floats:
        """So that versions which served at other hours are alike."""
        assert self.streams is not None
        levelled = self.streams.levelled(counts, stratum)
        return counts.astype(np.float64) if levelled is None else levelled

    def _join(self, at: float) -> None:
        """Where the others are away, whole ticks are those of the version that is left."""
        used = [name for name, t in self._known.items() if at - t.last < AWAY_SECONDS]
        if self._split and len(used) == 1:
            self._split, self._alone = False, used[0]
            for tally in self._known.values():
                tally.open = None

    def _rows(self, counts: Floats) -> int:
        if self.streams is None or not len(counts):
            return 0
        return round(float(np.add.reduceat(counts, self.streams.offsets[:-1]).max()))

    # -- looks

    @property
    def shared(self) -> bool:
        """Whether the versions share the traffic: then rows of the same ticks are compared."""
        return self.pair is not None and self._sides(self.pair)[2]

    def rows(self, pair: Pair) -> tuple[int, int]:
        """Rows so far of the candidate and of the baseline, as the next look would compare them."""
        old, new, _ = self._sides(pair)
        return self._rows(new), self._rows(old)

    def _sides(self, pair: Pair) -> tuple[Floats, Floats, bool]:
        """Baseline, candidate, and whether they shared the traffic: for at least half of the candidate's rows."""
        together = self._rows(pair.both[1])
        shared = 2 * together >= self._rows(pair.after) and self._rows(pair.both[0]) >= FEWEST_ROWS
        return (*pair.both, True) if shared else (pair.before, pair.after, False)

    def request(self, now: float, config: Config, phis: Mapping[str, float] | None) -> Look | None:
        """The look that is due; the same object until it is answered, or until another version comes.

        Args:
            now: epoch seconds.
            config: section `drift`.
            phis: measured dependence by stream; None: it is not known yet, and rows taken for independent would make
                equal versions look different.
        """
        self.waits = "the dependence of rows, drift.dependence settles it" if phis is None else ""
        if phis is None:
            return None
        pair, streams = self.pair, self.streams
        if self._due is not None or pair is None or streams is None or pair.look >= LOOKS:
            return self._due
        if self._rows(pair.after) < due_at(pair.look):
            return None
        old, new, shared = self._sides(pair)
        rows = self._rows(new), self._rows(old)
        if rows[0] < due_at(pair.look) or (not shared and now - pair.began > AFTER_DAYS * DAY):
            return None
        sides = [
            Side(
                name=stream.name,
                kind=stream.kind,
                baseline=_counts(streams, old, f),
                candidate=_counts(streams, new, f),
                phi=phi.of(stream, config.dependence, phis),
                min_effect=config.latency_min_effect if stream.name == LATENCY else config.min_effect,
            )
            for f, stream in enumerate(streams.streams)
        ]
        self._due = Look(pair, shared, rows, tuple(s for s in sides if s.enough))
        return self._due

    def answered(self, look: Look, answers: Mapping[str, Answer]) -> None:
        """The answers of a look; of a pair that is compared no more they are for nobody."""
        if look is not self._due or self.streams is None:
            return
        self._due, pair = None, look.pair
        before = dict(pair.found)
        level = alpha(len(self.streams.streams))
        for side in look.sides:
            answer = answers[side.name]
            found = verdict(answer, level)
            if ORDER.index(found) >= ORDER.index(pair.found.get(side.name, "not_enough_data")):
                pair.found[side.name] = found
                winner = answer.beyond_winner if found == "different" else answer.change_winner
                pair.winners[side.name] = (winner, side)
        pair.answers |= answers
        pair.texts.clear()
        pair.rows, pair.shared = look.rows, look.shared
        pair.look = next(k for k in itertools.count(pair.look + 1) if k >= LOOKS or due_at(k) > look.rows[0])
        self.changes += 1
        if pair.found != before:
            self._told.append(pair)

    def taken(self) -> Sequence[Pair]:
        """Pairs whose verdicts have changed since the last call."""
        told, self._told = self._told, []
        return told


def _counts(streams: Tested, vector: Floats, f: int) -> Floats:
    """Of one stream; levelling may make a rare bin of a quiet hour negative."""
    found: Floats = np.maximum(streams.part(vector, f), 0.0)
    return found
