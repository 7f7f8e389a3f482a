"""The reference: what the data looked like, as bins and counts (docs/statistics.md, section 11).

One JSON object, `pilotfish-reference/1`. No raw value is in it but bin edges and the admitted levels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from pilotfish_agent.drift import composites
from pilotfish_agent.drift.feature_reference import (
    Binner,
    FeatureReference,
    Kind,
    PhiSource,
    count,
    feature_json,
    identity,
    number,
    parse_feature,
    positions,
    text,
)
from pilotfish_agent.drift.strata import of_reference
from pilotfish_core.errors import DataError, UsageError

__all__ = [
    "SMALL_ROWS",
    "Binner",
    "FeatureReference",
    "Ignored",
    "Kind",
    "PhiSource",
    "Reference",
    "identity",
    "load",
    "looks_like_reference",
    "positions",
    "require",
]

FORMAT = "pilotfish-reference/1"
MAX_BYTES = 256 << 20  # 1,000 features of 65 long levels are a tenth of it
_PIECE = 1 << 20
SMALL_ROWS = 5_000  # below it a reference sees little: a notice (statistics.md, section 5)


@dataclass(frozen=True, slots=True)
class Ignored:
    """A column that is not watched, and why."""

    name: str
    reason: str


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
        encoders: how columns become the parts of composite streams, by the composite's name.
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
        content = [identity(f) for f in sorted(self.features, key=lambda f: f.name)]
        encoders = [{name: dict(e) for name, e in self.encoders.items()}] if self.encoders else []
        whole = _dump([content, dict(self.strata), *encoders])
        digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
        object.__setattr__(self, "id", digest[:12])

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of data that the streams are made of, pseudo-features included."""
        sources = composites.sources(self.encoders)
        return tuple(dict.fromkeys(sources.get(f.name, f.name) for f in self.features))

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
                "features": [feature_json(f) for f in self.features],
                "ignored": [{"name": i.name, "reason": i.reason} for i in self.ignored],
            }
        )

    @staticmethod
    def from_json(content: str | bytes, name: str = "reference") -> Reference:
        """Reads what `to_json` wrote.

        Args:
            content: of the file.
            name: of the file, for the error.

        Raises:
            DataError: no JSON, another format or major version, missing or impossible fields, or an `id` that
                does not fit the content (a file that was edited or damaged).
        """
        try:
            data = json.loads(content)
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
            content = b"".join(_pieces(file))
    except OSError as error:
        raise DataError(f"{path}: cannot read the reference: {error.strerror}", expected="a readable file") from None
    if len(content) > MAX_BYTES:
        raise DataError(f"{path}: too large for a reference", expected=f"at most {MAX_BYTES} bytes")
    return Reference.from_json(content, path)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Up to one piece beyond the limit: reading all at once sets memory aside for the whole limit."""
    taken = 0
    while taken <= MAX_BYTES and (piece := file.read(_PIECE)):
        taken += len(piece)
        yield piece


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
    features = tuple(parse_feature(f) for f in data["features"])
    names = [f.name for f in features]
    if len(set(names)) != len(names):
        raise ValueError("a feature stands there twice")
    strata = dict(data["strata"])
    most = of_reference(strata).count
    if any(f.strata > most for f in features):
        raise ValueError(f"a feature has more strata than the {most} of {strata.get('kind')!r}")
    return Reference(
        created=float(data["created"]),
        model=text(data["model"]),
        version=text(data["version"]),
        rows=count(data["rows"]),
        features=features,
        ignored=tuple(Ignored(str(i["name"]), str(i["reason"])) for i in data["ignored"]),
        skipped_rows=count(data["skipped_rows"]),
        begins=number(data["from"]),
        ends=number(data["to"]),
        source=text(data["source"]),
        tick_rows=number(data["tick_rows"]),
        seed=None if data.get("seed") is None else int(data["seed"]),
        strata=strata,
        encoders=composites.checked(dict(data.get("encoders", {}))),
    )


def require(reference: Reference, names: Sequence[str], source: str) -> None:
    """Refuses data that lack a feature of the reference.

    Raises:
        UsageError: naming the first missing columns.
    """
    known = set(names)
    missing = [name for name in reference.columns if not name.startswith("@") and name not in known]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UsageError(
            f"{source}: the reference has columns that these data lack: {', '.join(map(repr, missing[:5]))}{more}",
            todo="give data with these columns, or build the reference with --ignore for them",
        )


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
