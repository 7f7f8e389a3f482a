"""TensorFlow Serving: names of servables/tensorflow/util.cc and batching_session.cc, with colons for slashes.

Its page is off unless `monitoring_config` turns it on, and names no version. Times are microseconds.
"""

from pilotfish_agent.scrape import _family as f
from pilotfish_agent.scrape._family import Rule

SIGNS = (":tensorflow:",)
MODEL = ("model_name", "model")
VERSION = ()
_BATCHED = (":tensorflow:serving:batching_session:", ":tensorflow:serving:saved_model_with_batching:")
RULES = (
    Rule(f.QUEUE, tuple(b + "queuing_latency" for b in _BATCHED), scale=1e-6),
    Rule(f.DURATION, (":tensorflow:serving:request_latency",), scale=1e-6),
    Rule(
        f.BATCH,
        tuple(b + "processed_batch_size_sum" for b in _BATCHED),
        count=tuple(b + "processed_batch_size_count" for b in _BATCHED),
    ),
    Rule(f.REQUESTS, (":tensorflow:serving:request_count",), only=("status", "OK"), outcome="success"),
    Rule(f.REQUESTS, (":tensorflow:serving:request_count",), but=(("status", "OK"),), outcome="error"),
)
