"""What a decoder is: one file of this folder with `route` and `decode`; its name is the protocol's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from pilotfish_core.nouns import Exchange, Observation

PROBLEMS: Final = {
    "body_cut": "the copy holds only the beginning of a body",
    "body_large": "a body above the limit, with its content coding taken off",
    "coding_broken": "a content coding that does not hold what it says",
    "coding_unknown": "a content coding that is not read, or more than one",
    "coding_window": "a brotli or zstd window above the limit",
    "content_type": "a body of another kind than the protocol's",
    "failed": "a fault of the decoder itself",
    "json_broken": "a body that is no JSON",
    "json_deep": "JSON nested deeper than any request of a model",
    "json_wide": "JSON whose values would take more memory than the limit",
    "rows_differ": "as many rows in the request as in the answer are expected, and there are not",
    "shape": "JSON, or tensors, of another form than the protocol's",
    "stream_error": "a streamed answer that ended in an error after a successful status",
}
"""Why an exchange, or a part of it, could not be read. Each is a value of the label `reason`."""


class Unreadable(Exception):  # noqa: N818 - foreign bytes, not a fault of ours
    """A body that cannot be read.

    Attributes:
        reason: a word of `PROBLEMS`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Route:
    """What a request line alone tells.

    Attributes:
        protocol: name of the decoder.
        operation: predict, infer, chat, ...; a word of the protocol's, never a piece of a path.
        model, version: as asked for in the path; they are the server's only once it answered with success.
    """

    protocol: str
    operation: str
    model: str | None = None
    version: str | None = None


class Decoder(Protocol):
    """A module of this folder, or what its ``make(config)`` gives.

    A decoder whose paths another one also answers to may have ``recognises(exchange) -> bool``: whether this
    answer is its own.
    """

    def route(self, method: str, path: str) -> Route | None:
        """What a request line asks for, None when it is not of this protocol; cheap, and of the line only."""

    def decode(self, exchange: Exchange, route: Route) -> Observation:
        """What was said in an exchange with a status of 2xx.

        Raises:
            Unreadable: when nothing can be read.
        """
