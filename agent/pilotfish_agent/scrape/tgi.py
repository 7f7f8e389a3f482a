"""Text Generation Inference: names of router/src/server.rs and backends/v3. One server has one model, not named."""

from pilotfish_agent.scrape import _family as f
from pilotfish_agent.scrape._family import Rule

SIGNS = ("tgi_",)
MODEL = ()
VERSION = ()
RULES = (
    Rule(f.WAITING, ("tgi_queue_size",)),
    Rule(f.QUEUE, ("tgi_request_queue_duration",)),
    Rule(f.DURATION, ("tgi_request_duration",)),
    Rule(f.BATCH, ("tgi_batch_current_size",)),
    Rule(f.REQUESTS, ("tgi_request_success",), outcome="success"),
    Rule(f.REQUESTS, ("tgi_request_failure",), outcome="error"),
    Rule(f.INPUT_TOKENS, ("tgi_request_input_length_sum",)),
    Rule(f.OUTPUT_TOKENS, ("tgi_request_generated_tokens_sum",)),
)
