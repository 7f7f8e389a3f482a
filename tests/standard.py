"""The standard Snapshot: one of everything an exporter or the page may meet, of one fixed moment."""

from __future__ import annotations

from pilotfish_core.metrics import Distribution, Metric, Sample, Unavailable
from pilotfish_core.nouns import DriftResult, ModelStatus, Snapshot, Status

AT = 1_732_320_000.25

UP = Metric("pilotfish_target_up", "gauge", "1 while a process of the target lives; page on 0.", ("target",))
CPU = Metric(
    "pilotfish_process_cpu_seconds_total", "counter", "CPU time; rate it for cores in use.", ("target", "mode")
)
MEMORY = Metric("pilotfish_process_resident_memory_bytes", "gauge", "Memory in RAM; watch its trend.", ("target",))
DURATION = Metric(
    "pilotfish_request_duration_seconds",
    "histogram",
    "Time of a call; alert on its quantiles.",
    ("target", "model", "model_version", "operation", "outcome"),
    (0.005, 0.05, 0.5),
)
VALUE = Metric(
    "pilotfish_prediction_value",
    "histogram",
    "Predicted values on the reference's edges.",
    ("target", "model", "model_version"),
    (-1.5, 0.0, 2.5e7),
)
EVIDENCE = Metric(
    "pilotfish_drift_evidence_ratio",
    "gauge",
    "Evidence over its threshold; 1 and more alarms.",
    ("target", "model", "model_version", "feature"),
)
EFFECT = Metric(
    "pilotfish_drift_effect",
    "gauge",
    "How far the stream is from its reference.",
    ("target", "model", "model_version", "feature"),
)
SEVERITY = Metric(
    "pilotfish_drift_alert_severity",
    "gauge",
    "Exactly one is 1; page on warning and critical.",
    ("target", "model", "model_version", "severity"),
)
MODEL = ("digits", "digits", "7")

DRIFT = (
    DriftResult("digits", "@prediction", "stable", "none", 0.4, 16.0, 0.02, 0.0, 0.05),
    DriftResult(
        "digits", "pixel_07", "drifting", "warning", 20.0, 16.0, 0.44, 0.39, 0.49, AT - 240, 4_800,
        'more rows in "13 and above" (12 % -> 31 %)',
    ),
    DriftResult("digits", "@model", "stable", "none", 1.5, 16.0),
)  # fmt: skip


def standard_snapshot() -> Snapshot:
    """A digits model with one drifting pixel."""
    samples = (
        Sample(UP, ("digits",), 1.0),
        Sample(CPU, ("digits", "user"), 12.25),
        Sample(CPU, ("digits", "system"), 3.0),
        Sample(MEMORY, ("digits",), 104_857_600.0),
        Sample(DURATION, (*MODEL, "predict", "success"), Distribution((900, 90, 9, 1), 14.5)),
        Sample(DURATION, (*MODEL, "predict", "server_error"), Distribution((0, 2, 0, 0), 0.0625)),
        Sample(VALUE, ("digits", "digits", None), Distribution((1, 2, 3, 4), -7.5)),
        *(Sample(EVIDENCE, (*MODEL, r.feature), r.evidence / r.threshold) for r in DRIFT),
        *(Sample(EFFECT, (*MODEL, r.feature), r.effect) for r in DRIFT if r.effect is not None),
        *(Sample(SEVERITY, (*MODEL, s), float(s == "warning")) for s in ("none", "info", "warning", "critical")),
        # What must be escaped, cut or left out.
        Sample(EVIDENCE, (*MODEL, 'quote " backslash \\ line\nend'), 0.5),
        Sample(EVIDENCE, (*MODEL, "lone \ud800 surrogate, NUL \x00, CR \r"), 0.25),
        Sample(EVIDENCE, (*MODEL, "x" * 300), float("nan")),
        Sample(EVIDENCE, (*MODEL, "pixel_07"), 99.0),  # a second one: the first stays
        Sample(CPU, ("digits", "stolen"), float("inf")),  # no counter
    )
    models = (ModelStatus("digits", "7", "drifting", "ab12cd34", 20_000, 4_800, "warning", ("pixel_07",), "1 of 3"),)
    status = Status(
        version="0.1.0",
        instance="digits",
        target={"name": "digits", "pid": 4242, "up": True},
        models=models,
        processes={"agent": 4243, "guard": 4244, "worker": None},
        listen="127.0.0.1:7374",
        capture={"mode": "auto"},
        budget={"false_alarms": "1 per 30d", "implied_total": "1 per 30d"},
        notices=("the reference has no times: independence of rows is assumed",),
    )
    gaps = (Unavailable("gpu", "pilotfish_gpu_up", "not_installed"),)
    return Snapshot(AT, samples, gaps, status, DRIFT)
