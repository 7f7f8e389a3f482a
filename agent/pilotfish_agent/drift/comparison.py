"""One reference in force: its open tick, window, counters, evidence, and what it lacks. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pilotfish_agent.drift import phi
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.explain import shown
from pilotfish_agent.drift.first_rows import FirstRows
from pilotfish_agent.drift.held import Held
from pilotfish_agent.drift.ingest import Mask, OpenTick
from pilotfish_agent.drift.judge import Judge, Terms
from pilotfish_agent.drift.layout import Ints
from pilotfish_agent.drift.options import Config
from pilotfish_agent.drift.redact import redacted
from pilotfish_agent.drift.reference import SMALL_ROWS, FeatureReference, identity
from pilotfish_agent.drift.strata import HOUR
from pilotfish_agent.drift.streams import LATENCY, OUTPUT, PREDICTION
from pilotfish_agent.drift.tables import StreamTables, TableSpec, cache_key
from pilotfish_agent.drift.tested import Tested
from pilotfish_agent.drift.tick_clock import Tick
from pilotfish_agent.drift.window import Window
from pilotfish_core.nouns import ObservationBatch

QUEUE_BYTES: Final = 4 << 20
"""Ticks kept while tables are built; the oldest ones beyond it never enter the evidence."""
NOTED: Final = 100
"""Streams named in notices one by one."""


@dataclass(frozen=True, slots=True)
class TableRequest:
    """What `tables.build` needs: ``build(specs, budget_ticks, streams)``.

    Attributes:
        specs: one a tested stream, in order.
        budget_ticks: A, replicas counted in.
        streams: F.
        key: of the cache file.
    """

    specs: tuple[TableSpec, ...]
    budget_ticks: float
    streams: int
    key: str

    def answered_by(self, tables: Sequence[StreamTables]) -> bool:
        """Whether these are the tables that were asked for."""
        return len(tables) == len(self.specs) and all(
            t.phi == s.phi and t.streams == self.streams and np.array_equal(t.counts, s.counts)
            for t, s in zip(tables, self.specs, strict=True)
        )


def budget_ticks(config: Config, streams: Tested | None = None) -> float:
    """A: ticks per allowed false alarm, replicas counted in; where hours are told apart none is longer than one.

    At least one: nothing alarms more than once a tick, and the line of a larger budget would be below 0 nats.
    """
    apart = streams is not None and streams.strata.count > 1
    return max(1.0, config.false_alarms.ticks(min(config.tick, HOUR) if apart else config.tick, config.replicas))


def table_request(streams: Tested, config: Config, phis: Mapping[str, float]) -> TableRequest:
    """The tables of all tested streams under the present budget and dependence."""
    specs = tuple(_spec(stream, config, phis) for stream in streams.streams)
    ticks = budget_ticks(config, streams)
    return TableRequest(specs, ticks, len(specs), cache_key(streams.reference.id, specs, ticks, len(specs)))


def _spec(stream: FeatureReference, config: Config, phis: Mapping[str, float]) -> TableSpec:
    return TableSpec(
        name=stream.name,
        kind=stream.kind,
        counts=stream.counts.astype(np.float64),
        special=tuple(stream.special[word] for word in ("missing", "pinf", "ninf")) if stream.special else (),
        phi=phi.of(stream, config.dependence, phis),
        min_effect=config.latency_min_effect if stream.name == LATENCY else config.min_effect,
        strata=None if stream.stratum_counts is None else stream.stratum_counts.astype(np.float64),
    )


def stream_keys(streams: Tested, request: TableRequest) -> tuple[str, ...]:
    """Of each stream all that its evidence depends on: where it is the same, the evidence goes on."""
    strata = [streams.reference.strata.get(word) for word in ("kind", "timezone")]
    told = []
    for stream, spec in zip(streams.streams, request.specs, strict=True):
        terms = [spec.phi, spec.min_effect, request.budget_ticks, request.streams]
        own = strata if stream.strata > 1 else []
        told.append(json.dumps([identity(stream), *terms, *own], sort_keys=True))
    return tuple(map(_hash, told))


def layouts(streams: Tested) -> tuple[str, ...]:
    """Of each stream what its counts mean: its bins and what they are compared with."""
    return tuple(_hash(json.dumps(identity(stream), sort_keys=True)) for stream in streams.streams)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _told(stream: FeatureReference) -> tuple[str, float, str]:
    return stream.name, stream.phi, stream.phi_source


class Comparison:
    """What belongs to one reference.

    Args:
        streams: its tested streams.
        task: ``model.task``.

    Attributes:
        keys: one a stream, of `stream_keys`; none while there is no evidence.
        layouts: one a stream, of `layouts`.
        unlisted: streams that the reference lacks, by name.
    """

    def __init__(self, streams: Tested, task: str) -> None:
        self.streams = streams
        self.window = Window(streams)
        self.open = OpenTick(streams, task)
        self.first = FirstRows(streams, task)
        self.judge: Judge | None = None
        self.keys: tuple[str, ...] = ()
        self.layouts = layouts(streams)
        self._task = task
        self.unlisted: list[str] = []
        self._noted = 0
        self._totals: Ints = np.zeros(streams.width, np.int64)
        self._waiting: list[tuple[Ints, Tick]] = []
        self._known = {s.name for s in streams.reference.features} | {*streams.reference.columns}
        self._known |= {i.name for i in streams.reference.ignored}
        self._known |= {PREDICTION} if OUTPUT in streams.reference.encoders else set()  # answers that are texts

    @property
    def seen(self) -> int:
        """Rows since the start, of the stream that has the most."""
        return int(self.window.seen.max(initial=0))

    @property
    def counted(self) -> Ints:
        """All counts so far (width,), those of the open tick included as far as they are binned."""
        return self._totals + self.open.counts

    @property
    def closed(self) -> Ints:
        """All counts of closed ticks so far (width,)."""
        return self._totals

    def same(self, streams: Tested, task: str) -> bool:
        """Whether ``streams`` are these, of a file that was read again."""
        mine, theirs = self.streams, streams
        alike = mine.reference.id == theirs.reference.id and task == self._task
        return alike and [_told(s) for s in mine.streams] == [_told(s) for s in theirs.streams]

    def add(self, batch: ObservationBatch, features: Mask | None, predictions: Mask | None) -> None:
        """Rows of the open tick."""
        self.open.add(batch, features, predictions)
        self.first.add(batch, features, predictions)

    def close(self, tick: Tick, held_back: str) -> tuple[Ints, list[Entry]]:
        """The open tick is over: its counts, and what follows."""
        counts = self.open.take()
        self._totals += counts
        self.window.add(counts, self.streams.levelled(counts, tick.stratum))
        if self.judge is not None:
            entries = self.judge.step(counts, tick, held_back, self.first)
            self.first.clear()
            return counts, entries
        self.first.clear()
        self._waiting.append((counts, tick))
        while len(self._waiting) * counts.nbytes > QUEUE_BYTES:
            self._waiting.pop(0)
        return counts, []

    def start(
        self,
        tables: Sequence[StreamTables],
        request: TableRequest,
        terms: Terms,
        held: Held | None,
        held_back: str,
    ) -> list[Entry]:
        """Evidence starts, as far as ``held`` goes from there; the ticks that waited for the tables are judged."""
        self.keys = stream_keys(self.streams, request)
        self.judge = Judge(self.streams, tables, terms)
        if held is not None:
            try:
                held.into(self.judge, self.keys)
            except (ValueError, KeyError, TypeError):  # of another engine: zero evidence is earlier, not newer
                self.judge = Judge(self.streams, tables, terms)
        entries: list[Entry] = []
        waiting, self._waiting = self._waiting, []
        for counts, tick in waiting:
            entries += self.judge.step(counts, tick, held_back)
        return entries

    def note(self, batch: ObservationBatch) -> bool:
        """Remembers streams that the reference lacks; whether there are new ones."""
        if self._noted >= NOTED:
            return False
        names = [] if self._known.issuperset(batch.features) else list(batch.features)
        if PREDICTION not in self._known and (batch.prediction is not None or batch.probabilities is not None):
            names.append(PREDICTION)
        fresh = [name for name in names if name not in self._known][: NOTED - self._noted]
        self._known.update(fresh)
        self._noted += len(fresh)
        told = [name for name in fresh if not redacted(name)]
        self.unlisted += told
        return bool(told)


def notices(comparison: Comparison, limit: int) -> tuple[str, ...]:
    """What people should know about the reference, one line each."""
    streams = comparison.streams
    lines = [f"{shown(name)} is not in the reference: not tested (not_in_reference)" for name in comparison.unlisted]
    if streams.skipped:
        names = ", ".join(map(shown, streams.skipped[:5]))
        lines.append(f"limits.features is {limit}: {len(streams.skipped)} features are not tested ({names}, ...)")
    if streams.reference.rows < SMALL_ROWS:
        lines.append(f"the reference has {streams.reference.rows:,} rows: below {SMALL_ROWS:,} only large shifts alarm")
    return tuple(lines)


def restarts(before: Comparison, streams: Tested, keys: Sequence[str]) -> str:
    """What a change of reference or terms does to the evidence, in words."""
    old, new = before.streams.reference.id, streams.reference.id
    what = "the terms have changed" if old == new else f"reference {old} -> {new}"
    known = set(before.keys)
    fresh = [shown(s.name) for s, key in zip(streams.streams, keys, strict=True) if key not in known]
    if len(fresh) == len(keys):
        return f"{what}: all evidence restarts"
    names = ", ".join(fresh[:5]) + (", ..." if len(fresh) > 5 else "")
    return f"{what}: evidence of {len(fresh)} of {len(keys)} streams restarts ({names})"
