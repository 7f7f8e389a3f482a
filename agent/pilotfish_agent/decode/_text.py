"""Text is reduced to what describes it: length, script, refusal, repetition. None of it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from pilotfish_core.nouns import Column

MAX_CATEGORY: Final = 64
"""Characters of a category; a longer text is language."""
MAX_WORDS: Final = 6
_LOOKED_AT: Final = 4_096  # characters of a text that script and repetition are taken from
_SCRIPTS: Final = (
    ("latin", re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")),
    ("cyrillic", re.compile("[\u0400-\u052f]")),
    ("greek", re.compile("[\u0370-\u03ff\u1f00-\u1fff]")),
    ("hebrew", re.compile("[\u0590-\u05ff]")),
    ("arabic", re.compile("[\u0600-\u06ff\u0750-\u077f]")),
    ("devanagari", re.compile("[\u0900-\u097f]")),
    ("thai", re.compile("[\u0e00-\u0e7f]")),
    ("kana", re.compile("[\u3040-\u30ff]")),
    ("hangul", re.compile("[\u1100-\u11ff\uac00-\ud7af]")),
    ("han", re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")),
)
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
        found[f"{name}.length"] = [float("nan") if text is None else float(len(text)) for text in language]
        found[f"{name}.script"] = [None if text is None else script(text) for text in language]
        if all(text is None for text in kept):
            return found
    return {name: kept, **found}


def script(text: str) -> str:
    """The script of most letters: latin, han, ...; ``other`` of a script not known, ``none`` without letters."""
    text = text[:_LOOKED_AT]
    counts = [(len(pattern.findall(text)), name) for name, pattern in _SCRIPTS]
    most, name = max(counts, key=lambda pair: pair[0])
    letters = sum(map(str.isalpha, text))
    if not letters:
        return "none"
    return name if 2 * most >= letters or most == max(letters - most, most) else "other"


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
