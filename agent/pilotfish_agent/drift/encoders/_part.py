"""What an encoder is: one file of this folder; its name is the `kind` in the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pilotfish_core.nouns import Column


@dataclass(frozen=True, slots=True)
class Part:
    """One stream of an encoder.

    Attributes:
        suffix: behind the column's name, with its dot: ``.cell``.
        kind: of the stream.
        words: what it is, for people: "distance to its own centre".
    """

    suffix: str
    kind: Literal["numeric", "categorical"]
    words: str


class Encoder(Protocol):
    """A module of this folder.

    Attributes:
        COMPOSITE: whether people are told of one stream, with the part in the explanation; else the parts stand alone.
    """

    COMPOSITE: bool

    def parts(self, encoder: Mapping[str, Any]) -> tuple[Part, ...]:
        """The streams that this encoder gives."""

    def encode(self, column: Column, encoder: Mapping[str, Any]) -> list[Column]:
        """A column of each part, as long as ``column``, which may be anything: what does not fit is missing."""
