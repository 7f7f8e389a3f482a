"""What an encoder is: one file of this folder; its name is the `kind` in the reference.

Functions of a module:
    parts(encoder): the streams that it gives; people are told of them as one, with the part in the explanation.
    encode(column, encoder): a column of each part, as long as ``column``, which may be anything: what does not fit is
        missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
