"""One transition of a stream, and what an alarm says: one text for log, API, page and annotations. Pure.

What becomes known later (another stream moves too, a version is noticed) is added to the facts, and the text is made
anew (docs/statistics.md, section 13). Only what the reference holds is named: its edges and its admitted levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pilotfish_agent.drift.explain import listed, moment, shown, step
from pilotfish_core.nouns import Severity

Kind = Literal["alarm", "notice", "rise", "resolved"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One transition of a stream, or of `@model`, with the facts of its explanation.

    Attributes:
        kind: ``alarm`` and ``notice``: the line of that level was crossed; ``rise``: a latched alarm became more
            severe; ``resolved``: a latch opened.
        level: alarm or notice.
        feature: the stream; of a part of a composite stream, the composite.
        ts: epoch seconds of the tick's end.
        began: epoch seconds of the first shifted tick; tick: its number; timed: False for a log without times.
        row: rows of the model up to and including this tick, counted from 1.
        since_rows: rows since ``began``.
        evidence, threshold: nats, at that level.
        effect, effect_lower, effect_upper: chi distance; None for `@model`.
        what: `changes.what_changed`, or the contributors of `@model`, or how it ended.
        budget: as the operator wrote it.
        part: which part of a composite stream, in words.
        bins: those that moved most (`changes.Moved`), where ``what`` does not say so.
        together: names of streams that moved at the same time.
        score_moved: whether `@score` moved as well; None where there is none or it is the stream itself.
        hints: what the change looks like, or what explains it.
        held_back: why the severity is only info; empty when it is not.
    """

    kind: Kind
    level: Literal["alarm", "notice"]
    model: str
    feature: str
    ts: float
    began: float
    row: int
    since_rows: int
    severity: Severity
    evidence: float
    threshold: float
    effect: float | None
    effect_lower: float | None
    effect_upper: float | None
    what: str
    budget: str = ""
    tick: int = 0
    timed: bool = True
    part: str = ""
    bins: Sequence[tuple[str, float, float]] = ()
    together: Sequence[str] = ()
    score_moved: bool | None = None
    hints: Sequence[str] = ()
    held_back: str = ""

    @property
    def explanation(self) -> str:
        """The whole text, for people."""
        return _sentence(self)


def _sentence(e: Entry) -> str:
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
