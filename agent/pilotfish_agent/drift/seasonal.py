"""How a reference tells strata apart, stream by stream (docs/statistics.md, section 8).

A numeric stream ranks each row inside its own stratum: edges of its own for each stratum, at equal ranks, so that the
masses are the same in all and counts add. What cannot be ranked so (levels, values with ties, a share of missing values
that moves) keeps its bins and has a table of counts for each stratum. A stream that has no pattern stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from pilotfish_agent.drift.decided import Bins, Season
from pilotfish_agent.drift.feature_reference import middle_edges
from pilotfish_agent.drift.layout import MIN_REFERENCE_ROWS, SPECIAL, Floats, Ints, coarse_map, edges_from_reference
from pilotfish_agent.drift.strata import ALL, COUNTS, FIT_ROWS, Kind, Trial, differ, narrowed
from pilotfish_agent.windows.binning import rounded

STREAM_CELLS: Final = 2_400
"""Bins times strata of one stream that has a table for each: 1.3 MB, and 7 s of `pf-worker`."""
MODEL_CELLS: Final = 20_000
"""Of all streams of a model together: 11 MB, and a minute of `pf-worker`."""
FEWEST_BINS: Final = 5
"""A stream that would have fewer says too little."""
TOO_MANY: Final = (
    "its shares change with the hour, and tables for each hour would cost too much for so many streams; "
    "--ignore others, or set features.season: none"
)
_COARSE: Final = 8
_FEW_BINS: Final = (1_023, 499)  # rows that carry 16 and 8 bins


def divided(
    bins: Mapping[str, Bins],
    ids: Mapping[str, Ints],
    values: Callable[[str], Floats],
    trial: Trial,
    season: Kind | None,
    seed: int,
) -> tuple[dict[str, Bins], dict[str, str]]:
    """The bins of streams that need strata, and the streams that cannot have them, with the reason.

    Args:
        bins: of all streams, without strata.
        ids: the bin of each row (n,) of a stream, -1 where a row does not speak of it.
        values: the numbers (n,) of a numeric stream.
        trial: tells which strata a stream needs.
        season: the kind that is asked for; None: each stream's own choice.
        seed: of the rows drawn.
    """
    found: dict[str, Bins] = {}
    tabled: dict[str, tuple[Ints, int]] = {}
    for name, one in bins.items():
        own = ids[name]
        kind = trial.kind(_coarse(one, own)) if season is None else _affordable(season, trial.hours[own >= 0])
        if kind == "none":
            continue
        stratum = np.where(own >= 0, narrowed(trial.hours, ALL, COUNTS[kind]), -1)
        made = _ranked(one, own, values(name), stratum, COUNTS[kind], seed) if one.edges is not None else None
        if made is None:
            tabled[name] = stratum, COUNTS[kind]
        else:
            found[name] = made
    most = min(STREAM_CELLS, MODEL_CELLS // max(len(tabled), 1))
    refused: dict[str, str] = {}
    for name, (stratum, count) in tabled.items():
        if most < count * FEWEST_BINS:
            refused[name] = TOO_MANY
            continue
        finite = values(name) if bins[name].edges is not None else None
        found[name] = _tabled(bins[name], finite, stratum, count, most, seed)
    return found, refused


def _coarse(bins: Bins, ids: Ints) -> Ints:
    """Some eight bins of each row: octiles and what is no number, or the most frequent levels; -1 stays -1."""
    size = bins.size
    if bins.edges is None:
        merged = np.minimum(np.arange(size), _COARSE - 1)
        merged[-1] = min(_COARSE, size - 1)
    else:
        merged = coarse_map(size, range(size - SPECIAL, size))
    found: Ints = np.append(merged, -1)[ids]
    return found


def _affordable(season: Kind, hours: Ints) -> Kind:
    """The kind that is asked for, or a poorer one where a stratum would have too few rows."""
    poorer = [k for k in COUNTS if COUNTS[k] <= COUNTS[season]]
    for kind in reversed(poorer):
        rows = np.bincount(narrowed(hours, ALL, COUNTS[kind]), minlength=COUNTS[kind])
        if rows.min() >= FIT_ROWS:
            return kind
    return "none"


def _ranked(bins: Bins, ids: Ints, x: Floats, stratum: Ints, count: int, seed: int) -> Bins | None:
    """Edges of each stratum at equal ranks, None where ranks do not tell the strata apart."""
    usable = (stratum >= 0) & np.isfinite(x)
    rows = np.bincount(stratum[usable], minlength=count)
    drawn = int(rows.min())
    if drawn < MIN_REFERENCE_ROWS or _special_shares_differ(bins, ids, stratum, count):
        return None
    even = np.arange(float(drawn))
    ranks = edges_from_reference(even)
    expected = np.bincount(np.searchsorted(ranks, even), minlength=len(ranks) + 1)
    rng = np.random.default_rng(seed)
    order = np.argsort(stratum[usable], kind="stable")
    edges = []
    for part in np.split(x[usable][order], np.cumsum(rows)[:-1]):
        chosen = part if len(part) == drawn else rng.choice(part, drawn, replace=False)
        own = np.unique([rounded(e) for e in edges_from_reference(chosen).tolist()])
        if len(own) != len(ranks):
            return None
        counts = np.bincount(np.searchsorted(own, chosen), minlength=len(ranks) + 1)
        if ((counts - expected) ** 2 / expected).sum() > len(ranks):  # ties move more rows than chance does
            return None
        edges.append(own)
    return replace(bins, edges=middle_edges(np.array(edges)), season=Season(count, np.array(edges), drawn))


def _special_shares_differ(bins: Bins, ids: Ints, stratum: Ints, count: int) -> bool:
    """Whether the share of missing and infinite values differs by stratum."""
    special = np.clip(ids - (bins.size - SPECIAL) + 1, 0, SPECIAL)
    known = stratum >= 0
    table = np.bincount(stratum[known] * (SPECIAL + 1) + special[known], minlength=count * (SPECIAL + 1))
    return differ(table.reshape(count, -1))


def _tabled(bins: Bins, x: Floats | None, stratum: Ints, count: int, most: int, seed: int) -> Bins:
    """Bins that are alike in all strata, no more than the poorest stratum carries, and ``most`` of all strata."""
    season = Season(count)
    if x is None:
        return replace(bins, levels=(bins.levels or ())[: most // count - 2], season=season)
    finite = x[(stratum >= 0) & np.isfinite(x)]
    poorest = int(np.bincount(stratum[(stratum >= 0) & np.isfinite(x)], minlength=count).min())
    rng = np.random.default_rng(seed)
    made = bins
    for rows in (poorest, *_FEW_BINS):
        chosen = rng.choice(finite, min(max(rows, MIN_REFERENCE_ROWS), len(finite)), replace=False)
        edges = np.unique([rounded(e) for e in edges_from_reference(chosen).tolist()])
        made = replace(bins, edges=edges, season=season)
        if rows <= poorest and made.size * count <= most:
            break
    return made
