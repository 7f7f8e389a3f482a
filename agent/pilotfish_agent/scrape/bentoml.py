"""BentoML 1.2 and newer (`bentoml_service_`) and 1.0 to 1.1 (`bentoml_api_server_`): names of its instruments.py."""

from pilotfish_agent.scrape import _family as f
from pilotfish_agent.scrape._family import Rule

SIGNS = ("bentoml_",)
MODEL = ("service_name", "runner_name")
VERSION = ("service_version",)
_SERVICE = ("bentoml_service_", "bentoml_api_server_")
_OK = ("http_response_code", "2")
_HEALTH = tuple(("endpoint", path) for path in ("/readyz", "/livez", "/healthz", "/metrics"))
"""It counts its own health checks too."""
RULES = (
    Rule(f.RUNNING, tuple(s + "request_in_progress" for s in _SERVICE), but=_HEALTH),
    Rule(f.DURATION, tuple(s + "request_duration_seconds" for s in _SERVICE), but=_HEALTH),
    Rule(
        f.BATCH,
        ("bentoml_service_adaptive_batch_size_sum", "bentoml_runner_adaptive_batch_size_sum"),
        count=("bentoml_service_adaptive_batch_size_count", "bentoml_runner_adaptive_batch_size_count"),
    ),
    Rule(f.REQUESTS, tuple(s + "request" for s in _SERVICE), only=_OK, but=_HEALTH, outcome="success"),
    Rule(f.REQUESTS, tuple(s + "request" for s in _SERVICE), but=(_OK, *_HEALTH), outcome="error"),
)
