"""From a batch's columns to the streams that its encoders make of them (docs/statistics.md, section 9). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

import numpy as np

from pilotfish_agent.drift.encoders import embedding
from pilotfish_agent.drift.encoders._part import Part
from pilotfish_agent.drift.streams import OUTPUT, is_text
from pilotfish_core import registry
from pilotfish_core.nouns import Column, ObservationBatch

PACKAGE: Final = "pilotfish_agent.drift.encoders"
Encoders = Mapping[str, Mapping[str, Any]]


@lru_cache(maxsize=16)
def module(kind: str) -> ModuleType:
    """The encoder of that name.

    Raises:
        ConfigError: there is none.
    """
    return registry.load(PACKAGE, kind)


def streams(name: str, encoder: Mapping[str, Any]) -> Iterator[tuple[str, Part]]:
    """(stream, part) of all streams that the encoder makes of the column ``name``."""
    for part in module(encoder["kind"]).parts(encoder):
        yield name + part.suffix, part


def sources(encoders: Encoders) -> dict[str, str]:
    """The column that each stream of the encoders is made of."""
    return {stream: name for name, encoder in encoders.items() for stream, _ in streams(name, encoder)}


def derived(batch: ObservationBatch, encoders: Encoders) -> ObservationBatch:
    """The batch with the columns of the encoders replaced by those of their parts, as long as the batch.

    A column that the batch lacks has no parts: they are missing as any other stream that it lacks.
    """
    if OUTPUT in encoders and encoders[OUTPUT]["kind"] == "text":
        batch = with_texts(batch)
    present = [name for name in encoders if name in batch.features]
    if not present:
        return batch
    features = {name: column for name, column in batch.features.items() if name not in encoders}
    for name in present:
        features.update(encoded(name, batch.features[name], batch.rows, encoders[name]))
    return replace(batch, features=features)


def with_texts(batch: ObservationBatch) -> ObservationBatch:
    """The batch with predictions that are texts as the feature `output`."""
    if batch.prediction is None or not is_text(batch.prediction) or OUTPUT in batch.features:
        return batch
    return replace(batch, features={**batch.features, OUTPUT: batch.prediction}, prediction=None)


def encoded(name: str, column: Column, rows: int, encoder: Mapping[str, Any]) -> dict[str, Column]:
    """The parts' columns of one column; missing throughout where it is no column of so many rows."""
    if not hasattr(column, "__len__") or len(column) != rows:
        column = np.full(rows, np.nan)
    made = module(encoder["kind"]).encode(column, encoder)
    return {stream: values for (stream, _), values in zip(streams(name, encoder), made, strict=True)}


def checked(encoders: Encoders) -> dict[str, dict[str, Any]]:
    """The encoders of a file, tried on a row.

    Raises:
        ValueError, KeyError, TypeError: of another version, or damaged.
    """
    found = {str(name): dict(encoder) for name, encoder in encoders.items()}
    for name, encoder in found.items():
        if encoder["kind"] not in registry.names(PACKAGE):
            raise ValueError(f"{name}: no encoder {encoder['kind']!r}")
        dimensions = int(encoder.get("dimensions", 1))
        if not 0 < dimensions <= embedding.MAX_DIMENSIONS:
            raise ValueError(f"{name}: {dimensions} dimensions")
        encoded(name, np.full((1, dimensions), 0.5), 1, encoder)
    return found
