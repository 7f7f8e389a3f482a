"""The reference: what the data looked like, as bins and counts (docs/statistics.md, section 11).

One JSON object, `pilotfish-reference/1`. No raw value is in it but bin edges and the admitted levels.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.strata import Strata
from pilotfish_agent.windows.binning import LevelBinner, NumericBinner
from pilotfish_core.errors import DataError, UsageError

FORMAT = "pilotfish-reference/1"
MAX_BYTES = 256 << 20  # 1,000 features of 65 long levels are a tenth of it
SMALL_ROWS = 5_000  # below it a reference sees little: a notice (statistics.md, section 5)

Kind = Literal["numeric", "categorical"]
PhiSource = Literal["times", "set", "unknown"]
Binner = NumericBinner | LevelBinner


@dataclass(frozen=True, slots=True)
class Ignored:
    """A column that is not watched, and why."""

    name: str
    reason: str


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
        stratum_edges: (S, E), edges of each stratum, of a numeric stream whose rows are ranked inside their own
            stratum. Then ``counts`` are those of one stratum (they are alike in all) and ``edges`` the medians.
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


@dataclass(frozen=True, slots=True)
class Reference:
    """What a model's data looked like.

    Attributes:
        created: epoch seconds of its making.
        model, version: of whom, None when unknown.
        rows: rows counted; skipped_rows: bad rows left out.
        begins, ends: epoch seconds of the first and the last row, None without times (``from``, ``to`` in the file).
        source: base name of the data file, None when learnt from traffic.
        tick_rows: mean rows of a tick that phi was computed from, None without times.
        seed: of the sample that set the edges, None when all rows did.
        strata: ``kind``, ``rows`` of each and, but for kind ``none``, the ``timezone`` (`strata.Strata`).
        encoders: how columns become the parts of composite streams, by the composite's name (`encoders`).
        id: 12 hex digits, equal where all that counts is compared with is equal.
    """

    created: float
    model: str | None
    version: str | None
    rows: int
    features: tuple[FeatureReference, ...]
    ignored: tuple[Ignored, ...] = ()
    skipped_rows: int = 0
    begins: float | None = None
    ends: float | None = None
    source: str | None = None
    tick_rows: float | None = None
    seed: int | None = None
    strata: Mapping[str, Any] = field(default_factory=lambda: {"kind": "none", "rows": []})
    encoders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Computes the id once: it is asked for each second."""
        content = [_identity(f) for f in sorted(self.features, key=lambda f: f.name)]
        encoders = [{name: dict(e) for name, e in self.encoders.items()}] if self.encoders else []
        text = _dump([content, dict(self.strata), *encoders])
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        object.__setattr__(self, "id", digest[:12])

    def feature(self, name: str) -> FeatureReference | None:
        """The stream of that name, None when the reference lacks it."""
        return next((f for f in self.features if f.name == name), None)

    def to_json(self) -> str:
        """The file's text, without a line end."""
        return _dump(
            {
                "format": FORMAT,
                "id": self.id,
                "created": self.created,
                "model": self.model,
                "version": self.version,
                "rows": self.rows,
                "skipped_rows": self.skipped_rows,
                "from": self.begins,
                "to": self.ends,
                "source": self.source,
                "tick_rows": self.tick_rows,
                "seed": self.seed,
                "strata": dict(self.strata),
                **({"encoders": {name: dict(e) for name, e in self.encoders.items()}} if self.encoders else {}),
                "features": [_feature_json(f) for f in self.features],
                "ignored": [{"name": i.name, "reason": i.reason} for i in self.ignored],
            }
        )

    @staticmethod
    def from_json(text: str | bytes, name: str = "reference") -> Reference:
        """Reads what `to_json` wrote.

        Args:
            text: the file's content.
            name: of the file, for the error.

        Raises:
            DataError: no JSON, another format or major version, missing or impossible fields, or an `id` that
                does not fit the content (a file that was edited or damaged).
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}: no reference, not valid JSON: {error}", todo=_REBUILD) from None
        _check_format(data, name)
        try:
            made = _parse(data)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{name}: damaged reference: {error!r}", expected=FORMAT, todo=_REBUILD) from None
        if made.id != data.get("id"):
            raise DataError(f"{name}: content and id differ", got=data.get("id"), expected=made.id, todo=_REBUILD)
        return made


_REBUILD = "build it again with `pilotfish reference build`"


def load(path: str) -> Reference:
    """Reads a reference file.

    Raises:
        DataError: it cannot be read, or is no (whole) reference: see `Reference.from_json`.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot read the reference: {error.strerror}", expected="a readable file") from None
    if len(content) > MAX_BYTES:
        raise DataError(f"{path}: too large for a reference", expected=f"at most {MAX_BYTES} bytes")
    return Reference.from_json(content, path)


