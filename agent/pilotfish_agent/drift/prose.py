"""Columns of texts on their way into a reference: once it shows that they are language, only what describes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pilotfish_agent.drift import composites
from pilotfish_agent.drift.encoders import text
from pilotfish_agent.drift.kept import KeptColumn
from pilotfish_agent.drift.layout import Ints
from pilotfish_agent.drift.vectors import Fitted
from pilotfish_core.nouns import Column

LOOKED_AT: Final = 200
"""Texts by which a column is told to be language, or categories."""


@dataclass(slots=True)
class Prose:
    """The texts of one column.

    Attributes:
        name: of the column.
        language: whether they are language; None: not known yet.
        fitted: the encoder with the parts of all rows so far, None while they are no language.
    """

    name: str
    answer: bool = False
    language: bool | None = None
    fitted: Fitted | None = None
    _held: list[tuple[Column, Ints | None, Ints, int]] = field(default_factory=list)

    def add(self, column: Column, chosen: Ints | None, at: Ints, size: int) -> None:
        """Takes a batch's texts; arguments as of `KeptColumn.add`."""
        if self.language is None:
            self._held.append((column, chosen, at, size))
            if sum(t is not None for texts, *_ in self._held for t in texts) >= LOOKED_AT:
                self.decide()
        elif self.fitted is not None:
            self._keep(column, chosen, at, size)

    def decide(self) -> bool:
        """Whether the texts are language, by those that came so far."""
        if self.language is None:
            self.language = text.is_language([t for texts, *_ in self._held for t in texts])
            held, self._held = self._held, []
            if self.language:
                encoder: dict[str, Any] = {"kind": "text", "answer": self.answer}
                names = [stream for stream, _ in composites.streams(self.name, encoder)]
                self.fitted = Fitted(encoder, 0, {stream: KeptColumn(rising=False) for stream in names})
                for one in held:
                    self._keep(*one)
        return self.language

    def _keep(self, column: Column, chosen: Ints | None, at: Ints, size: int) -> None:
        assert self.fitted is not None
        for stream, values in composites.encoded(self.name, column, len(column), self.fitted.encoder).items():
            self.fitted.parts[stream].add(values, chosen, at, size)
