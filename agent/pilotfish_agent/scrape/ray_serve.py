"""Ray Serve, from `_metrics_export_port`: names of ray/serve/_private; a deployment is the model."""

from pilotfish_agent.scrape import _family as f
from pilotfish_agent.scrape._family import Rule

SIGNS = ("ray_serve_",)
MODEL = ("deployment",)
VERSION = ()
RULES = (
    Rule(f.WAITING, ("ray_serve_deployment_queued_queries", "ray_serve_replica_pending_queries")),
    Rule(f.RUNNING, ("ray_serve_replica_processing_queries", "ray_serve_num_ongoing_requests_at_replicas")),
    Rule(f.QUEUE, ("ray_serve_request_router_fulfillment_time_ms",), scale=1e-3),
    Rule(f.DURATION, ("ray_serve_deployment_processing_latency_ms",), scale=1e-3),
    Rule(f.BATCH, ("ray_serve_actual_batch_size_sum",), count=("ray_serve_actual_batch_size_count",)),
    Rule(f.REQUESTS, ("ray_serve_deployment_request_counter",), outcome="success"),
    Rule(f.REQUESTS, ("ray_serve_deployment_error_counter",), outcome="error"),
)
