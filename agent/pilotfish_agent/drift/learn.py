"""Learning a reference from traffic when none was given (docs/statistics.md, section 11). Pure.

`learning` until 500 rows, then `provisional`: made again of all rows at 1,000 to 50,000; final once it covers a day and
5,000 rows and the hours are alike, or four cycles of the pattern that they show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift import strata
from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.features import Config as Features
from pilotfish_agent.drift.hours import DAY_HOURS, NEEDED, Hours
from pilotfish_agent.drift.ingest import sound
from pilotfish_agent.drift.judge import Judge
from pilotfish_agent.drift.layout import Ints
from pilotfish_agent.drift.reference import Kind, Reference
from pilotfish_agent.drift.streams import LATENCY
from pilotfish_agent.drift.tested import Tested
from pilotfish_agent.drift.tick_clock import Tick
from pilotfish_core.errors import DataError
from pilotfish_core.nouns import ObservationBatch

FIRST_ROWS: Final = 500
REBUILDS: Final = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
FINAL_ROWS: Final = 5_000
MAX_CELLS: Final = 5_000_000
"""Values held at most, 8 bytes each, as arrays grow up to twice: of 1,000 features the first 5,000 rows."""
LOOK_SECONDS: Final = 3_600.0
"""Between two looks whether it may end: a pattern takes a millisecond a stream to be looked for."""


def halts(judge: Judge | None) -> bool:
    """Whether something drifts, so that rows are not learnt from.

    Latency alone does not halt: a server's first calls are its slowest, and what follows never looks like them.
    """
    return judge is not None and bool(set(judge.drifting()) - {LATENCY})


class Learner:
    """Collects the rows of a model that has no reference.

    Args:
        model: its name.
        task: ``model.task``.
        features: section `features`.
        learnt: a provisional reference of an earlier run; the next one must hold more rows than it.
        told: what `dump` of that run gave.
        limit: features learnt, the first ones that come; traffic chooses their names.
    """

    def __init__(
        self,
        model: str,
        task: str,
        features: Features,
        learnt: Reference | None = None,
        told: Mapping[str, Any] | None = None,
        *,
        limit: int = 1_000,
    ) -> None:
        kinds: dict[str, Kind] = {n: "categorical" if k == "categorical" else "numeric" for n, k in features.types}
        frozen = told is not None and bool(told.get("frozen"))
        self._model = model
        self._features = features
        self._plan = [] if frozen else [n for n in (FIRST_ROWS, *REBUILDS) if learnt is None or n > learnt.rows]
        self._builder: ReferenceBuilder | None = None
        if self._plan:
            self._builder = ReferenceBuilder(
                task=task, ignore=features.ignore, types=kinds, max_rows=REBUILDS[-1], season="none"
            )
        self._limit = limit
        self._names: dict[str, None] = {}
        self._collected = 0
        self._carried = 0 if learnt is None else learnt.rows
        self._version: str | None = None
        self._hours: Hours | None = None
        self._looked = 0.0
        self._pattern: strata.Kind = strata.richest(() if told is None else [told["pattern"]])
        self.since: float | None = None if told is None else told["since"]
        self.seconds = 0.0

    @property
    def rows(self) -> int:
        """Rows learnt from, those of an earlier run included while its reference is in force."""
        collected = self._collected if self._builder is None else self._builder.rows
        return max(self._carried, collected, 0 if self._hours is None else self._hours.rows)

    def add(self, batch: ObservationBatch, now: float) -> Reference | None:
        """Takes a batch; a reference when one is due.

        Returns:
            None also where the rows so far hold nothing to watch: the next threshold tries again.
        """
        self._pass(now)
        if self._builder is None:
            return None
        self._builder.add(self._limited(sound(batch)), np.full(batch.rows, now))
        self._version = batch.version
        if not self._plan or self._builder.rows < self._plan[0]:
            return None
        room = MAX_CELLS // max(len(self._names), 1)
        self._plan = [n for n in self._plan if self._builder.rows < n <= room]
        return self._build(now)

    def begin(self, streams: Tested) -> None:
        """From now on ticks are counted on the bins of ``streams``; the rows that it was made of count, too."""
        self._hours = Hours(streams, self._features.timezone, self._features.season)
        if self._builder is not None and self._builder.rows >= streams.reference.rows:
            self._hours.held(*self._builder.binned())
        if not self._plan:  # the last rebuild: the rows have served
            self._drop()

    def count(self, counts: Ints, tick: Tick, *, latched: bool) -> Reference | None:
        """One tick of counts on these bins; the final reference, when learning may end."""
        self._pass(tick.closed)
        if self._hours is None:
            return None
        self._hours.add(counts, tick.opened, tick.rows, latched=latched)
        if latched or self.seconds < NEEDED["none"] or tick.closed < self._looked + LOOK_SECONDS:
            return None
        self._looked = tick.closed
        pattern = self._hours.pattern()
        self._pattern = pattern.kind
        if pattern.kind != "none":
            self._plan = []  # bins stay as they are, so that hours go on being counted on them
            self._drop()
        if self.seconds < NEEDED[pattern.kind] or not self._hours.covers(pattern.kind, FINAL_ROWS):
            return None
        return self._hours.reference(pattern, tick.closed, self.since)

    def final(self, reference: Reference, now: float) -> Reference:
        """What is learnt so far, for good, whatever is still missing: of all rows held, or counted."""
        if self._builder is not None and self._builder.rows > reference.rows:
            return self._build(now) or reference
        if self._hours is None or self._hours.rows <= reference.rows:
            return reference
        return self._hours.reference(self._hours.nothing, now, self.since)

    def dump(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """For a checkpoint; rows are not in it: values of traffic do not go to disk."""
        arrays = {} if self._hours is None else self._hours.dump()
        told = {"since": self.since, "frozen": self._builder is None, "pattern": self._pattern}
        return told, arrays

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """What `dump` gave, once `begin` was called."""
        if self._hours is not None:
            self._hours.load(arrays)

    def words(self) -> str:
        """Progress for people: ``3,120 of 5,000 rows, 9 of 24 h``."""
        if self._pattern != "none":
            days, needed = self.seconds / 86400, NEEDED[self._pattern] / 86400
            return f"it changes {strata.WORDS[self._pattern]}: {days:.1f} of {needed:.0f} days"
        hours = int(self.seconds // 3600)
        return f"{min(self.rows, FINAL_ROWS):,} of {FINAL_ROWS:,} rows, {min(hours, DAY_HOURS)} of {DAY_HOURS} h"

    # -- inside

    def _pass(self, now: float) -> None:
        self.since = now if self.since is None else self.since
        self.seconds = max(self.seconds, now - self.since)

    def _limited(self, batch: ObservationBatch) -> ObservationBatch:
        """The batch without features beyond the limit."""
        for name in batch.features:
            if len(self._names) < self._limit:
                self._names[name] = None
        if self._names.keys() >= batch.features.keys():
            return batch
        return replace(batch, features={n: c for n, c in batch.features.items() if n in self._names})

    def _build(self, now: float) -> Reference | None:
        assert self._builder is not None
        try:
            made = self._builder.reference(created=now, model=self._model, version=self._version, measure=False)
        except DataError:
            made = None
        if made is None and not self._plan:
            self._drop()
        return made

    def _drop(self) -> None:
        if self._builder is not None:
            self._collected, self._builder = self._builder.rows, None
