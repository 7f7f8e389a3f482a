"""MLServer: names of mlserver/handlers/dataplane.py; its duration is a summary without quantiles, so a mean."""

from pilotfish_agent.scrape import _family as f
from pilotfish_agent.scrape._family import Rule

SIGNS = ("model_infer_request_", "rest_server_requests", "batch_request_queue", "parallel_request_queue")
MODEL = ("model", "model_name")
VERSION = ("version", "model_version")
RULES = (
    Rule(f.DURATION, ("model_infer_request_duration_sum",), count=("model_infer_request_duration_count",)),
    Rule(f.REQUESTS, ("model_infer_request_success",), outcome="success"),
    Rule(f.REQUESTS, ("model_infer_request_failure",), outcome="error"),
)