def looks_like_reference(head: bytes) -> bool:
    """Whether a file that starts so is meant as a built reference, not as data (its keys are sorted)."""
    return head.lstrip()[:12].startswith(b'{"created":') or b'"pilotfish-reference/' in head


def _check_format(data: object, name: str) -> None:
    if not isinstance(data, dict) or not isinstance(data.get("format"), str):
        raise DataError(f"{name}: no reference", expected=f'a JSON object with "format": "{FORMAT}"', todo=_REBUILD)
    word, _, version = data["format"].partition("/")
    if word != FORMAT.partition("/")[0]:
        raise DataError(f"{name}: no reference", got=data["format"], expected=FORMAT, todo=_REBUILD)
    if version.partition(".")[0] != FORMAT.partition("/")[2]:
        raise DataError(
            f"{name}: reference of another version",
            got=data["format"],
            expected=FORMAT,
            todo="use a matching Pilotfish",
        )


def _parse(data: dict[str, Any]) -> Reference:
    features = tuple(_parse_feature(f) for f in data["features"])
    names = [f.name for f in features]
    if len(set(names)) != len(names):
        raise ValueError("a feature stands there twice")
    strata = dict(data["strata"])
    count = Strata.of(strata).count
    if any(len(own) != count for f in features for own in (f.stratum_edges, f.stratum_counts) if own is not None):
        raise ValueError(f"strata of a feature are not the {count} of {strata.get('kind')!r}")
    return Reference(
        created=float(data["created"]),
        model=_text(data["model"]),
        version=_text(data["version"]),
        rows=_count(data["rows"]),
        features=features,
        ignored=tuple(Ignored(str(i["name"]), str(i["reason"])) for i in data["ignored"]),
        skipped_rows=_count(data["skipped_rows"]),
        begins=_number(data["from"]),
        ends=_number(data["to"]),
        source=_text(data["source"]),
        tick_rows=_number(data["tick_rows"]),
        seed=None if data.get("seed") is None else int(data["seed"]),
        strata=strata,
        encoders={str(name): dict(encoder) for name, encoder in dict(data.get("encoders", {})).items()},
    )


def _parse_feature(data: dict[str, Any]) -> FeatureReference:
    name, kind = data["name"], data["kind"]
    if not isinstance(name, str) or kind not in ("numeric", "categorical"):
        raise ValueError(f"feature {name!r} of kind {kind!r}")
    counts = np.array([_count(c) for c in data["counts"]], np.int64)
    edges, levels, special = None, None, {str(k): _count(v) for k, v in data["special"].items()}
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
        rows=_count(data["rows"]),
        counts=counts,
        edges=edges,
        levels=levels,
        special=special,
        phi=phi,
        phi_source=data["phi_source"],
        log_abs_mean=_number(data["log_abs_mean"]),
        zero_share=_number(data["zero_share"]),
        part_of=_text(data.get("part_of")),
        part=_text(data.get("part")) or "",
        stratum_edges=stratum_edges,
        stratum_counts=stratum_counts,
    )
    for stratum in range(1 if stratum_edges is None else len(stratum_edges)):
        made.binner(stratum)  # refuses edges that do not ascend and levels that repeat
    if stratum_counts is not None and (stratum_counts.sum(0) != counts).any():
        raise ValueError(f"{name}: counts of the strata do not add up")
    return made


def _by_stratum(data: Mapping[str, Any], size: int) -> tuple[NDArray[np.float64] | None, NDArray[np.int64] | None]:
    """Edges (S, E) or counts (S, K) of each stratum, where a stream has them."""
    edges = counts = None
    if (own := data.get("stratum_edges")) is not None:
        edges = np.array([[float(e) for e in row] for row in own], np.float64)
    if (own := data.get("stratum_counts")) is not None:
        counts = np.array([[_count(c) for c in row] for row in own], np.int64)
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


def require(reference: Reference, names: Sequence[str], source: str) -> None:
    """Refuses data that lack a feature of the reference.

    Raises:
        UsageError: naming the first missing columns.
    """
    known = set(names)
    missing = [f.name for f in reference.features if not f.name.startswith("@") and f.name not in known]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UsageError(
            f"{source}: the reference has columns that these data lack: {', '.join(map(repr, missing[:5]))}{more}",
            todo="give data with these columns, or build the reference with --ignore for them",
        )


def _identity(f: FeatureReference) -> list[Any]:
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


def _feature_json(f: FeatureReference) -> dict[str, Any]:
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


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"a count of {value!r}")
    return value


def _number(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"a number of {value!r}")
    return float(value)


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"a text of {value!r}")
    return value
