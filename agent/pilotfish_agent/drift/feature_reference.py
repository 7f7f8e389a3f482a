"""One stream's part of a reference: its bins and what was counted in them (docs/statistics.md, section 11)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.strata import kind_of
from pilotfish_agent.windows.binning import LevelBinner, NumericBinner

Kind = Literal["numeric", "categorical"]
PhiSource = Literal["times", "set", "unknown"]
Binner = NumericBinner | LevelBinner


@dataclass(frozen=True, slots=True)
class FeatureReference:
    """One stream's reference.

    Attributes:
        name: as in the data; pseudo-features start with ``@``.
        kind: numeric or categorical.
        rows: values counted, missing ones included.
        edges: (E,) ascending, of a numeric stream.
        levels: (L,) of a categorical one, without `other` and `missing`, which are its last two bins.
        counts: int64 (K,): E + 1 regular bins and the special ones, or L levels, other, missing.
        special: position of missing, pinf, ninf for a numeric stream, empty for a categorical one.
        phi: inflation by dependence, >= 1; `phi_source`: how it is known.
        log_abs_mean: mean of log|x| over the finite values that are not 0, None where there are none.
        zero_share: share of zeros among the finite values, None where there are none.
        part_of: name of the composite stream (an embedding, say) that this one is a part of, None for a plain one.
        part: which part of it, in words: "cell", "distance to its own centre", "projection 3".
        stratum_edges: (S, E), S = `strata`: edges of each stratum, of a numeric stream whose rows are ranked inside
            their own stratum; ``counts`` are those of one stratum then (they are alike), ``edges`` the medians.
        stratum_counts: int64 (S, K), of a stream that keeps a table for each stratum; they add up to ``counts``.
    """

    name: str
    kind: Kind
    rows: int
    counts: NDArray[np.int64]
    edges: NDArray[np.float64] | None = None
    levels: tuple[str, ...] | None = None
    special: Mapping[str, int] = field(default_factory=dict)
    phi: float = 1.0
    phi_source: PhiSource = "unknown"
    log_abs_mean: float | None = None
    zero_share: float | None = None
    part_of: str | None = None
    part: str = ""
    stratum_edges: NDArray[np.float64] | None = None
    stratum_counts: NDArray[np.int64] | None = None

    @property
    def strata(self) -> int:
        """How many strata it tells apart; its reference may have more, as kinds of strata nest."""
        own = self.stratum_edges if self.stratum_edges is not None else self.stratum_counts
        return 1 if own is None else len(own)

    @property
    def told_as(self) -> str:
        """The name under which people are told of it: of a part that of the composite."""
        return self.part_of or self.name

    def binner(self, stratum: int = 0) -> Binner:
        """What turns a column of rows of one stratum into counts of the same K bins."""
        if self.stratum_edges is not None:
            return NumericBinner(self.stratum_edges[stratum])
        if self.edges is not None:
            return NumericBinner(self.edges)
        return LevelBinner(self.levels or ())

    def bins(self) -> tuple[str, ...]:
        """What each of the K bins holds, in words: ``(1.5, 2.5]``, a level, ``other``, ``missing``, ``+inf``."""
        if self.edges is None:
            return (*(self.levels or ()), "other", "missing")
        ends = [f"{e:.6g}" for e in self.edges]
        inner = [f"({a}, {b}]" for a, b in itertools.pairwise(ends)]
        return (f"<= {ends[0]}", *inner, f"> {ends[-1]}", "missing", "+inf", "-inf")


def parse_feature(data: Mapping[str, Any]) -> FeatureReference:
    """What `feature_json` wrote; KeyError, TypeError or ValueError where it is damaged."""
    name, kind = data["name"], data["kind"]
    if not isinstance(name, str) or kind not in ("numeric", "categorical"):
        raise ValueError(f"feature {name!r} of kind {kind!r}")
    counts = np.array([count(c) for c in data["counts"]], np.int64)
    edges, levels, special = None, None, {str(k): count(v) for k, v in data["special"].items()}
    stratum_edges, stratum_counts = _by_stratum(data, len(counts))
    if kind == "numeric":
        own = data["edges"] if stratum_edges is None else middle_edges(stratum_edges)
        edges = np.array([float(e) for e in own], np.float64)
        size, want = len(edges) + 4, positions(len(edges))
    else:
        levels, want = tuple(data["levels"]), {}
        size = len(levels) + 2
        if not all(isinstance(level, str) for level in levels):
            raise ValueError(f"{name}: levels must be texts")
    if len(counts) != size or special != want:
        raise ValueError(f"{name}: {len(counts)} counts where {size} belong, special {special}")
    if not len(counts) or counts.sum() < 1 or data["phi_source"] not in ("times", "set", "unknown"):
        raise ValueError(f"{name}: empty counts or phi_source {data['phi_source']!r}")
    phi = float(data["phi"])
    if not 1 <= phi < math.inf:
        raise ValueError(f"{name}: phi {phi}")
    made = FeatureReference(
        name=name,
        kind=kind,
        rows=count(data["rows"]),
        counts=counts,
        edges=edges,
        levels=levels,
        special=special,
        phi=phi,
        phi_source=data["phi_source"],
        log_abs_mean=number(data["log_abs_mean"]),
        zero_share=number(data["zero_share"]),
        part_of=text(data.get("part_of")),
        part=text(data.get("part")) or "",
        stratum_edges=stratum_edges,
        stratum_counts=stratum_counts,
    )
    kind_of(made.strata)
    for stratum in [0] if stratum_edges is None else _doubtful(stratum_edges):
        made.binner(stratum)  # refuses edges that do not ascend and levels that repeat
    if stratum_counts is not None and (stratum_counts.sum(0) != counts).any():
        raise ValueError(f"{name}: counts of the strata do not add up")
    return made


def _doubtful(stratum_edges: NDArray[np.float64]) -> list[int]:
    """Strata with edges that may not ascend in 12 digits: a binner of each of 168 strata would take its time."""
    size = np.abs(stratum_edges)
    sure = np.diff(stratum_edges, axis=1) > 2e-11 * np.maximum(size[:, 1:], size[:, :-1])
    return np.flatnonzero(~(sure.all(1) & np.isfinite(stratum_edges).all(1))).tolist()


def _by_stratum(data: Mapping[str, Any], size: int) -> tuple[NDArray[np.float64] | None, NDArray[np.int64] | None]:
    """Edges (S, E) or counts (S, K) of each stratum, where a stream has them."""
    edges = counts = None
    if (own := data.get("stratum_edges")) is not None:
        edges = np.array([[float(e) for e in row] for row in own], np.float64)
    if (own := data.get("stratum_counts")) is not None:
        counts = np.array([[count(c) for c in row] for row in own], np.int64)
    if (edges is not None and edges.ndim != 2) or (counts is not None and counts.shape[1:] != (size,)):
        raise ValueError(f"{data['name']}: strata of different lengths")
    return edges, counts


def middle_edges(stratum_edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each edge over the strata, for words: edges that ascend in all strata ascend here too."""
    ordered: NDArray[np.float64] = np.sort(stratum_edges, axis=0)[len(stratum_edges) // 2]
    return ordered


def positions(edges: int) -> dict[str, int]:
    """Where a numeric stream of so many edges counts its special values."""
    return {"missing": edges + 1, "pinf": edges + 2, "ninf": edges + 3}


def identity(f: FeatureReference) -> list[Any]:
    """All of a stream that others are compared with."""
    where = f.edges.tolist() if f.edges is not None else list(f.levels or ())
    return [f.name, f.kind, where, f.counts.tolist(), dict(f.special), *_optional(f).items()]


def _optional(f: FeatureReference) -> dict[str, Any]:
    """What only some streams have."""
    found: dict[str, Any] = {"part_of": f.part_of, "part": f.part} if f.part_of is not None else {}
    if f.stratum_edges is not None:
        found["stratum_edges"] = f.stratum_edges.tolist()
    if f.stratum_counts is not None:
        found["stratum_counts"] = f.stratum_counts.tolist()
    return found


def feature_json(f: FeatureReference) -> dict[str, Any]:
    """As a JSON object."""
    where = {"edges": f.edges.tolist()} if f.edges is not None else {"levels": list(f.levels or ())}
    if f.stratum_edges is not None:
        where = {}
    return {
        "name": f.name,
        "kind": f.kind,
        "rows": f.rows,
        **where,
        "counts": f.counts.tolist(),
        "special": dict(f.special),
        "phi": f.phi,
        "phi_source": f.phi_source,
        "log_abs_mean": f.log_abs_mean,
        "zero_share": f.zero_share,
        **_optional(f),
    }


def count(value: object) -> int:
    """A count of a JSON file; ValueError where it is none."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"a count of {value!r}")
    return value


def number(value: object) -> float | None:
    """A number of a JSON file, or none at all; ValueError where it is neither."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"a number of {value!r}")
    return float(value)


def text(value: object) -> str | None:
    """A text of a JSON file, or none at all; ValueError where it is neither."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"a text of {value!r}")
    return value
