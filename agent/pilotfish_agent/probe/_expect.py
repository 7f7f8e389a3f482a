"""Whether a canary's answer is the expected one."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-4
"""Relative and absolute: another CPU, thread count or batch moves float32 results by about 1e-6, a wrong model more."""
_METHODS = ("GET", "POST", "PUT")


@dataclass(frozen=True, slots=True)
class Canary:
    """A request with a known answer: ``POST /v1/models/fraud:predict {"instances": [[1, 2]]}``."""

    method: str
    path: str
    body: bytes | None

    def __str__(self) -> str:
        return f"{self.method} {self.path} {(self.body or b'').decode()}".strip()


def canary(value: Any) -> Canary:
    """A parser for the configuration."""
    words = str(value).split(maxsplit=2)
    if len(words) < 2 or words[0] not in _METHODS or not words[1].startswith("/") or len(str(value)) > 100_000:
        raise ValueError('a method, a path and a body such as `POST /v1/models/a:predict {"instances": [[1]]}`')
    body = words[2].encode() if len(words) == 3 else None
    return Canary(words[0], words[1], body)


def meets(expected: str, body: bytes) -> bool:
    """Whether ``body`` holds what is ``expected``.

    Both JSON: every key and item of the expected one is there, lists have the same length, numbers are equal within
    `TOLERANCE`. Else: the text occurs in the answer.
    """
    text = body.decode("utf-8", "replace")
    try:
        wanted = json.loads(expected)
        got = json.loads(text)
        if isinstance(wanted, dict | list):
            return _holds(wanted, got)
    except (ValueError, RecursionError):
        pass
    return expected.strip() in text


def _holds(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(got, dict) and all(k in got and _holds(v, got[k]) for k, v in wanted.items())
    if isinstance(wanted, list):
        same = isinstance(got, list) and len(got) == len(wanted)
        return same and all(_holds(a, b) for a, b in zip(wanted, got, strict=True))
    if _number(wanted) and _number(got):
        return math.isclose(wanted, got, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(wanted) is type(got) and bool(wanted == got)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
