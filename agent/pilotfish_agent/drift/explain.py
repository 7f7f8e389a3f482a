"""Names, moments and shares in words, for all that is told (docs/statistics.md, section 13). Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

NAME_LENGTH: Final = 80
NAMED: Final = 5
"""Streams that moved together which the text names; the API has more."""


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """Foreign names for one line: the first few, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def moment(seconds: float) -> str:
    """Epoch seconds for people, UTC; out of the calendar's range the number itself."""
    try:
        return datetime.fromtimestamp(math.floor(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g}"


def shown(name: str) -> str:
    """A foreign name fit for one line: printable, at most 80 characters."""
    text = name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
    return text if len(text) <= NAME_LENGTH else text[: NAME_LENGTH - 1] + "…"


def step(before: float, now: float) -> str:
    """Two shares in percent: ``1 % -> 5 %``."""
    return f"{percent(before)} -> {percent(now)}"


def percent(share: float) -> str:
    """A share in percent with two or three digits: ``0.12 %``, ``5 %``, ``43.1 %``."""
    return f"{100 * share:.3g} %" if share >= 0.01 else f"{100 * share:.2g} %"
