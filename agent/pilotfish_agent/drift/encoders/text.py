"""Texts that are language: length and script; of answers also refusal and repetition, as decoders tell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pilotfish_agent import language
from pilotfish_agent.drift.encoders._part import Part
from pilotfish_core.nouns import Column

_LANGUAGE_SHARE = 0.5
_OF_ALL = (Part(".length", "numeric", "length"), Part(".script", "categorical", "script"))
_OF_ANSWERS = (Part(".refusal", "categorical", "refusal"), Part(".repetition", "numeric", "repetition"))


def parts(encoder: Mapping[str, Any]) -> tuple[Part, ...]:
    """Length and script; of an ``answer`` also whether it refuses, and how much it repeats itself."""
    return (*_OF_ALL, *_OF_ANSWERS) if encoder["answer"] else _OF_ALL


def encode(column: Column, encoder: Mapping[str, Any]) -> list[Column]:
    """What describes each text; missing where there is none."""
    texts: list[Any] = list(column) if isinstance(column, list | tuple) else [None] * len(column)
    texts = [text if isinstance(text, str) else None for text in texts]
    made: list[Column] = [
        np.array([np.nan if t is None else len(t) for t in texts], np.float64),
        [None if t is None else language.script(t) for t in texts],
    ]
    if encoder["answer"]:
        made.append([None if t is None else "true" if language.refused(t) else "false" for t in texts])
        made.append(np.array([np.nan if t is None else language.repetition(t) for t in texts], np.float64))
    return made


def is_language(texts: Sequence[str | None]) -> bool:
    """Whether most of the texts are no categories: long, of many words, or of several lines."""
    told = [text for text in texts if text is not None]
    return sum(not language.is_category(text) for text in told) > _LANGUAGE_SHARE * len(told)
