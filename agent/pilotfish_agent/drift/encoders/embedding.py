"""Embeddings: lists of numbers of constant length, as cell, distance to the cell's centre, and eight projections.

Cells and directions are fitted on one half of the reference, the counts come from the other: rows that a centre was
fitted on lie nearer to it than new ones do.
No scipy: a reference that is learnt from traffic is fitted inside the agent, where it is not resident.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.encoders._part import Part
from pilotfish_agent.drift.layout import Floats
from pilotfish_core.nouns import Column

CELLS: Final = 16
DIRECTIONS: Final = 8
MAX_DIMENSIONS: Final = 4_096
LEAST_FIT: Final = 200
"""Rows of a half below which nothing is fitted: the other half could not be tested either."""
_ROUNDS = 30  # of Lloyd's algorithm; it settles in some 10 to 20, and a centre that still moves is a good one as well
_POWERS = 4
_SPARE = 8
_DIGITS = 9
"""Of a part, in units of the spread of the rows: the last bits depend on the machine and on the size of the batch, and
must not carry a repeated row over an edge."""


def parts(encoder: Mapping[str, Any]) -> tuple[Part, ...]:
    """Cell, distance and as many projections as were fitted."""
    count = int(encoder["directions_count"])
    return (
        Part(".cell", "categorical", "cell"),
        Part(".distance", "numeric", "distance to its own centre"),
        *(Part(f".p{i}", "numeric", f"projection {i}") for i in range(1, count + 1)),
    )


def usable(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The rows without a missing or infinite number."""
    return np.asarray(np.isfinite(rows).all(axis=1))


def single(column: Column) -> NDArray[np.float32]:
    """Rows as float32, in which they travel: logs hold more digits, and both must give the same parts."""
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite: a missing row
        return np.asarray(column, np.float32)


def fit(rows: NDArray[np.float32], seed: int) -> dict[str, Any]:
    """The encoder of usable rows, shape (n, d): k-means centres, principal directions, and how parts are rounded.

    Args:
        rows: n >= 1, d >= 2, finite.
        seed: of the first centres and of the sketch.
    """
    x = rows.astype(np.float64)
    rng = np.random.default_rng(seed)
    centre = x.mean(axis=0)
    directions = _directions(x - centre, rng)
    centres = _centres(x, rng)
    spread = float(np.sqrt(((x - centre) ** 2).sum(axis=1).mean()))
    scale = spread if spread > 0 else max(float(np.abs(centre).max()), 1.0)
    return {
        "kind": "embedding",
        "dimensions": int(x.shape[1]),
        "centres_count": len(centres),
        "centres": _text(centres),
        "directions_count": len(directions),
        "directions": _text(directions),
        "decimals": _DIGITS - math.floor(math.log10(scale)),
    }


def encode(column: Column, encoder: Mapping[str, Any]) -> list[Column]:
    """Cell (``"1"`` is the reference's largest), distance and projections of each row; missing where it has none."""
    centres, directions = _matrix(encoder["centres"], encoder), _matrix(encoder["directions"], encoder)
    values = np.asarray(column) if hasattr(column, "ndim") else np.zeros(0)  # texts are no lists
    if values.ndim != 2 or values.shape[1] != encoder["dimensions"] or values.dtype.kind not in "fiu":
        return _missing(len(column), len(directions))
    rows = single(values)
    good = usable(rows)
    x = rows[good].astype(np.float64)
    cell = _nearest(x, centres)
    away = x - centres[cell]
    found = np.full((len(rows), 1 + len(directions)), np.nan)
    decimals = int(encoder["decimals"])
    found[good, 0] = np.round(np.sqrt((away * away).sum(axis=1)), decimals)
    found[good, 1:] = np.round(x @ directions.T, decimals)
    cells: list[str | None] = [None] * len(rows)
    for i, name in zip(np.flatnonzero(good).tolist(), cell.tolist(), strict=True):
        cells[i] = str(name + 1)
    return [cells, *np.ascontiguousarray(found.T)]


def _missing(rows: int, directions: int) -> list[Column]:
    return [[None] * rows, *(np.full(rows, np.nan) for _ in range(1 + directions))]


def _directions(centred: Floats, rng: np.random.Generator) -> Floats:
    """The principal directions (k, d), largest first: randomised range finder with power iterations.

    Halko, Martinsson, Tropp 2011, algorithm 4.4: as good as the whole decomposition here, whose cost grows with n d^2.
    """
    width = min(DIRECTIONS + _SPARE, *centred.shape)
    base = np.linalg.qr(centred.T @ rng.standard_normal((len(centred), width)))[0]
    for _ in range(_POWERS):
        base = np.linalg.qr(centred.T @ (centred @ base))[0]
    _, size, turned = np.linalg.svd(centred @ base, full_matrices=False)
    kept = min(DIRECTIONS, int((size > 1e-6 * max(float(size[0]), 1e-300)).sum()))
    found: Floats = (turned @ base.T)[:kept]
    # a direction and its opposite are one: the sign of the largest share, so that equal rows give equal files
    largest = np.abs(found).argmax(axis=1)
    found *= np.sign(found[np.arange(len(found)), largest])[:, None]
    return found


def _centres(x: Floats, rng: np.random.Generator) -> Floats:
    """At most `CELLS` centres (k, d), that of the most rows first: Lloyd's algorithm from k-means++ starts."""
    centres = _starts(x, rng)
    cell = _nearest(x, centres)
    for _ in range(_ROUNDS):
        member = (cell[:, None] == np.arange(len(centres))).astype(np.float64)
        size = member.sum(axis=0)[:, None]
        centres = np.where(size > 0, member.T @ x / np.maximum(size, 1), centres)
        moved = _nearest(x, centres)
        if (moved == cell).all():
            break
        cell = moved
    order = np.argsort(-np.bincount(cell, minlength=len(centres)), kind="stable")
    return centres[order]


def _starts(x: Floats, rng: np.random.Generator) -> Floats:
    """Rows far from each other (k-means++: Arthur, Vassilvitskii 2007); fewer where there are fewer distinct rows."""
    chosen = [int(rng.integers(len(x)))]
    away = ((x - x[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < CELLS and (total := float(away.sum())) > 0:
        at = min(int(np.searchsorted(np.cumsum(away), rng.random() * total, side="right")), len(x) - 1)
        chosen.append(at)
        away = np.minimum(away, ((x - x[at]) ** 2).sum(axis=1))
    return x[chosen]


def _nearest(x: Floats, centres: Floats) -> NDArray[np.int64]:
    found: NDArray[np.int64] = ((centres * centres).sum(axis=1) / 2 - x @ centres.T).argmin(axis=1)
    return found


def _text(matrix: Floats) -> str:
    return base64.b64encode(matrix.astype("<f4").tobytes()).decode("ascii")


def _matrix(text: str, encoder: Mapping[str, Any]) -> Floats:
    return _decoded(text, int(encoder["dimensions"]))


@lru_cache(maxsize=64)
def _decoded(text: str, dimensions: int) -> Floats:
    """The matrix of a reference's text; the same few are asked for each second."""
    found = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64).reshape(-1, dimensions)
    if not np.isfinite(found).all():
        raise ValueError("an encoder with numbers that are not finite")
    found.flags.writeable = False
    return found
