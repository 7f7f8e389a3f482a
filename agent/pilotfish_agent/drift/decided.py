"""How a column is watched: its kind, its bins, or why it is not watched (docs/statistics.md, section 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from pilotfish_agent.drift.encoders._part import Part
from pilotfish_agent.drift.kept import KeptColumn
from pilotfish_agent.drift.layout import MIN_REFERENCE_ROWS, SPECIAL, Floats, Ints, edges_from_reference
from pilotfish_agent.drift.redact import redacted
from pilotfish_agent.drift.reference import Binner, FeatureReference, Kind, PhiSource, positions
from pilotfish_agent.drift.streams import PREDICTION, is_class
from pilotfish_agent.windows.binning import LevelBinner, NumericBinner, rounded

MAX_LEVELS = 63
MIN_LEVEL_ROWS = 20
CATEGORICAL_INTEGERS = 20  # whole numbers of at most so many distinct values are categories
NUMBER_SHARE = 0.99
IDENTIFIER_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Season:
    """The strata that a stream tells apart.

    Attributes:
        strata: S, how many.
        edges: (S, E), edges of each where rows are ranked inside their own; None: a table of counts for each.
        drawn: finite rows of each stratum that the edges are ranks of.
    """

    strata: int
    edges: Floats | None = None
    drawn: int = 0


@dataclass(frozen=True, slots=True)
class Bins:
    """How a column is binned."""

    kind: Kind
    edges: Floats | None = None
    levels: tuple[str, ...] | None = None
    log_abs_mean: float | None = None
    zero_share: float | None = None
    part_of: str | None = None
    part: str = ""
    season: Season | None = None

    @property
    def size(self) -> int:
        """K, how many there are, special ones included."""
        return len(self.levels or ()) + 2 if self.edges is None else len(self.edges) + 4

    @property
    def ranked(self) -> Floats | None:
        """Edges of each stratum (S, E) where rows are ranked inside their own."""
        return None if self.season is None else self.season.edges

    def binner(self) -> Binner:
        """What turns a column into bins, where all strata have the same."""
        return NumericBinner(self.edges) if self.edges is not None else LevelBinner(self.levels or ())

    def reference(self, name: str, by_stratum: Ints, phi: float, known: PhiSource) -> FeatureReference:
        """With the counts of each stratum (S, K), what stands in the reference."""
        counts = by_stratum.sum(0)
        rows = int(counts.sum())
        if self.ranked is not None and self.season is not None:
            # The masses are alike in all strata; how sure they are is a matter of the rows of one.
            counts = counts * self.season.drawn // max(int(counts[:-SPECIAL].sum()), 1)
        return FeatureReference(
            name=name,
            kind=self.kind,
            rows=rows,
            counts=counts,
            stratum_edges=self.ranked,
            stratum_counts=None if self.season is None or self.ranked is not None else by_stratum,
            edges=self.edges,
            levels=self.levels,
            special={} if self.edges is None else positions(len(self.edges)),
            phi=phi,
            phi_source=known,
            log_abs_mean=self.log_abs_mean,
            zero_share=self.zero_share,
            part_of=self.part_of,
            part=self.part,
        )


def decide(
    name: str,
    column: KeptColumn,
    size: int,
    rows: int,
    *,
    asked: Kind | None = None,
    task: str = "auto",
    part: Part | None = None,
) -> Bins | str:
    """The bins of a column, or why it is not watched.

    Args:
        name: of the stream.
        column: its kept rows.
        size: how many are kept.
        rows: rows in all.
        asked: its kind where that is not to be guessed.
        task: `model.task`.
        part: which part of an encoder's column it is, None for a column of the data.
    """
    if redacted(name):
        return "its name looks like private data or is no UTF-8"
    if column.seen == 0:
        return "all values are missing"
    if part is not None:
        asked = part.kind if part.kind == "categorical" else None
    elif asked is None and not name.startswith("@"):
        reason = _no_feature(column, size, rows)
        if reason:
            return reason
    if (asked or _kind(name, column, size, task)) == "categorical":
        return _levels(column, size)
    x = column.numbers(size)
    finite = x[np.isfinite(x)]
    if len(finite) < MIN_REFERENCE_ROWS:
        return f"not enough data: {len(finite)} numbers, at least {MIN_REFERENCE_ROWS} are needed"
    return _quantiles(finite)


def _no_feature(column: KeptColumn, size: int, rows: int) -> str | None:
    """Why a column is no feature: an identifier or a time."""
    if rows < MIN_REFERENCE_ROWS:
        return None
    if column.rising and column.seen == rows:
        return "whole numbers that rise from row to row: a counter or a time; --numeric watches it all the same"
    if column.codes is None or column.number_share(size) > NUMBER_SHARE:
        return None
    texts = len(column.texts) + column.beyond
    if _are_dates(column.texts):
        return "dates or times; --categorical watches it all the same"
    if texts > IDENTIFIER_SHARE * column.seen and column.seen >= MIN_REFERENCE_ROWS:
        return "an identifier: nearly every value is another; --categorical watches it all the same"
    return None


def _are_dates(texts: Mapping[str, int], probe: int = 50) -> bool:
    """Whether all of the first texts read as ISO 8601 dates or times with a date."""
    first = [t for t, _ in zip(texts, range(probe), strict=False)]
    return bool(first) and all(map(_is_date, first))


def _is_date(text: str) -> bool:
    if len(text) < 8 or not text[:4].isdigit():
        return False
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return not text.isdigit()


def _kind(name: str, column: KeptColumn, size: int, task: str) -> Kind:
    if column.codes is not None and column.number_share(size) <= NUMBER_SHARE:
        return "categorical"
    x = column.numbers(size)
    present = x[~np.isnan(x)]
    if name == PREDICTION:
        return "categorical" if is_class(present, task) or _constant(present) else "numeric"
    if _constant(present):
        return "categorical"
    if not np.isfinite(present).any():
        return "numeric"
    whole = bool((present[np.isfinite(present)] % 1 == 0).all())
    return "categorical" if whole and len(np.unique(present)) <= CATEGORICAL_INTEGERS else "numeric"


def _constant(present: Floats) -> bool:
    return len(present) > 0 and math.isfinite(present[0]) and bool((present == present[0]).all())


def _levels(column: KeptColumn, size: int) -> Bins:
    counted = column.counted(size)
    admitted = [t for t, n in counted.items() if n >= MIN_LEVEL_ROWS and not redacted(t)]
    admitted.sort(key=lambda t: (-counted[t], t))
    return Bins("categorical", levels=tuple(admitted[:MAX_LEVELS]))


def _quantiles(finite: Floats) -> Bins:
    # Rounding keeps the order, so the edges of rounded values are the rounded edges.
    edges = np.unique([rounded(e) for e in edges_from_reference(finite).tolist()])
    size = np.abs(finite[finite != 0])
    return Bins(
        "numeric",
        edges=edges,
        log_abs_mean=float(np.log(size).mean()) if len(size) else None,
        zero_share=float((finite == 0).mean()),
    )
