"""What changed in one stream, in words, by the family of the winning alternative; and which bins moved most. Pure.

Numbers come from the counts since the change began, so they are a little large at the alarm: it was chosen for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from pilotfish_agent.drift.dictionary import Family, family, target
from pilotfish_agent.drift.explain import percent, shown, step
from pilotfish_agent.drift.layout import EPS, Floats, Ints, regular_bins
from pilotfish_agent.drift.masses import Masses
from pilotfish_agent.drift.reference import FeatureReference

MOST_BINS: Final = 5
SPECIAL_WORDS: Final = ("missing", "+inf", "-inf")
_NAMES_BINS: Final[frozenset[Family]] = frozenset({"octile", "spike", "special", "level"})
"""Families whose words are shares of bins already."""
FAR: Final = 1.0
"""From so many sd on a shift is a shift, whatever alternative has the most evidence: all of them have enough."""
MOST_OF_ALL: Final = 0.6
"""A bin with so much of the effect is the change, whatever alternative has the most evidence."""
_OF_BINS: Final = frozenset({"spike", "tail", "plug_fine10000", "plug_fine100000"})
"""Families and alternatives that one bin may decide."""


class Moved(NamedTuple):
    """One bin: what it holds in words, its share in the reference and since the change began."""

    words: str
    expected: float
    observed: float


def what_changed(stream: FeatureReference, tables: Masses, winner: str, since: Floats) -> str:
    """The change in words.

    Args:
        stream: edges or levels, and reference counts.
        tables: for masses and scores.
        winner: name of the alternative with the most evidence.
        since: counts since the change began, (K,).
    """
    if since.sum() <= 0:
        return "distribution changed"
    before, now = shares(stream.counts), shares(since)
    kind = family(winner)
    if stream.kind == "categorical":
        level = target(winner) if kind == "level" else _only(before, now, before)
        return _shape(stream, kind, winner) if level is None else _level(stream, level, before, now)
    mean = _mean(tables, now)
    if mean is not None and kind in ("location", "scale", "locscale"):
        far = kind == "scale" and abs(mean) >= FAR
        return _moments(stream, tables, "location" if far else kind, before, now)
    if kind == "special":
        return _one(stream, tables.special[target(winner) or 0], before, now)
    if kind == "spike":
        return _one(stream, target(winner) or 0, before, now)
    if kind == "tail":
        return _tails(tables, winner, before, now)
    if kind == "octile":
        return _octile(stream, tables, target(winner) or 0, before, now)
    if mean is not None and abs(mean) >= FAR:
        return _moments(stream, tables, "location", before, now)
    only = _only(before, now, tables.pi) if kind == "plugin" else None
    return _shape(stream, kind, winner) if only is None else _one(stream, only, before, now)


def most_moved(
    stream: FeatureReference, tables: Masses, winner: str, since: Floats, most: int = MOST_BINS
) -> list[Moved]:
    """The parts that differ most, in units of the effect: single bins where the winner speaks of them, else eighths."""
    if since.sum() <= 0:
        return []
    before, now = shares(stream.counts), shares(since)
    first = np.arange(len(before))
    if stream.kind == "numeric" and family(winner) not in _OF_BINS and winner not in _OF_BINS:
        starts = np.diff(tables.coarse_map, prepend=-1) != 0
        first = np.flatnonzero(starts | ~regular_bins(len(before), tables.special))
    last = np.append(first[1:], len(before)) - 1
    a, b = np.add.reduceat(before, first), np.add.reduceat(now, first)
    size = (b - a) ** 2 / np.maximum(a, EPS)
    chosen = [g for g in np.argsort(-size, kind="stable")[:most].tolist() if size[g] > 0]
    return [Moved(_part(stream, int(first[g]), int(last[g])), float(a[g]), float(b[g])) for g in chosen]


def _part(stream: FeatureReference, first: int, last: int) -> str:
    return bin_words(stream, first) if first == last else _range(stream, first, last)


def names_bins(winner: str) -> bool:
    """Whether `what_changed` says the shares of bins, so that the text needs no more of them."""
    return family(winner) in _NAMES_BINS


def shares(counts: Sequence[float] | Floats | Ints) -> Floats:
    """Counts over their sum."""
    c = np.asarray(counts, np.float64)
    found: Floats = c / c.sum()
    return found


def times(before: float, now: float) -> str:
    """By which factor a share moved, where it was there and has at least doubled or halved: `` (x2)``; else empty."""
    if before <= 0 or now <= 0 or before / 2 < now < before * 2:
        return ""
    return f" (x{now / before:.2g})" if now < 100 * before else f" (x{now / before:,.0f})"


def _only(before: Floats, now: Floats, pi: Floats) -> int | None:
    """The bin that makes most of the effect, where one does."""
    size = (now - before) ** 2 / np.maximum(pi, EPS)
    b = int(np.argmax(size))
    return b if size[b] >= MOST_OF_ALL * size.sum() > 0 else None


def _one(stream: FeatureReference, b: int, before: Floats, now: Floats) -> str:
    """One bin of a numeric stream."""
    name = bin_words(stream, b)
    return f"{name}{'' if name in SPECIAL_WORDS else ':'} {step(before[b], now[b])}{times(before[b], now[b])}"


def _level(stream: FeatureReference, b: int, before: Floats, now: Floats) -> str:
    text = f"{bin_words(stream, b)} {step(before[b], now[b])}{times(before[b], now[b])}"
    # Shares sum to 1, so a loss is somebody's gain: the level that gained the most is what the reader looks for.
    gained = int(np.argmax(now - before))
    if gained != b and now[gained] - before[gained] >= abs(now[b] - before[b]) / 2:
        text += f", {bin_words(stream, gained)} {step(before[gained], now[gained])}"
        text += times(before[gained], now[gained])
    return text


def _shape(stream: FeatureReference, kind: Family, winner: str) -> str:
    """Where one number does not tell it, the bins do: `most_moved`."""
    if kind in ("skew", "kurtosis"):
        more = "-" not in winner
        if kind == "skew":
            return f"shape changed, skewed towards {'high' if more else 'low'} values"
        return f"shape changed, {'heavier' if more else 'lighter'} tails"
    return "shape changed" if stream.kind == "numeric" else "shares of the levels changed"


def bin_words(stream: FeatureReference, b: int) -> str:
    """A bin in words."""
    if stream.kind == "categorical":
        levels = stream.levels or ()
        if b < len(levels):
            return f"'{shown(levels[b])}'"
        if b == len(levels):
            return "other categories" if stream.counts[b] else "unseen categories"
        return "missing"
    regular = len(stream.counts) - len(SPECIAL_WORDS)
    return SPECIAL_WORDS[b - regular] if b >= regular else _range(stream, b, b)


def _range(stream: FeatureReference, first: int, last: int) -> str:
    """The values of regular bins ``first`` to ``last`` in words."""
    edges = stream.edges
    if edges is None or not len(edges):
        return "values"
    if first <= 0 and last >= len(edges):
        return "all values"
    if stream.stratum_edges is not None:
        return _ranks(stream, first, last)
    if first <= 0:
        return f"values up to {number(edges[last])}"
    if last >= len(edges):
        return f"values above {number(edges[first - 1])}"
    return f"values between {number(edges[first - 1])} and {number(edges[last])}"


def _ranks(stream: FeatureReference, first: int, last: int) -> str:
    """The same where each hour has edges of its own: the ranks that they are."""
    regular = stream.counts[: len(stream.counts) - len(SPECIAL_WORDS)]
    upto = np.concatenate(([0.0], np.cumsum(shares(regular))))
    low, high = percent(float(upto[first])), percent(float(upto[last + 1]))
    if first <= 0:
        return f"values below the {high} point of their hour"
    if last + 1 >= len(regular):
        return f"values above the {low} point of their hour"
    return f"values between the {low} and {high} points of their hour"


def number(x: float) -> str:
    """A number with four digits."""
    return f"{x:.4g}"


def _mean(tables: Masses, now: Floats) -> float | None:
    """Mean of the rows' normal scores, in sd of the reference; None where no row has a number."""
    inside = float(now[regular_bins(len(now), tables.special)].sum())
    return float(now @ tables.scores[0]) / inside if inside > 0 else None


