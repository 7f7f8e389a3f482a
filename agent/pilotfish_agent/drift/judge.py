"""One tick through the detector, and what follows from it: crossings, latches, severity, resolution. Pure."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from pilotfish_agent.drift import changes, explain, hints, whole
from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
from pilotfish_agent.drift.effect import Effect, effect
from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.happenings import Happenings
from pilotfish_agent.drift.latch import (
    ALARM,
    LOOKS,
    NOTICE,
    History,
    Latch,
    result_effect,
    rule,
    worse,
)
from pilotfish_agent.drift.layout import Floats, Ints
from pilotfish_agent.drift.mix import Mix
from pilotfish_agent.drift.raw import Raw, Sample
from pilotfish_agent.drift.streams import MODEL, PREDICTION, SCORE
from pilotfish_agent.drift.tables import StreamTables
from pilotfish_agent.drift.tested import Tested
from pilotfish_agent.drift.tick_clock import Tick
from pilotfish_agent.drift.together import together
from pilotfish_core.nouns import Severity

WHOLE: Final = -1
"""Position of `@model` among the latches."""
CONTRIBUTORS: Final = 5
CONTRIBUTION: Final = 1e-3
"""Share of the evidence of `@model` from which a stream is named for it."""
CAUSE_TICKS: Final = 2
"""What happened so near to the beginning of a change may be its cause."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a judge is told of the model.

    Attributes:
        model: its name, for the entries.
        budget: as written, for people.
        critical_effect: lower bound of the effect from which an alarm is critical.
        happenings: what happened to it beside its data; mix: whose rows they are.
    """

    model: str
    budget: str
    critical_effect: float
    happenings: Happenings = field(default_factory=Happenings)
    mix: Mix = field(default_factory=Mix)


class Judge:
    """The engine of one model with its latches.

    Args:
        streams: the tested streams, in the order of ``tables``.
        tables: theirs.
        terms: what the operator asked for.
    """

    def __init__(self, streams: Tested, tables: Sequence[StreamTables], terms: Terms) -> None:
        self._streams = streams
        self.tables = tables
        self._terms = terms
        self.history = History()
        self._raw = Raw()
        self.engine = Engine([table.by_stratum(streams.strata.count) or table for table in tables])
        self.threshold = tables[0].log_threshold
        self.model_threshold = self.threshold - math.log(len(tables))
        self.scores: Floats = np.full((2, len(tables)), -np.inf)
        self.latches: dict[tuple[int, int], Latch] = {}
        self.timed = True  # whether ticks have real times: those of a log without times have not
        self.tick = Tick(0.0, 0.0, 0, 0)

    def step(self, counts: Ints, tick: Tick, held_back: str, sample: Sample | None = None) -> list[Entry]:
        """One tick.

        Args:
            counts: of all streams (width,).
            tick: when it was.
            held_back: why alarms are only info now, empty when they are not.
            sample: its first rows, where they are at hand.
        """
        self.history.add(tick.opened, tick.rows)
        self.tick = tick
        levelled = self._streams.levelled(counts, tick.stratum)
        self.scores = self.engine.step(counts, tick.stratum, levelled)
        if sample is not None:
            self._keep_values(sample)
        if not self.latches and self.scores.max() < self.model_threshold:
            return []
        before = whole.opened(self.latches)
        entries = [*self._follow(counts if levelled is None else levelled, held_back), *self._cross(held_back)]
        return whole.told(entries, before, whole.opened(self.latches))

    def _keep_values(self, sample: Sample) -> None:
        """Raw values for the hints of streams in which something is going on, until they have been looked at."""
        looked = {f for f, _ in self.latches} - {f for (f, _), latch in self.latches.items() if latch.looks < LOOKS}
        names = {self._streams.streams[f].name for f in self.engine.stirring() if f not in looked}
        self._raw.keep(names)
        if names:
            self._raw.add(names, sample, self.history.ticks - 1, self.tick.stratum)

    @property
    def severity(self) -> Severity:
        """The worst of all latches."""
        worst: Severity = "none"
        for latch in self.latches.values():
            worst = worse(worst, latch.severity)
        return worst

    def drifting(self) -> list[str]:
        """Names of what is latched at level alarm."""
        alarmed = [latch.feature for (_, level), latch in sorted(self.latches.items()) if level == ALARM]
        return list(dict.fromkeys(alarmed))

    def evidence(self, f: int, level: int = ALARM) -> float:
        """S of a stream, nats; of `@model` the log of the mean of exp(S), to which streams over their line add none."""
        if f == WHOLE:
            rest = self._rest(level)
            return log_sum(self.scores[level][rest]) - math.log(len(self.tables)) if rest else -math.inf
        return float(self.scores[level, f])

    def _rest(self, level: int) -> list[int]:
        """Streams that are not latched by themselves, nor parts of a composite of which one is."""
        told = [stream.told_as for stream in self._streams.streams]
        over = {told[f] for f, latched in self.latches if latched == level and f != WHOLE}
        return [f for f, name in enumerate(told) if name not in over]

    def lead(self, members: Sequence[int]) -> int:
        """Of the parts of a composite stream the one to speak of: the gravest, then that of the most evidence."""
        if len(members) == 1:
            return members[0]
        return max(members, key=lambda f: ((f, ALARM) in self.latches, (f, NOTICE) in self.latches, self.evidence(f)))

    def most_moved(self, f: int, level: int) -> list[changes.Moved]:
        """The bins of a stream that have moved most since its change began."""
        return changes.most_moved(
            self._streams.streams[f], self.tables[f], self.engine.best(f, level), self.engine.since(f)
        )

    def since_rows(self, latch: Latch) -> int:
        """Rows since the change began."""
        return latch.entry.since_rows + self.history.rows - latch.crossed

    def effect(self, f: int) -> Effect | None:
        """Effect of a stream over the counts since the change began."""
        table = self.tables[f]
        return effect(np.asarray(table.counts), self.engine.since(f), np.asarray(table.pi), table.phi)

    def release(self, going_on: Container[int] = ()) -> list[Entry]:
        """Opens all latches but those of streams ``going_on``: what they were measured against is no more."""
        why = "evidence restarts, what it is compared with has changed"
        before = whole.opened(self.latches)
        ended = [(place, latch) for place, latch in self.latches.items() if place[0] not in going_on]
        entries = [self._opened(latch, self.evidence(*place), why) for place, latch in ended]
        for place, _ in ended:
            del self.latches[place]
        return whole.told(entries, before, whole.opened(self.latches))

    def _opened(self, latch: Latch, evidence: float, text: str) -> Entry:
        return replace(
            latch.entry,
            kind="resolved",
            ts=self.tick.closed,
            row=self.tick.row,
            severity="none",
            evidence=evidence,
            what=text,
        )

    # -- crossings

    def _cross(self, held_back: str) -> list[Entry]:
        fresh: list[tuple[int, int]] = []
        for level in (ALARM, NOTICE):
            over = np.flatnonzero(self.scores[level] >= self.threshold).tolist()
            for f in over:
                if (f, level) not in self.latches:
                    self._latch(f, level, held_back)
                    fresh.append((f, level))
            if (WHOLE, level) not in self.latches and self.evidence(WHOLE, level) >= self.model_threshold:
                self._latch_model(level, held_back)
                fresh.append((WHOLE, level))
        for place in fresh:
            self._look(*place)
        if fresh:
            self._look_around()
        alarmed = {f for f, level in fresh if level == ALARM}
        return [self.latches[f, level].entry for f, level in fresh if level == ALARM or f not in alarmed]

    def _look_around(self) -> None:
        """What latched streams say of each other, when one has joined them."""
        for place, names in together(self.latches).items():
            latch = self.latches[place]
            moved = self._score_moved(latch.feature)
            latch.entry = replace(latch.entry, together=names, score_moved=moved)

    def _look(self, f: int, level: int) -> None:
        """Hints of a latched stream: again as rows come in, each time after twice as many ticks."""
        latch = self.latches[f, level]
        latch.looks += 1
        if latch.looks & (latch.looks - 1):
            return
        found = [] if f == WHOLE else list(hints.hints(self._case(f, latch.entry)))
        latch.entry = replace(latch.entry, hints=(*found, *self._causes(latch.entry)))

    def _case(self, f: int, entry: Entry) -> hints.Case:
        stream = self._streams.streams[f]
        blocks = self._raw.blocks(stream.name, entry.tick)
        return hints.Case(
            stream,
            self.tables[f],
            lambda stratum: self._streams.binners(stratum)[f],
            entry.what,
            self.engine.since(f),
            blocks,
        )

    def _causes(self, entry: Entry) -> list[str]:
        """What else happened when the change began."""
        if not self.timed:
            return []
        known = self._terms.happenings.between(*self.history.around(entry.tick, CAUSE_TICKS))
        moved = self._terms.mix.moved(entry.began)
        causes = [f"at that time: {', '.join(map(str, known[-3:]))}"] if known else []
        return [*causes, f"at that time the traffic changed: {moved}"] if moved else causes

    def _latch(self, f: int, level: int, held_back: str) -> None:
        table, stream = self.tables[f], self._streams.streams[f]
        tick, winner, counts = self.engine.began(f, level), self.engine.best(f, level), self.engine.since(f)
        found = self.effect(f)
        critical = level == ALARM and found is not None and found.lower >= self._terms.critical_effect
        value, lower, upper = result_effect(found)
        entry = replace(
            self._entry(stream.told_as, level, tick, float(self.scores[level, f]), held_back, critical=critical),
            part=stream.part if stream.part_of else "",
            what=changes.what_changed(stream, table, winner, counts),
            bins=() if changes.names_bins(winner) else tuple(changes.most_moved(stream, table, winner, counts)),
            effect=value,
            effect_lower=lower,
            effect_upper=upper,
        )
        rules = {f: rule(table, entry.since_rows, level)}
        self.latches[f, level] = Latch(
            entry.feature, level, entry, entry.severity, self.history.rows, rules, critical=critical, looks=0
        )

    def _latch_model(self, level: int, held_back: str) -> None:
        scores, evidence = self.scores[level], self.evidence(WHOLE, level)
        least = evidence + math.log(len(self.tables) * CONTRIBUTION)
        largest = sorted((f for f in self._rest(level) if scores[f] >= least), key=lambda f: -scores[f])[:CONTRIBUTORS]
        begun = {f: self.engine.began(f, level) for f in largest}
        streams = [self._streams.streams[f] for f in largest]
        names = explain.listed([f"{s.part_of}: {s.part}" if s.part_of else s.name for s in streams])
        entry = replace(
            self._entry(MODEL, level, min(begun.values()), evidence, held_back, critical=False),
            what=f"several streams changed, none of them over its own line: {names}",
        )
        rules = {f: rule(self.tables[f], self.history.at(tick)[1], level) for f, tick in begun.items()}
        self.latches[WHOLE, level] = Latch(MODEL, level, entry, entry.severity, self.history.rows, rules, looks=0)

    def _entry(self, name: str, level: int, tick: int, evidence: float, held_back: str, *, critical: bool) -> Entry:
        """A crossing of now, of a change that began with ``tick``; what changed is still to be said."""
        began, rows = self.history.at(tick)
        return Entry(
            kind="alarm" if level == ALARM else "notice",
            level="alarm" if level == ALARM else "notice",
            model=self._terms.model,
            feature=name,
            ts=self.tick.closed,
            began=began,
            row=self.tick.row,
            since_rows=rows,
            severity=_severity(level, held_back, critical=critical),
            evidence=evidence,
            threshold=self.model_threshold if name == MODEL else self.threshold,
            effect=None,
            effect_lower=None,
            effect_upper=None,
            what="",
            budget=self._terms.budget,
            tick=tick,
            timed=self.timed,
            held_back=held_back if level == ALARM else "",
        )

    def _score_moved(self, name: str) -> bool | None:
        f = self._streams.index.get(SCORE)
        if f is None or name in (SCORE, PREDICTION, MODEL):
            return None
        over = bool((self.scores[:, f] >= self.threshold).any())
        return over or any((f, level) in self.latches for level in (NOTICE, ALARM))

    # -- while latched

    def _follow(self, counts: Ints | Floats, held_back: str) -> list[Entry]:
        """Feeds the latches one tick; rises and resolutions."""
        entries: list[Entry] = []
        if not self.latches:
            return entries
        parts, rows = self._streams.parts(counts), np.add.reduceat(counts, self._streams.offsets[:-1]).tolist()
        for (f, level), latch in sorted(self.latches.items(), key=lambda item: -item[0][1]):
            back = [one.add(parts[g], rows[g]) for g, one in latch.rules.items()]
            if all(back) and not (level == NOTICE and (f, ALARM) in self.latches):
                entries.append(self._resolve(f, level, latch))
                continue
            if latch.looks < LOOKS:
                self._look(f, level)
            if level == ALARM and (risen := self._rise(f, latch, held_back)):
                entries.append(risen)
        return entries

    def _rise(self, f: int, latch: Latch, held_back: str) -> Entry | None:
        if f != WHOLE and not latch.critical and latch.effect_is_due(self.since_rows(latch)):
            found = self.effect(f)
            latch.critical = found is not None and found.lower >= self._terms.critical_effect
        now = worse(latch.severity, _severity(ALARM, held_back, critical=latch.critical))
        if now == latch.severity:
            return None
        latch.entry = replace(latch.entry, held_back="")
        latch.severity = now
        value, lower, upper = result_effect(self.effect(f) if f != WHOLE else None)
        return replace(
            latch.entry,
            kind="rise",
            ts=self.tick.closed,
            row=self.tick.row,
            since_rows=self.since_rows(latch),
            severity=now,
            evidence=self.evidence(f, ALARM),
            effect=value,
            effect_lower=lower,
            effect_upper=upper,
        )

    def _resolve(self, f: int, level: int, latch: Latch) -> Entry:
        del self.latches[f, level]
        evidence = self.evidence(f, level)
        restarted = set(latch.rules)
        if f == WHOLE:  # its evidence is that of all streams, of which the largest were named
            latched = {g for g, _ in self.latches}
            restarted.update(g for g in range(len(self.tables)) if g not in latched)
        for g in sorted(restarted):
            self.engine.reset(g)
            self.scores[:, g] = -np.inf
        rows = self.history.rows - latch.crossed
        since = latch.entry.level + (f" of {explain.moment(latch.entry.ts)}" if self.timed else "")
        return self._opened(latch, evidence, f"back to the reference, {rows:,} rows after the {since}")


def _severity(level: int, held_back: str, *, critical: bool) -> Severity:
    if level == NOTICE or held_back:
        return "info"
    return "critical" if critical else "warning"


def log_sum(scores: Floats) -> float:
    """Log sum exp, -inf where all are."""
    top = float(scores.max())
    return top + math.log(float(np.exp(scores - top).sum())) if math.isfinite(top) else top
