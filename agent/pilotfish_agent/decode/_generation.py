"""What the protocols of generated text share: tokens, choices, reasons; texts come in and their descriptions go out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pilotfish_agent import language
from pilotfish_agent.decode import _lists
from pilotfish_core.nouns import Column, Tokens

MAX_CHOICES: Final = 128
MAX_TOKENS: Final = 10**9
_KEPT: Final = 4_096  # characters of an answer that are looked at, as `language` does
REASONS: Final = frozenset({
    "stop", "length", "tool_calls", "content_filter", "function_call", "abort", "cancelled", "error", "eos_token",
    "stop_sequence", "max_tokens", "max_output_tokens", "completed", "repetition", "load", "unload",
})  # fmt: skip
"""Finish reasons that servers are known to give; any other one is `other`: a label's values are a closed list."""


class Choice:
    """One generated answer as it comes in, in pieces. Only its beginning is held, for `features`."""

    __slots__ = ("_kept", "_pieces", "length", "reason", "refused", "tools")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._kept = 0
        self.length = 0
        self.tools = 0
        self.refused = False
        self.reason: str | None = None

    def add(self, piece: str) -> None:
        """A piece of its text."""
        self.length += len(piece)
        if self._kept < _KEPT:
            self._pieces.append(piece[: _KEPT - self._kept])
            self._kept += len(self._pieces[-1])

    def finish(self, reason: Any) -> None:
        """Its reason to end, where it is one."""
        if isinstance(reason, str) and reason:
            self.reason = reason if reason in REASONS else "other"

    def features(self) -> Iterable[tuple[str, float | str]]:
        """(feature, value): what is known of the text; not the text."""
        text = "".join(self._pieces)
        yield "output.length", float(self.length)
        yield "output.script", language.script(text)
        yield "output.refusal", "true" if self.refused or language.refused(text) else "false"
        yield "output.repetition", language.repetition(text)
        yield "output.tool_calls", float(self.tools)


def reasons(choices: Iterable[Choice]) -> tuple[str, ...]:
    """The finish reasons of the choices that have one."""
    return tuple(choice.reason for choice in choices if choice.reason is not None)


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    """Columns of rows of descriptions, and of embeddings."""
    names = dict.fromkeys(name for row in rows for name in row)
    found: dict[str, Column] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if (lists := _lists.rows(values)) is not None:
            found[name] = lists
        elif any(isinstance(v, str) for v in values):
            found[name] = values
        else:
            from array import array

            found[name] = array("d", [float("nan") if v is None else float(v) for v in values])
    return found


def count(value: Any) -> int | None:
    """A number of tokens; None of what is none."""
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def tokens(usage: Any) -> Tokens | None:
    """The tokens of a `usage` object, in the words of chat completions or of responses; None when it has none."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details", usage.get("input_tokens_details"))
    more = usage.get("completion_tokens_details", usage.get("output_tokens_details"))
    found = Tokens(
        input=count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        output=count(usage.get("completion_tokens", usage.get("output_tokens"))),
        cached_input=count(details.get("cached_tokens")) if isinstance(details, dict) else None,
        reasoning_output=count(more.get("reasoning_tokens")) if isinstance(more, dict) else None,
    )
    return found if found != Tokens() else None


def texts(content: Any) -> str:
    """The text of a message's content: a text, or the texts among its parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
