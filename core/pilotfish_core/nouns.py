"""The nouns of the field, frozen. Data goes one way: observations in, snapshots out.

Sequences of numbers are ``array('d')`` or numpy arrays: anything with the buffer protocol and float64 items.
NaN stands for a missing number, None for a missing text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pilotfish_core.metrics import Sample, Unavailable

Column = Any
"""One feature's values, one a row: float64 numbers (array('d') or numpy, NaN = missing) or list[str | None]."""

Verdict = Literal["stable", "changed", "drifting", "not_enough_data"]
Severity = Literal["none", "info", "warning", "critical"]
DriftState = Literal["drifting", "learning", "not_enough_data", "provisional", "stable"]


@dataclass(frozen=True, slots=True)
class Target:
    """The watched process tree.

    Attributes:
        name: `target` label: base name of the command, the unit or the process.
        pid: root of the tree, None while it is not there.
        start_time: its start in clock ticks since boot (field 22 of /proc/PID/stat): the pair is unique.
    """

    name: str
    pid: int | None
    start_time: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """One served model. An unknown version is None, never an empty text."""

    name: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ObservationBatch:
    """Prediction events of one model, column by column.

    Attributes:
        model: name, "" where the sender knows none (the agent's own name is taken).
        version: as the sender says, None when unknown.
        source: sdk, capture, tail.
        rows: number of events.
        features: name -> Column of length ``rows``; empty when the events have no features.
        prediction: Column of length ``rows`` (numbers or classes), or None.
        probabilities: row-major float64 of shape (rows, n_classes), or None.
        n_classes: columns of ``probabilities``.
        classes: names of the columns of ``probabilities`` where known.
        latency: float64 seconds of length ``rows``, NaN = not measured, or None.
        errors: of these, how many calls failed (they have latency, but no prediction).
        ids: request ids, or None: repeats within a tick count once.
        slices: name -> texts of length ``rows``: groups that quality is compared between.
    """

    model: str
    version: str | None
    source: str
    rows: int
    features: Mapping[str, Column] = field(default_factory=dict)
    prediction: Column | None = None
    probabilities: Column | None = None
    n_classes: int = 0
    classes: tuple[str, ...] | None = None
    latency: Sequence[float] | None = None
    outcomes: Sequence[str] | None = None
    ids: Sequence[str | None] | None = None
    slices: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DriftResult:
    """What the detector says of one stream now (docs/statistics.md, sections 4, 6, 10, 13).

    Attributes:
        evidence: S, nats at level alarm, floored at 0; threshold: T, nats. evidence >= threshold alarms.
        effect: chi distance, with a 95 % interval; None where the stream has none (`@model`) or no rows yet.
        began: epoch seconds of the first shifted tick; since_rows: rows since then.
    """

    model: str
    feature: str
    verdict: Verdict
    severity: Severity
    evidence: float
    threshold: float
    effect: float | None = None
    effect_lower: float | None = None
    effect_upper: float | None = None
    began: float | None = None
    since_rows: int | None = None
    explanation: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model's line of `status`."""

    model: str
    model_version: str | None
    state: DriftState
    reference_id: str | None
    reference_rows: int
    window_rows: int
    severity: Severity
    drifting: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Status:
    """One screen of a running agent; ``dataclasses.asdict`` of it is `/api/v1/status`."""

    version: str
    instance: str
    target: Mapping[str, Any]
    models: tuple[ModelStatus, ...]
    processes: Mapping[str, int | None]
    listen: str | None
    capture: Mapping[str, str]
    budget: Mapping[str, str]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the outside may know, of one moment, immutable. Exporters, alerts and the page read nothing else."""

    at: float
    samples: tuple[Sample, ...]
    unavailable: tuple[Unavailable, ...]
    status: Status
    drift: tuple[DriftResult, ...]
    alerts: tuple[Mapping[str, Any], ...] = ()
