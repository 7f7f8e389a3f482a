"""What the page's script is told: the view that `/api/v1/live` sends, and one stream's spread over its bins."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotfish_agent.web import page, words
from pilotfish_agent.web.numbers import Rises
from pilotfish_core.nouns import Shape, Snapshot

MOST_BINS = 40
"""Bins told one by one; of a categorical stream with more, the rarest are told together."""
_SPECIAL = ("missing", "+inf", "-inf")


def view(snapshot: Snapshot | None, waiting: Sequence[str] = (), rises: Rises | None = None) -> dict[str, Any]:
    """The page's parts as of now; the same bytes for every viewer, some 20 kB.

    Attributes of the document:
        at: epoch seconds, null before the first sample.
        judged: when drift was last computed, epoch seconds; moves with each tick.
        headline: title, tone, lead.
        parts: what is inside each element of the page, by its id.
    """
    return {
        "at": None if snapshot is None else snapshot.at,
        "judged": None if snapshot is None else _judged(snapshot),
        "headline": words.headline(snapshot)._asdict(),
        "parts": page.parts(snapshot, waiting, rises),
    }


def _judged(snapshot: Snapshot) -> float | None:
    runs = (s.value for s in snapshot.samples if s.metric.name == "pilotfish_drift_last_run_timestamp_seconds")
    return max((float(v) for v in runs if isinstance(v, int | float)), default=None)


def streams(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Every stream that has a distribution."""
    return [{"model": s.model, "feature": s.feature, "rows": s.rows} for s in snapshot.shapes]


def distribution(snapshot: Snapshot, model: str, feature: str) -> dict[str, Any] | None:
    """One stream: its bins in words, and the share of each in the reference and now; None where there is none such."""
    shape = next((s for s in snapshot.shapes if s.feature == feature and s.model == model), None)
    if shape is None:
        return None
    bins = list(_bins(shape))
    return {
        "model": shape.model,
        "feature": shape.feature,
        "part": shape.part,
        "kind": "numeric" if shape.levels is None else "categorical",
        "rows": shape.rows,
        "began": shape.began,
        "bins": [b.name for b in bins],
        "reference": [round(b.before, 6) for b in bins],
        "current": None if shape.current is None else [round(b.now, 6) for b in bins],
    }


@dataclass(frozen=True, slots=True)
class _Bin:
    name: str
    before: float
    now: float


def _bins(shape: Shape) -> Iterator[_Bin]:
    """In an order that a reader expects; what never holds anything (missing, infinite) is left out."""
    before = np.asarray(shape.reference).tolist()
    now = [0.0] * len(before) if shape.current is None else np.asarray(shape.current).tolist()
    if shape.levels is None:
        names = (*_ranges(np.asarray(shape.edges).tolist()), *_SPECIAL)
        regular = len(names) - len(_SPECIAL)
    else:
        names = (*shape.levels, "other", "missing")
        regular = len(shape.levels)
    found = list(map(_Bin, names, before, now))
    kept = found[:regular] if shape.levels is None else _levels(found[:regular])
    yield from kept
    yield from (b for b in found[regular:] if b.before or b.now)


def _ranges(edges: list[float]) -> Iterator[str]:
    ends = [f"{e:.4g}" for e in edges]
    yield f"≤ {ends[0]}" if ends else "any value"
    yield from (f"{a} to {b}" for a, b in itertools.pairwise(ends))
    if ends:
        yield f"> {ends[-1]}"


def _levels(found: list[_Bin]) -> list[_Bin]:
    """Numbers in their order, else the most frequent first; the rarest together where there are too many."""
    left: list[_Bin] = []
    if len(found) > MOST_BINS:
        found = sorted(found, key=lambda b: -max(b.before, b.now))
        found, left = found[:MOST_BINS], found[MOST_BINS:]
    ordered = sorted(found, key=lambda b: -b.before)
    try:
        ordered.sort(key=lambda b: float(b.name))
    except ValueError:
        pass
    if left:
        ordered.append(_Bin(f"{len(left)} more", sum(b.before for b in left), sum(b.now for b in left)))
    return ordered
