"""Text is reduced to what describes it: length, script, refusal, repetition. None of it is kept."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import nan
from typing import Final

from pilotfish_core.nouns import Column

MAX_CATEGORY: Final = 64
"""Characters of a category; a longer text is language."""
MAX_WORDS: Final = 6
_LOOKED_AT: Final = 4_096  # characters of a text that repetition is taken from
_LETTERS_OF: Final = 200  # characters that the script is taken from: a letter costs some 0.1 us
_BLOCKS: Final = (
    (0x41, "latin"), (0x250, "other"), (0x370, "greek"), (0x400, "cyrillic"), (0x530, "other"), (0x590, "hebrew"),
    (0x600, "arabic"), (0x700, "other"), (0x750, "arabic"), (0x780, "other"), (0x900, "devanagari"), (0x980, "other"),
    (0xE00, "thai"), (0xE80, "other"), (0x1100, "hangul"), (0x1200, "other"), (0x1E00, "latin"), (0x1F00, "greek"),
    (0x2000, "other"), (0x3040, "kana"), (0x3100, "other"), (0x3400, "han"), (0xA000, "other"), (0xAC00, "hangul"),
    (0xD7B0, "other"), (0xF900, "han"), (0xFB00, "other"), (0x20000, "han"), (0x33000, "other"),
)  # fmt: skip
"""First code point of each block (Unicode, Blocks.txt, coarse) and the script of its letters."""
SCRIPTS: Final = frozenset(name for _, name in _BLOCKS) | {"none"}
_STARTS: Final = [start for start, _ in _BLOCKS]
_LATIN = re.compile("[A-Za-z]")
_REFUSAL = re.compile(
    r"(?:I(?:['’]m| am) (?:very |so |really )?(?:sorry|afraid)|I apologi[sz]e|Sorry,)[^.!?\n]{0,80}?"  # noqa: RUF001
    r"(?:can(?:['’]t|not| not)|won['’]t|unable|not able|not allowed|must decline)"  # noqa: RUF001
    r"|I(?:['’]m unable to| can(?:['’]t|not| not)| won['’]t| am unable to| must decline to)"  # noqa: RUF001
    r" (?:assist|help|provide|fulfil|comply|create|write|answer|engage|share|discuss|support|do that)"
    r"|As an AI(?: language)? model, I (?:can(?:['’]t|not| not)|do not|don['’]t|am not able)",  # noqa: RUF001
    re.IGNORECASE,
)


def is_category(text: str) -> bool:
    """Whether a text may be the name of a class: short, one line, of few words."""
    return len(text) <= MAX_CATEGORY and text.count(" ") < MAX_WORDS and "\n" not in text


def category(text: str | None) -> str | None:
    """The text when it may be a category, else None."""
    return text if text is not None and is_category(text) else None


def columns(name: str, texts: Sequence[str | None]) -> dict[str, Column]:
    """Columns of one feature's texts: the categories, and the length and script of those that are language."""
    kept = [category(text) for text in texts]
    language = [text if text is not None and cat is None else None for text, cat in zip(texts, kept, strict=True)]
    found: dict[str, Column] = {}
    if any(text is not None for text in language):
        found[f"{name}.length"] = array("d", [nan if text is None else len(text) for text in language])
        found[f"{name}.script"] = [None if text is None else script(text) for text in language]
        if all(text is None for text in kept):
            return found
    return {name: kept, **found}


def script(text: str) -> str:
    """The script of most letters of a text's beginning: latin, han, ...; ``none`` without letters."""
    if text.isascii():
        return "latin" if _LATIN.search(text) else "none"
    counts: dict[str, int] = {}
    for letter in filter(str.isalpha, text[:_LETTERS_OF]):
        name = _BLOCKS[bisect_right(_STARTS, ord(letter)) - 1][1]
        counts[name] = counts.get(name, 0) + 1
    return max(counts, key=counts.__getitem__) if counts else "none"


def refused(text: str) -> bool:
    """Whether an answer begins like a refusal (English wordings of the common assistants)."""
    return _REFUSAL.search(text[:300]) is not None


def repetition(text: str) -> float:
    """Share of a text's runs of four words that were in it before: 0 of plain prose, towards 1 of a loop."""
    words = text[:_LOOKED_AT].split()
    if len(words) < 8:
        return 0.0
    runs = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    return 1.0 - len(set(runs)) / len(runs)


def described(prefix: str, text: str) -> Iterable[tuple[str, float | str]]:
    """(feature, value) of a text; the text itself is not among them."""
    yield f"{prefix}.length", float(len(text))
    yield f"{prefix}.script", script(text)


def said(text: str) -> Iterable[tuple[str, float | str]]:
    """(feature, value) of a generated text."""
    yield from described("output", text)
    yield "output.refusal", "true" if refused(text) else "false"
    yield "output.repetition", repetition(text)