def _moments(stream: FeatureReference, tables: Masses, kind: Family, before: Floats, now: Floats) -> str:
    """Location and spread from the normal scores of the bins: sd are those of the reference, made normal."""
    inside = 1 - float(now[list(tables.special)].sum())
    mean = _mean(tables, now) or 0.0
    square = 1 + float(now @ tables.scores[1]) * math.sqrt(2) / inside
    parts = []
    if kind != "scale":
        median = _quantiles(stream, before, now, 0.5)
        parts.append(f"mean {'up' if mean >= 0 else 'down'} by about {abs(mean):.2g} sd{median}")
    if kind != "location":
        middle = _quantiles(stream, before, now, 0.25, 0.75)
        parts.append(f"spread x{math.sqrt(max(square - mean * mean, 0.0)):.2g}{middle}")
    return ", ".join(parts)


def _quantiles(stream: FeatureReference, before: Floats, now: Floats, *q: float) -> str:
    """Quantiles in the stream's own units; empty where each hour has its own."""
    if stream.stratum_edges is not None or not len(stream.edges if stream.edges is not None else ()):
        return ""
    name = "median" if len(q) == 1 else "middle half"
    return f" ({name} {' -> '.join(' to '.join(_quantile(stream, s, p) for p in q) for s in (before, now))})"


