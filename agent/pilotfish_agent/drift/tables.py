"""Everything a stream's evidence needs, computed once: masses, dictionary, penalties, minimum detectable effect.

Building needs scipy.special and takes some 60 ms a stream: ``pf-worker`` does it (`worker`) and leaves a cache file.
Reading the cache and running on the tables needs numpy only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift import dictionary
from pilotfish_agent.drift.dictionary import PLUGIN_NAMES, PLUGINS, WEIGHT_PLUGINS
from pilotfish_agent.drift.effect import minimum_detectable_effect
from pilotfish_agent.drift.layout import Floats, Ints, as_floats, coarse_map, fold, nominal
from pilotfish_agent.drift.strata import differ, narrowed

ETA: Final = 1.0
"""The finite reference may take as much of the budget as chance has: the line is at (1 + ETA) A F."""

PLUGIN_CONFIDENCE: Final = 0.01
"""Plug-ins hold for all streams of a model together with this probability of error over references."""

FEWEST_STRATUM_ROWS: Final = 50
"""A stratum with fewer says nothing: its ticks neither add evidence nor take any."""

FORMAT: Final = "pilotfish-tables/3"
Kind = Literal["numeric", "categorical"]


@dataclass(frozen=True, slots=True, eq=False)
class TableSpec:
    """What the tables of one stream depend on, besides the budget.

    Attributes:
        name: of the stream.
        kind: numeric or categorical.
        counts: reference rows in each bin, shape (K,).
        special: bins of missing, +inf and -inf of a numeric stream.
        phi: variance inflation by dependence, >= 1.
        min_effect: chi distance within which level alarm stays silent.
        strata: reference rows of each stratum, (S, K), where each has tables of its own.
    """

    name: str
    kind: Kind
    counts: Floats
    special: tuple[int, ...] = ()
    phi: float = 1.0
    min_effect: float = 0.1
    strata: Floats | None = None

    def same_tables(self) -> tuple[Any, ...]:
        """Specs with equal keys have equal tables."""
        counts = [np.asarray(c, dtype=np.float64).tobytes() for c in (self.counts, self.strata) if c is not None]
        return (self.kind, *counts, self.special, self.phi, self.min_effect)


@dataclass(frozen=True, slots=True, eq=False)
class StreamTables:
    """Tables of one stream: K bins, J fixed alternatives and four plug-ins, V = 2 levels (notice, alarm).

    Attributes:
        kind, counts, special, phi, min_effect: as in the spec.
        pi: reference masses of the effective counts ``counts / phi``, shape (K,).
        names: of the alternatives, J + 4.
        log_weights: prior log weights, shape (J + 4,), sum of weights 1.
        penalties: nats a row, shape (V, J).
        kappa_fine, kappa_coarse: chi radius of the reference's own error, over bins and over groups of bins.
        coarse_map: group of each bin, shape (K,).
        scores: orthonormal location, scale, skew, kurtosis, (4, K); 0 at special bins and for levels.
        mde: smallest location shift (sd) that level alarm finds within 20,000 rows; None where there is none.
        log_threshold: T = log((1 + ETA) A) + log F, nats.
        streams: F.
        stratum_counts: reference rows of each stratum (S, K), S = 0 where all are alike.
        stratum_penalties: nats a row, (S, V, J).
        other_ratios: log likelihood ratios (J, K) where they are not those of the dictionary of ``pi``.
    """

    kind: Kind
    counts: Floats
    special: tuple[int, ...]
    phi: float
    min_effect: float
    pi: Floats
    names: tuple[str, ...]
    log_weights: Floats
    penalties: Floats
    kappa_fine: float
    kappa_coarse: float
    coarse_map: Ints
    scores: Floats
    mde: float | None
    log_threshold: float
    streams: int
    stratum_counts: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    stratum_penalties: Floats = field(default_factory=lambda: np.zeros((0, 0, 0)))
    other_ratios: Floats | None = None

    @property
    def log_ratios(self) -> Floats:
        """Log likelihood ratios (J, K): most of what tables would hold, and made within a millisecond."""
        if self.other_ratios is not None:
            return self.other_ratios
        return _words(self.kind, self.pi, self.special, self.scores).log_ratios

    def by_stratum(self, count: int) -> tuple[StreamTables, ...]:
        """Tables of each of ``count`` strata; none where all are alike. Large: do not keep them."""
        if not len(self.stratum_counts):
            return ()
        alike = _alike(self.stratum_counts, self.names[: -len(PLUGIN_NAMES)], self.special)
        own = [self._of_stratum(c, p, alike) for c, p in zip(self.stratum_counts, self.stratum_penalties, strict=True)]
        return tuple(own[narrowed(s, count, len(own))] for s in range(count))

    def _of_stratum(self, counts: Floats, penalties: Floats, alike: NDArray[np.bool_]) -> StreamTables:
        pi, scores, rows = _stratum(self.kind, counts, self.special, self.phi, self.names[: -len(PLUGIN_NAMES)])
        rows[alike] = self.log_ratios[alike]
        return replace(
            self,
            counts=counts,
            pi=pi,
            scores=scores,
            other_ratios=rows,
            penalties=penalties,
            stratum_counts=np.zeros((0, 0)),
            stratum_penalties=np.zeros((0, 0, 0)),
        )

    @property
    def deltas(self) -> tuple[float, float]:
        """Minimum effect of level notice and of level alarm."""
        return (0.0, self.min_effect)


def log_threshold(budget_ticks: float, streams: int) -> float:
    """T in nats for a budget of one false alarm per ``budget_ticks`` ticks over all streams of the model."""
    return math.log((1 + ETA) * budget_ticks) + math.log(streams)


def build(
    specs: Sequence[TableSpec],
    budget_ticks: float,
    streams: int | None = None,
    *,
    built: Callable[[int], None] = lambda _done: None,
) -> list[StreamTables]:
    """Tables of all streams, in the order of ``specs``; streams with equal counts and settings share one object.

    Args:
        specs: of all tested streams of one model.
        budget_ticks: A, ticks per allowed false alarm, replicas counted in.
        streams: F where it is not ``len(specs)``.
        built: told the number of specs done after each.
    """
    count = len(specs) if streams is None else streams
    known: dict[tuple[Any, ...], StreamTables] = {}
    result = []
    for spec in specs:
        key = spec.same_tables()
        if key not in known:
            known[key] = build_one(spec, budget_ticks, count)
        result.append(known[key])
        built(len(result))
    return result


def build_one(spec: TableSpec, budget_ticks: float, streams: int) -> StreamTables:
    """Tables of one stream; needs scipy.special."""
    from pilotfish_agent.drift.penalty import chi_radius, stream_penalties

    alpha = np.asarray(spec.counts, dtype=np.float64) / spec.phi
    pi = nominal(alpha)
    line = log_threshold(budget_ticks, streams)
    scores = dictionary.scores_of(spec.kind, pi, spec.special)
    words = _words(spec.kind, pi, spec.special, scores)
    penalties = np.array(
        [
            stream_penalties(words.log_ratios, words.names, alpha, pi, spec.special, line, words.log_weights, delta)
            for delta in (0.0, spec.min_effect)
        ]
    )
    groups = coarse_map(len(pi), spec.special)
    error = PLUGIN_CONFIDENCE / streams / 2
    plugin_weights = np.full(len(PLUGINS), math.log(WEIGHT_PLUGINS / len(PLUGINS)))
    mde = minimum_detectable_effect(pi, spec.special, scores[0], words.names, penalties[1], line, phi=spec.phi)
    strata, each = np.zeros((0, 0)), np.zeros((0, 0, 0))
    if spec.strata is not None:
        strata = np.asarray(spec.strata, dtype=np.float64)
        each, mde = _strata_penalties(spec, strata, words, line, penalties)
    return StreamTables(
        kind=spec.kind,
        counts=as_floats(spec.counts),
        special=spec.special,
        phi=spec.phi,
        min_effect=spec.min_effect,
        pi=as_floats(pi),
        names=words.names + PLUGIN_NAMES,
        log_weights=as_floats(np.concatenate((words.log_weights, plugin_weights))),
        penalties=as_floats(penalties),
        kappa_fine=chi_radius(alpha, error),
        kappa_coarse=chi_radius(fold(groups, alpha), error),
        coarse_map=groups,
        scores=as_floats(scores),
        mde=mde,
        log_threshold=line,
        streams=streams,
        stratum_counts=as_floats(strata),
        stratum_penalties=as_floats(each),
    )


def _words(kind: Kind, pi: Floats, special: tuple[int, ...], scores: Floats) -> dictionary.Dictionary:
    return dictionary.numeric(pi, special, scores) if kind == "numeric" else dictionary.categorical(pi)


def _strata_penalties(
    spec: TableSpec, strata: Floats, words: dictionary.Dictionary, line: float, pooled: Floats
) -> tuple[Floats, float | None]:
    """Penalties of each stratum (S, V, J), and the median minimum detectable effect over the strata.

    Those of all rows together, ``pooled`` (V, J), hold for what is the same in all strata.
    """
    from pilotfish_agent.drift.penalty import stream_penalties

    alike = _alike(strata, words.names, spec.special)
    result = np.zeros((len(strata), 2, len(words.names)))
    result[..., alike] = pooled[:, alike]
    found = []
    for s, counts in enumerate(strata):
        if counts.sum() < FEWEST_STRATUM_ROWS:
            continue
        pi, scores, rows = _stratum(spec.kind, counts, spec.special, spec.phi, words.names)
        known = np.flatnonzero(rows.any(1) & ~alike)
        names = [words.names[j] for j in known.tolist()]
        for v, delta in enumerate((0.0, spec.min_effect)):
            result[s, v, known] = stream_penalties(
                rows[known], names, counts / spec.phi, pi, spec.special, line, words.log_weights[known], delta
            )
        mde = minimum_detectable_effect(pi, spec.special, scores[0], words.names, result[s, 1], line, phi=spec.phi)
        found.append(math.inf if mde is None else mde)
    middle = sorted(found)[len(found) // 2] if found else math.inf
    return result, middle if math.isfinite(middle) else None


def _alike(strata: Floats, names: Sequence[str], special: tuple[int, ...]) -> NDArray[np.bool_]:
    """Alternatives (J,) that move one bin whose share is the same in all strata: they know it from all rows."""
    rest = strata.sum(1)
    same = [not differ(np.stack((own, rest - own), axis=1)) for own in strata.T]
    bins = [dictionary.moved_bin(name, special) for name in names]
    return np.array([b >= 0 and same[b] for b in bins], np.bool_)


def _stratum(
    kind: Kind, counts: Floats, special: tuple[int, ...], phi: float, names: Sequence[str]
) -> tuple[Floats, Floats, Floats]:
    """Masses (K,), scores (4, K) and log ratios (J, K) of a stratum, of the alternatives that the stream has.

    An alternative that the stratum lacks is a row of zeros, and so are all of a stratum with too few rows.
    """
    pi = nominal(counts / phi)
    scores = dictionary.scores_of(kind, pi, special)
    words = _words(kind, pi, special, scores)
    place = {name: j for j, name in enumerate(words.names)}
    rows = np.zeros((len(names), len(pi)))
    if counts.sum() >= FEWEST_STRATUM_ROWS:
        own = [j for j, name in enumerate(names) if name in place]
        rows[own] = words.log_ratios[[place[names[j]] for j in own]]
    return pi, scores, rows


_ARRAYS: Final = (
    "counts",
    "pi",
    "log_weights",
    "penalties",
    "coarse_map",
    "scores",
    "stratum_counts",
    "stratum_penalties",
)


def cache_key(reference_id: str, specs: Sequence[TableSpec], budget_ticks: float, streams: int | None = None) -> str:
    """File-name part (16 hex digits) of everything that the tables depend on."""
    digest = hashlib.sha256(f"{FORMAT} {reference_id} {budget_ticks!r} {streams or len(specs)}".encode())
    for spec in specs:
        digest.update(repr((spec.name, *spec.same_tables())).encode())
    return digest.hexdigest()[:16]


def save(path: str, specs: Sequence[TableSpec], budget_ticks: float, tables: Sequence[StreamTables]) -> None:
    """Writes the cache file, atomically; equal tables once."""
    distinct = list({id(table): table for table in tables}.values())
    position = {id(table): index for index, table in enumerate(distinct)}
    meta = {
        "format": FORMAT,
        "key": cache_key("", specs, budget_ticks, tables[0].streams if tables else None),
        "streams": [position[id(table)] for table in tables],
        "tables": [_describe(table) for table in distinct],
    }
    numbers = [np.ravel(getattr(table, name)).astype(np.float64) for table in distinct for name in _ARRAYS]
    content = io.BytesIO()
    np.savez(
        content,
        meta=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
        numbers=np.concatenate(numbers) if numbers else np.zeros(0),
    )
    _replace(path, content.getvalue())


def load(
    path: str, specs: Sequence[TableSpec], budget_ticks: float, streams: int | None = None
) -> list[StreamTables] | None:
    """The cached tables, or None where the file is absent, damaged, or made for something else."""
    try:
        # A zip archive: every member carries a checksum, which reading verifies. Opened here, because numpy leaves the
        # file of a damaged archive open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            meta, numbers = json.loads(archive["meta"].tobytes()), archive["numbers"]
        if meta["format"] != FORMAT or meta["key"] != cache_key("", specs, budget_ticks, streams):
            return None
        distinct = _restore(meta["tables"], numbers)
        return [distinct[index] for index in meta["streams"]]
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _describe(table: StreamTables) -> dict[str, Any]:
    fields = (field.name for field in dataclasses.fields(table))
    described = {name: getattr(table, name) for name in fields if name not in (*_ARRAYS, "other_ratios")}
    return described | {"shapes": [np.shape(getattr(table, name)) for name in _ARRAYS]}


def _restore(described: Sequence[dict[str, Any]], numbers: Floats) -> list[StreamTables]:
    tables, used = [], 0
    for meta in described:
        arrays: dict[str, Any] = {}
        shapes = meta.pop("shapes")
        for name, shape in zip(_ARRAYS, shapes, strict=True):
            size = math.prod(shape)
            arrays[name] = as_floats(numbers[used : used + size]).reshape(shape)
            used += size
        arrays["coarse_map"] = arrays["coarse_map"].astype(np.int64)
        meta["special"], meta["names"] = tuple(meta["special"]), tuple(map(sys.intern, meta["names"]))
        tables.append(StreamTables(**meta, **arrays))
    if used != len(numbers):
        raise ValueError(f"{len(numbers)} numbers in the cache, {used} described")
    return tables


def _replace(path: str, content: bytes) -> None:
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".tables-", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
