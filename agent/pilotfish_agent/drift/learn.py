"""Learning a reference from traffic when none was given (docs/statistics.md, section 11), up to `provisional`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.ingest import sound
from pilotfish_agent.drift.reference import Kind, Reference
from pilotfish_core.errors import DataError
from pilotfish_core.nouns import ObservationBatch

FIRST_ROWS: Final = 500
REBUILDS: Final = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
FINAL_ROWS: Final = 5_000
MAX_CELLS: Final = 5_000_000
"""Values held at most, 8 bytes each, as arrays grow up to twice: of 1,000 features the first 5,000 rows."""


class Learner:
    """Collects the rows of a model that has no reference.

    Args:
        model: its name.
        task: ``model.task``.
        ignore, types: section `features`.
        learnt: a provisional reference of an earlier run; the next one must hold more rows than it.
        told: what `dump` of that run gave.
        limit: features learnt, the first ones that come; traffic chooses their names.
    """

    def __init__(
        self,
        model: str,
        task: str,
        ignore: tuple[str, ...],
        types: Iterable[tuple[str, str]],
        learnt: Reference | None = None,
        told: Mapping[str, Any] | None = None,
        *,
        limit: int = 1_000,
    ) -> None:
        kinds: dict[str, Kind] = {n: "categorical" if k == "categorical" else "numeric" for n, k in types}
        self._model = model
        self._plan = [n for n in (FIRST_ROWS, *REBUILDS) if learnt is None or n > learnt.rows]
        self._builder: ReferenceBuilder | None = None
        if self._plan:
            self._builder = ReferenceBuilder(task=task, ignore=ignore, types=kinds, max_rows=REBUILDS[-1])
        self._limit = limit
        self._names: dict[str, None] = {}
        self._collected = 0
        self._carried = 0 if learnt is None else learnt.rows
        self.since: float | None = None if told is None else told["since"]
        self.seconds = 0.0
        self._version: str | None = None

    @property
    def rows(self) -> int:
        """Rows learnt from, those of an earlier run included while its reference is in force."""
        return max(self._carried, self._collected if self._builder is None else self._builder.rows)

    @property
    def collects(self) -> bool:
        """Whether rows are held for a rebuild to come."""
        return self._builder is not None

    def add(self, batch: ObservationBatch, now: float) -> Reference | None:
        """Takes a batch; a reference when one is due.

        Returns:
            None also where the rows so far hold nothing to watch: the next threshold tries again.
        """
        self.since = now if self.since is None else self.since
        self.seconds = max(self.seconds, now - self.since)
        if self._builder is None:
            return None
        self._builder.add(self._limited(sound(batch)))
        self._version = batch.version
        if not self._plan or self._builder.rows < self._plan[0]:
            return None
        room = MAX_CELLS // max(len(self._names), 1)
        self._plan = [n for n in self._plan if self._builder.rows < n <= room]
        return self._build(now)

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
            return self._builder.reference(created=now, model=self._model, version=self._version)
        except DataError:
            return None
        finally:
            if not self._plan:  # the last rebuild: the rows have served
                self._collected, self._builder = self._builder.rows, None

    def dump(self) -> dict[str, Any]:
        """For a checkpoint; rows are not in it: values of traffic do not go to disk."""
        return {"since": self.since}

    def final(self, reference: Reference, now: float) -> Reference:
        """What is learnt so far, for good: all rows held where they are more than those of ``reference``."""
        if self._builder is None or self._builder.rows <= reference.rows:
            return reference
        return self._build(now) or reference

    def words(self) -> str:
        """Progress for people: ``3,120 of 5,000 rows, 9 of 24 h``."""
        hours = int(self.seconds // 3600)
        return f"{min(self.rows, FINAL_ROWS):,} of {FINAL_ROWS:,} rows, {min(hours, 24)} of 24 h"
