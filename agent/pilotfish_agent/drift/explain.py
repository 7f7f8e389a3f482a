"""What an alarm says: one text for log, API, page and annotations (docs/statistics.md, section 13). Pure.

The facts are those of an Entry; what becomes known later (another stream moves too, a version is noticed) is added to
them, and the text is made anew. Only what the reference holds is named: its edges and its admitted levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pilotfish_agent.drift.latch import Entry

NAME_LENGTH: Final = 80
NAMED: Final = 5
"""Streams that moved together which the text names; the API has more."""


def sentence(e: Entry) -> str:
    """The whole explanation."""
    name = f"{shown(e.feature)}: {e.part}" if e.part else shown(e.feature)
    if e.kind == "resolved":
        return f"{name}: {e.what}"
    parts = [f"{name}: {e.what}"]
    if e.effect is not None and e.effect_lower is not None and e.effect_upper is not None:
        when = "now" if e.kind == "rise" else f"at the {e.level}"
        parts.append(f"effect {e.effect:.2f} [{e.effect_lower:.2f}, {e.effect_upper:.2f}] {when}")
    ago = f"{e.since_rows:,} rows ago"
    parts.append(f"began {moment(e.began)} ({ago})" if e.timed else f"began {ago}")
    parts.append(f"evidence {e.evidence:.1f} of {e.threshold:.1f} nats (budget {e.budget})")
    return "; ".join((", ".join(parts), *_beside(e)))


def _beside(e: Entry) -> list[str]:
    """What was found beside the change itself."""
    found = []
    if e.bins:
        found.append("most moved: " + ", ".join(f"{words}: {step(before, now)}" for words, before, now in e.bins[:3]))
    if e.together:
        found.append(f"moved together with {listed(e.together)}")
    if e.score_moved is not None:
        found.append("@score moved too" if e.score_moved else "@score has not moved")
    found += e.hints
    if e.held_back:
        found.append(f"severity info: {e.held_back}")
    return found


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
