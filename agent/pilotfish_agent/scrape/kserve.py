"""KServe's Python SDK: names of python/kserve/kserve/metrics.py."""

from pilotfish_agent.scrape import _family as f
from pilotfish_agent.scrape._family import Rule

SIGNS = ("request_predict_seconds", "request_preprocess_seconds")
MODEL = ("model_name",)
VERSION = ()
RULES = (Rule(f.DURATION, ("request_predict_seconds",)),)
