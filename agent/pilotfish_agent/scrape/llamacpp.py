"""llama.cpp's server, started with `--metrics`: names of tools/server; it has no histogram and names no model."""

from pilotfish_agent.scrape import _family as f
from pilotfish_agent.scrape._family import Rule

SIGNS = ("llamacpp:",)
MODEL = ("model",)
VERSION = ()
RULES = (
    Rule(f.WAITING, ("llamacpp:requests_deferred",)),
    Rule(f.RUNNING, ("llamacpp:requests_processing",)),
    Rule(f.KV_CACHE, ("llamacpp:kv_cache_usage_ratio",)),  # until 2025
    Rule(f.BATCH, ("llamacpp:n_busy_slots_per_decode",)),  # the mean since the server's start
    # Its prompt tokens leave out those from the cache; everybody else's hold them.
    Rule(f.INPUT_TOKENS, ("llamacpp:prompt_tokens",), plus=("llamacpp:prompt_tokens_cached",)),
    Rule(f.OUTPUT_TOKENS, ("llamacpp:tokens_predicted",)),
    Rule(f.CACHED_TOKENS, ("llamacpp:prompt_tokens_cached",)),
)