def _quantile(stream: FeatureReference, found: Floats, q: float) -> str:
    """A quantile of binned values, linear inside a bin; beyond the outer edges only the edge is known."""
    edges = np.asarray(stream.edges)
    mass = found[: len(edges) + 1]
    upto = np.cumsum(mass / mass.sum())
    k = int(np.searchsorted(upto, q))
    if k == 0:
        return f"<= {number(edges[0])}"
    if k >= len(edges):
        return f"> {number(edges[-1])}"
    part = (q - upto[k - 1]) / max(upto[k] - upto[k - 1], 1e-12)
    return number(edges[k - 1] + part * (edges[k] - edges[k - 1]))


def _middle(tables: Masses) -> tuple[Ints, Floats]:
    """Positions of the regular bins, and the reference mass below the middle of each."""
    regular = np.flatnonzero(regular_bins(len(tables.pi), tables.special))
    mass = tables.pi[regular] / tables.pi[regular].sum()
    return regular, np.cumsum(mass) - mass / 2


def _tails(tables: Masses, winner: str, before: Floats, now: Floats) -> str:
    side, _, rest = winner.removeprefix("tail_").partition("1e")
    low, high, width = ("0.1 %", "99.9 %", 0.0011) if rest.startswith("-03") else ("1 %", "99 %", 0.011)
    regular, middle = _middle(tables)
    below, above = middle < width, middle > 1 - width
    name, where, bins = {
        "lo": ("lower tail", f"below the reference's {low} point", below),
        "hi": ("upper tail", f"beyond the reference's {high} point", above),
    }.get(side, ("tails", f"beyond the reference's {low} and {high} points", below | above))
    a, b = float(before[regular[bins]].sum()), float(now[regular[bins]].sum())
    factor = f" x{b / a:.2g}" if a > 0 else ""
    return f"{name}{factor} (values {where}: {step(a, b)})"


def _octile(stream: FeatureReference, tables: Masses, k: int, before: Floats, now: Floats) -> str:
    regular, middle = _middle(tables)
    chosen = regular[(middle > k / 8) & (middle <= (k + 1) / 8)]
    if not len(chosen):
        return "shape changed"
    a, b = float(before[chosen].sum()), float(now[chosen].sum())
    return f"{_range(stream, int(chosen[0]), int(chosen[-1]))}: {step(a, b)}{times(a, b)}"
