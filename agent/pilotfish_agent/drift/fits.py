"""What a reference's encoders are made of: all columns that are no single numbers or categories."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from pilotfish_agent.drift.composites import with_texts
from pilotfish_agent.drift.encoders import text
from pilotfish_agent.drift.layout import Ints
from pilotfish_agent.drift.prose import Prose
from pilotfish_agent.drift.reference import Ignored
from pilotfish_agent.drift.streams import OUTPUT, is_list, is_text
from pilotfish_agent.drift.vectors import Fitted, Vectors
from pilotfish_core.nouns import Column, ObservationBatch


@dataclass(slots=True)
class Fits:
    """Columns on their way to encoders.

    Args:
        seed: of the fits.
        plain: columns whose kind was told: they are not looked at.
    """

    seed: int
    plain: Container[str] = ()
    _vectors: dict[str, Vectors] = field(default_factory=dict)
    _prose: dict[str, Prose] = field(default_factory=dict)
    _answers: bool | None = None

    def answered(self, batch: ObservationBatch) -> ObservationBatch:
        """The batch with predictions that are language as the feature `output`; the first texts decide."""
        texts = batch.prediction if self._answers is None and batch.prediction is not None else ()
        if is_text(texts) and any(told is not None for told in texts):
            self._answers = text.is_language(texts)
        return with_texts(batch) if self._answers else batch

    def add(
        self, columns: dict[str, Column], first: int, chosen: Ints | None, at: Ints, size: int
    ) -> dict[str, Column]:
        """Takes a batch's columns, of which the first row is row ``first``; the rest as `KeptColumn.add`.

        Returns:
            The columns of single numbers and categories.
        """
        kept = {}
        for name, column in columns.items():
            if is_list(column):
                self._vectors.setdefault(name, Vectors(name, self.seed)).add(column, first, chosen, at, size)
                continue
            if is_text(column) and name[:1] != "@" and name not in self.plain:
                prose = self._prose.setdefault(name, Prose(name, answer=name == OUTPUT))
                prose.add(column, chosen, at, size)
                if prose.language:
                    continue
            kept[name] = column
        return kept

    def fitted(self) -> tuple[dict[str, Fitted], list[Ignored]]:
        """The encoders of all columns that have one, and why others have none."""
        found: dict[str, Fitted] = {}
        ignored = []
        for name, column in self._vectors.items():
            made = column.fitted()
            if isinstance(made, str):
                ignored.append(Ignored(name, made))
            else:
                found[name] = made
        for name, prose in self._prose.items():
            if prose.decide() and prose.fitted is not None:
                found[name] = prose.fitted
        return found, ignored
