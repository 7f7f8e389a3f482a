"""The tests of `drift/tests/` on the streams of a check: on counts always, on raw values where they are at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Final

import numpy as np

from pilotfish_agent.drift.builder import SEED
from pilotfish_agent.drift.check import StreamCheck
from pilotfish_agent.drift.composites import derived
from pilotfish_agent.drift.kept import KeptColumn, Reservoir
from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.streams import columns
from pilotfish_agent.drift.tests._part import PACKAGE, Kind, Side, TestResult, without_pvalue
from pilotfish_agent.windows.binning import floats
from pilotfish_core import registry
from pilotfish_core.errors import UsageError
from pilotfish_core.nouns import Column, ObservationBatch

ALL: Final = "all"
VALUES: Final = 50_000
"""Numbers of a stream that are kept of each side: more would cost seconds and tell hardly more."""
VECTORS: Final = 2_000
"""Rows of an embedding that are kept: its tests take no more."""
NO_VALUES: Final = "reference holds no raw values"
ONCE: Final = "standard input cannot be read once more for raw values"
DEPENDENT: Final = "rows follow one another, which this test does not know"


def chosen(names: Sequence[str]) -> dict[str, ModuleType]:
    """The modules of these tests, of all where ``all`` is among them; in the order of names.

    Raises:
        UsageError: there is no such test.
    """
    known = registry.names(PACKAGE)
    for name in names:
        if name != ALL and name not in known:
            raise UsageError("no such test", got=name, expected=f"all, or some of {', '.join(known)}")
    return dict(registry.parts(PACKAGE, None if ALL in names else sorted(set(names))))


def need_values(modules: Mapping[str, ModuleType]) -> bool:
    """Whether any of them compares raw values."""
    return any(module.NEEDS == "values" for module in modules.values())


class RawValues:
    """The raw values of one side: of numeric streams, and the vectors of embeddings: a uniform sample of the rows.

    Args:
        reference: says which streams are numeric.
        task: `model.task`.
    """

    def __init__(self, reference: Reference, task: str = "auto", most: int = VALUES) -> None:
        self._reference, self._task = reference, task
        self._sample, self._few = Reservoir(most, SEED), Reservoir(VECTORS, SEED)
        self._columns = {f.name: KeptColumn() for f in reference.features if f.kind == "numeric"}
        self._vectors: dict[str, Floats] = {}

    def add(self, batch: ObservationBatch) -> None:
        """The next rows, as they were read."""
        self._add_vectors(batch)
        batch = derived(batch, self._reference.encoders)
        found = columns(batch, self._task)
        which, at = self._sample.place(batch.rows)
        for name, kept in self._columns.items():
            if name in found:
                kept.add(floats(found[name]), which, at, self._sample.kept)

    def _add_vectors(self, batch: ObservationBatch) -> None:
        which, at = self._few.place(batch.rows)
        for name in self._reference.encoders:
            column: Column = batch.features.get(name)
            if getattr(column, "ndim", 1) != 2:
                continue
            if name not in self._vectors:
                self._vectors[name] = np.full((VECTORS, column.shape[1]), np.nan)
            if self._vectors[name].shape[1] == column.shape[1]:
                self._vectors[name][at] = column if which is None else column[which]

    def of(self, name: str) -> Floats | None:
        """The finite values (n,) of a stream in ascending order, or the whole vectors (n, d) of an embedding."""
        if name in self._vectors:
            vectors = self._vectors[name]
            whole: Floats = vectors[np.isfinite(vectors).all(1)]
            return whole
        if name not in self._columns:
            return None
        values = self._columns[name].numbers(self._sample.kept)
        return np.sort(values[np.isfinite(values)])


Raw = tuple[RawValues, RawValues] | str
"""Values of the reference and of the batch, or why there are none."""


def results(one: StreamCheck, modules: Mapping[str, ModuleType], raw: Raw) -> Iterator[TestResult]:
    """Of one feature.

    Args:
        one: its stream; of a composite the part that says the most.
        modules: the tests.
        raw: values of the reference and of the batch, or why there are none.
    """
    kinds: tuple[Kind, ...] = (one.stream.kind,) if one.stream.part_of is None else (one.stream.kind, "embedding")
    ordered = len(one.stream.counts) - len(one.stream.special) if one.stream.kind == "numeric" else 0
    binned = [Side(counts / one.phi, ordered) for counts in (one.stream.counts, one.counts)]
    sides: dict[str, list[Side]] = {}
    for name, module in modules.items():
        kind = next((k for k in kinds if k in module.KINDS), None)
        if kind is None:
            continue
        if module.NEEDS == "counts":
            yield module.compare(*binned)
            continue
        if isinstance(raw, str):
            yield TestResult(name, None, None, raw)
            continue
        source = one.feature if kind == "embedding" else one.stream.name
        if source not in sides:
            sides[source] = [Side(b.counts, ordered, v.of(source)) for b, v in zip(binned, raw, strict=True)]
        found: TestResult = module.compare(*sides[source])
        yield without_pvalue(found, DEPENDENT) if one.phi > 1 else found
