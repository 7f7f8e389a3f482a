"""What an alarm says: one text for log, API, page and annotations (docs/statistics.md, section 13). Pure.

Numbers come from the counts since the change began, so the effect is a little high at the alarm: it was chosen for
being large. Only what the reference holds is named: its edges and its admitted levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from pilotfish_agent.drift.dictionary import family, target
from pilotfish_agent.drift.effect import Effect
from pilotfish_agent.drift.layout import EPS, regular_bins
from pilotfish_agent.drift.reference import FeatureReference
from pilotfish_agent.drift.tables import StreamTables
from pilotfish_agent.drift.tested import Floats

NAME_LENGTH: Final = 80
LEVELS: Final = ("notice", "alarm")
HELD_BACK: Final = "; severity info: "
_SPECIAL: Final = ("missing", "+inf", "-inf")


@dataclass(frozen=True, slots=True)
class Crossing:
    """What is known at the moment a line was crossed.

    Attributes:
        stream: its name.
        level: 0 notice, 1 alarm.
        what: `what_changed`, or the contributors of `@model`.
        effect: None for `@model`.
        began: epoch seconds; rows: rows since then; timed: False for a log without times.
        evidence, threshold: nats.
        budget: as the operator wrote it.
        score_moved: whether `@score` moved as well; None where there is none or it is the stream itself.
        held_back: why the severity is only info; empty when it is not.
    """

    stream: str
    level: int
    what: str
    effect: Effect | None
    began: float
    rows: int
    evidence: float
    threshold: float
    budget: str
    score_moved: bool | None = None
    held_back: str = ""
    timed: bool = True


def sentence(c: Crossing) -> str:
    """The whole explanation."""
    parts = [f"{shown(c.stream)}: {c.what}"]
    if c.effect is not None:
        parts.append(
            f"effect {c.effect.value:.2f} [{c.effect.lower:.2f}, {c.effect.upper:.2f}] at the {LEVELS[c.level]}"
        )
    ago = f"{c.rows:,} rows ago"
    parts.append(f"began {moment(c.began)} ({ago})" if c.timed else f"began {ago}")
    parts.append(f"evidence {c.evidence:.1f} of {c.threshold:.1f} nats (budget {c.budget})")
    text = ", ".join(parts)
    if c.score_moved is not None:
        text += "; @score moved too" if c.score_moved else "; @score has not moved"
    if c.held_back:
        text += f"{HELD_BACK}{c.held_back}"
    return text


def freed(explanation: str) -> str:
    """The explanation of a held-back alarm without the reason why its severity is only info."""
    return explanation.rpartition(HELD_BACK)[0] or explanation


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


def what_changed(stream: FeatureReference, tables: StreamTables, winner: str, since: Floats) -> str:
    """The change in words, by the family of the winning alternative.

    Args:
        stream: edges or levels, and reference counts.
        tables: for masses and scores.
        winner: name of the alternative with the most evidence.
        since: counts since the change began, (K,).
    """
    if since.sum() <= 0:
        return "distribution changed"
    before, now = _shares(stream.counts), _shares(since)
    if stream.kind == "categorical":
        return _levels(stream, winner, before, now)
    kind = family(winner)
    regular = regular_bins(len(before), tables.special)
    inside = now[regular].sum()
    if kind in ("location", "scale", "locscale") and inside > 0:
        return _moments(stream, tables, kind, before, now)
    if kind == "special":
        bin_ = tables.special[target(winner) or 0]
        return f"{_SPECIAL[tables.special.index(bin_)]} {_step(before[bin_], now[bin_])}"
    if kind == "tail":
        return _tails(tables, winner, before, now)
    if kind == "octile":
        return _octile(stream, tables, target(winner) or 0, before, now)
    if kind == "spike":
        k = target(winner) or 0
        return f"{_range(stream, k, k)}: {_step(before[k], now[k])}"
    return "shape changed: " + ", ".join(
        f"{_bin(stream, b)}: {_step(before[b], now[b])}" for b in _movers(tables.pi, before, now)
    )


def _shares(counts: Sequence[float] | Floats | np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
    c = np.asarray(counts, np.float64)
    shares: Floats = c / c.sum()
    return shares


def _step(before: float, now: float) -> str:
    return f"{percent(before)} -> {percent(now)}"


def percent(share: float) -> str:
    """A share in percent with two or three digits: ``0.12 %``, ``5 %``, ``43.1 %``."""
    return f"{100 * share:.3g} %" if share >= 0.01 else f"{100 * share:.2g} %"


def _movers(pi: Floats, before: Floats, now: Floats, most: int = 3) -> list[int]:
    """The bins that differ most, in units of the effect; the largest gain first among equals."""
    size = (now - before) ** 2 / np.maximum(pi, EPS)
    return [int(b) for b in np.argsort(-size, kind="stable")[:most] if size[b] > 0]


def _levels(stream: FeatureReference, winner: str, before: Floats, now: Floats) -> str:
    pi = np.maximum(before, EPS)
    if family(winner) != "level":
        return "shape changed: " + ", ".join(
            f"{_bin(stream, b)} {_step(before[b], now[b])}" for b in _movers(pi, before, now)
        )
    b = target(winner) or 0
    text = f"{_bin(stream, b)} {_step(before[b], now[b])}"
    # Shares sum to 1, so a loss is somebody's gain: the level that gained the most is what the reader looks for.
    gained = int(np.argmax(now - before))
    if gained != b and now[gained] - before[gained] >= abs(now[b] - before[b]) / 2:
        text += f", {_bin(stream, gained)} {_step(before[gained], now[gained])}"
    return text


def _bin(stream: FeatureReference, b: int) -> str:
    """A bin in words."""
    if stream.kind == "categorical":
        levels = stream.levels or ()
        if b < len(levels):
            return f"'{shown(levels[b])}'"
        if b == len(levels):
            return "other categories" if stream.counts[b] else "unseen categories"
        return "missing"
    regular = len(stream.counts) - len(_SPECIAL)
    return _SPECIAL[b - regular] if b >= regular else _range(stream, b, b)


def _range(stream: FeatureReference, first: int, last: int) -> str:
    """The values of regular bins ``first`` to ``last`` in words."""
    edges = stream.edges
    if edges is None or not len(edges):
        return "values"
    if first <= 0 and last >= len(edges):
        return "all values"
    if first <= 0:
        return f"values up to {_number(edges[last])}"
    if last >= len(edges):
        return f"values above {_number(edges[first - 1])}"
    return f"values between {_number(edges[first - 1])} and {_number(edges[last])}"


def _number(x: float) -> str:
    return f"{x:.4g}"


def _moments(stream: FeatureReference, tables: StreamTables, kind: str, before: Floats, now: Floats) -> str:
    """Location and spread from the normal scores of the bins: sd are those of the reference, made normal."""
    special = list(tables.special)
    inside = 1 - float(now[special].sum())
    mean = float(now @ tables.scores[0]) / inside
    square = 1 + float(now @ tables.scores[1]) * math.sqrt(2) / inside
    parts = []
    if kind != "scale":
        median = f"median {_quantile(stream, before, 0.5)} -> {_quantile(stream, now, 0.5)}"
        parts.append(f"mean {'up' if mean >= 0 else 'down'} by about {abs(mean):.2g} sd ({median})")
    if kind != "location":
        middle = " -> ".join(f"{_quantile(stream, s, 0.25)} to {_quantile(stream, s, 0.75)}" for s in (before, now))
        parts.append(f"spread x{math.sqrt(max(square - mean * mean, 0.0)):.2g} (middle half {middle})")
    return ", ".join(parts)


def _quantile(stream: FeatureReference, shares: Floats, q: float) -> str:
    """A quantile of binned values, linear inside a bin; beyond the outer edges only the edge is known."""
    edges = np.asarray(stream.edges)
    mass = shares[: len(edges) + 1]
    upto = np.cumsum(mass / mass.sum())
    k = int(np.searchsorted(upto, q))
    if k == 0:
        return f"<= {_number(edges[0])}"
    if k >= len(edges):
        return f"> {_number(edges[-1])}"
    part = (q - upto[k - 1]) / max(upto[k] - upto[k - 1], 1e-12)
    return _number(edges[k - 1] + part * (edges[k] - edges[k - 1]))


def _middle(tables: StreamTables) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Floats]:
    """Positions of the regular bins, and the reference mass below the middle of each."""
    regular = np.flatnonzero(regular_bins(len(tables.pi), tables.special))
    mass = tables.pi[regular] / tables.pi[regular].sum()
    return regular, np.cumsum(mass) - mass / 2


def _tails(tables: StreamTables, winner: str, before: Floats, now: Floats) -> str:
    side, _, rest = winner.removeprefix("tail_").partition("1e")
    low, high, width = ("0.1 %", "99.9 %", 0.0011) if rest.startswith("-03") else ("1 %", "99 %", 0.011)
    regular, middle = _middle(tables)
    below, above = middle < width, middle > 1 - width
    where, bins = {
        "lo": (f"below the reference's {low} point", below),
        "hi": (f"beyond the reference's {high} point", above),
    }.get(side, (f"beyond the reference's {low} and {high} points", below | above))
    chosen = regular[bins]
    return f"values {where}: {_step(before[chosen].sum(), now[chosen].sum())}"


def _octile(stream: FeatureReference, tables: StreamTables, k: int, before: Floats, now: Floats) -> str:
    regular, middle = _middle(tables)
    chosen = regular[(middle > k / 8) & (middle <= (k + 1) / 8)]
    if not len(chosen):
        return "shape changed"
    words = _range(stream, int(chosen[0]), int(chosen[-1]))
    return f"{words}: {_step(before[chosen].sum(), now[chosen].sum())}"
