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
        sender: which process sent them, in words for people; "" where that is not known.
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
    sender: str = ""


Outcome = Literal["success", "client_error", "server_error", "aborted"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One captured request and its answer, with what was said.

    Attributes:
        port: of the server.
        started: epoch seconds of the first request byte; duration: seconds to the last byte of the answer.
        first: seconds to the first byte of the answer, None when there was none.
        method, target: of the request line; the target is as sent, with its query.
        status: HTTP status, None without an answer.
        outcome: how it ended.
        request_headers, response_headers: names in lower case, values joined by ", ".
        request_body, response_body: without transfer coding; content codings are still on.
        request_cut, response_cut: the body is only its beginning.
        marks: (offset in the answer's body where it begins, seconds since the start) of each part of a streamed answer,
            as it arrived.
    """

    port: int
    started: float
    duration: float
    first: float | None
    method: str
    target: str
    status: int | None
    outcome: Outcome
    request_headers: Mapping[str, str]
    request_body: bytes
    response_headers: Mapping[str, str]
    response_body: bytes
    request_cut: bool = False
    response_cut: bool = False
    marks: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one exchange; None = the server does not say. ``estimated``: counted by us, not by the server."""

    input: int | None = None
    output: int | None = None
    cached_input: int | None = None
    reasoning_output: int | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """What a decoder read in one exchange.

    Attributes:
        operation: predict, infer, chat, completions, embeddings, classify, ... or other.
        model, version: as the server's successful answer says (or the path of a request that it answered with success);
            None when it does not. Never what a client merely asks for.
        rows: N rows are N predictions; a generation is one a choice.
        features, prediction, probabilities, n_classes, classes, ids: as in `ObservationBatch`, of ``rows`` rows.
        tokens: of a generation; finish_reasons: one a choice.
        first_content: seconds to the first part of the answer with content; chunk_gaps: seconds between parts after it.
        failed: the answer tells of a failure in spite of its status: an error in the middle of a stream.
        problem: why nothing (or not all) could be read, a word of the decoder's `PROBLEMS`; None when all was.
    """

    operation: str
    model: str | None = None
    version: str | None = None
    rows: int = 0
    features: Mapping[str, Column] = field(default_factory=dict)
    prediction: Column | None = None
    probabilities: Column | None = None
    n_classes: int = 0
    classes: tuple[str, ...] | None = None
    ids: Sequence[str | None] | None = None
    tokens: Tokens | None = None
    finish_reasons: tuple[str, ...] = ()
    first_content: float | None = None
    chunk_gaps: tuple[float, ...] = ()
    failed: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class DriftResult:
    """What the detector says of one stream now (docs/statistics.md, sections 4, 6, 10, 13).

    Attributes:
        evidence: S, nats at level alarm, floored at 0; threshold: T, nats. evidence >= threshold alarms.
        effect: chi distance, with a 95 % interval; None where the stream has none (`@model`) or no rows yet.
        began: epoch seconds of the first shifted tick; since_rows: rows since then.
        bins: of a stream that has changed, the bins that moved most: what each holds, its share in the reference
            (``expected``) and since the change began (``observed``).
        moved_together: streams whose change began at the same time.
        hints: what the change looks like, or what explains it.
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
    bins: tuple[Mapping[str, Any], ...] = ()
    moved_together: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """How one stream's values are spread over its bins: in the reference, and now.

    Attributes:
        edges: of a numeric stream, ascending: bins ``(e[k-1], e[k]]``, then missing, +inf, -inf; else None.
        levels: of a categorical stream; then other, missing; else None.
        reference: share of each bin, float64 of sum 1.
        current: the same now; None while there are too few rows to say.
        rows: that ``current`` speaks of, the older the less.
        began: epoch seconds since when the stream drifts: ``current`` is of the rows since then; None: of the window.
        part: which part of a composite stream it is, in words: the one that changed most.
    """

    model: str
    feature: str
    edges: Column | None
    levels: tuple[str, ...] | None
    reference: Column
    current: Column | None
    rows: int
    began: float | None = None
    part: str = ""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model's line of `status`.

    Attributes:
        versions: a new version against the one before it (docs/versions.md); None while there is nothing to compare.
    """

    model: str
    model_version: str | None
    state: DriftState
    reference_id: str | None
    reference_rows: int
    window_rows: int
    severity: Severity
    drifting: tuple[str, ...]
    words: str
    versions: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """One screen of a running agent; ``dataclasses.asdict`` of it is `/api/v1/status`.

    Attributes:
        target: the first of ``targets``: name, pid, up.
        targets: every watched process tree, in the order of the configuration.
        started: since when the agent watches and counts, epoch seconds.
    """

    version: str
    instance: str
    target: Mapping[str, Any]
    models: tuple[ModelStatus, ...]
    processes: Mapping[str, int | None]
    listen: str | None
    capture: Mapping[str, Any]
    budget: Mapping[str, str]
    notices: tuple[str, ...] = ()
    targets: tuple[Mapping[str, Any], ...] = ()
    started: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the outside may know, of one moment, immutable. Exporters, alerts and the page read nothing else."""

    at: float
    samples: tuple[Sample, ...]
    unavailable: tuple[Unavailable, ...]
    status: Status
    drift: tuple[DriftResult, ...]
    alerts: tuple[Mapping[str, Any], ...] = ()
    shapes: tuple[Shape, ...] = ()
