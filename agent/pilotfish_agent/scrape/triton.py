"""Triton: names of core/src/metrics.cc. Its times are running sums in microseconds, so a queue time is a mean."""

from pilotfish_agent.scrape import _family as f
from pilotfish_agent.scrape._family import Rule

SIGNS = ("nv_inference_", "nv_model_", "nv_pinned_memory_")
MODEL = ("model",)
VERSION = ("version",)
RULES = (
    Rule(f.WAITING, ("nv_inference_pending_request_count",)),
    Rule(
        f.QUEUE,
        ("nv_inference_queue_duration_us",),
        scale=1e-6,
        count=("nv_inference_request_success",),
        plus=("nv_inference_request_failure",),
    ),
    Rule(
        f.DURATION,
        ("nv_inference_request_duration_us",),
        scale=1e-6,
        count=("nv_inference_request_success",),
        plus=("nv_inference_request_failure",),
    ),
    Rule(f.BATCH, ("nv_inference_count",), count=("nv_inference_exec_count",)),
    Rule(f.REQUESTS, ("nv_inference_request_success",), outcome="success"),
    Rule(f.REQUESTS, ("nv_inference_request_failure",), outcome="error"),
)
