"""vLLM: names of vllm/v1/metrics/loggers.py and, of versions before 0.9, of vllm/engine/metrics.py."""

from pilotfish_agent.scrape import _family as f
from pilotfish_agent.scrape._family import Rule

SIGNS = ("vllm:",)
MODEL = ("model_name",)
VERSION = ()
RULES = (
    Rule(f.WAITING, ("vllm:num_requests_waiting",)),
    Rule(f.RUNNING, ("vllm:num_requests_running",)),
    Rule(f.KV_CACHE, ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")),
    Rule(f.PREFIX_HITS, ("vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits")),
    Rule(f.PREFIX_QUERIES, ("vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries")),
    Rule(f.QUEUE, ("vllm:request_queue_time_seconds",)),
    Rule(f.DURATION, ("vllm:e2e_request_latency_seconds",)),
    Rule(f.PREEMPTIONS, ("vllm:num_preemptions",)),
    Rule(f.REQUESTS, ("vllm:request_success",), but=(("finished_reason", "error"),), outcome="success"),
    Rule(f.REQUESTS, ("vllm:request_success",), only=("finished_reason", "error"), outcome="error"),
    Rule(f.INPUT_TOKENS, ("vllm:prompt_tokens",)),
    Rule(f.OUTPUT_TOKENS, ("vllm:generation_tokens",)),
    Rule(f.CACHED_TOKENS, ("vllm:prompt_tokens_cached",)),
)
