"""The names under which every server's own metrics are told, and how a server's file says which is which.

Old and new names of one thing stand in one alias list, newest first: the first that is on the page counts, so a server
that shows both for a while is not counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pilotfish_core.metrics import Metric

LABELS = ("target", "server", "model", "model_version")
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""From a batcher's queue (TF Serving's edges start at 100 us) to a long generation (vLLM's end at two hours)."""

WAITING = Metric(
    "pilotfish_server_requests_waiting",
    "gauge",
    "Requests in the server's own queue; growing while running stands still means that it is full: add replicas.",
    LABELS,
)
RUNNING = Metric(
    "pilotfish_server_requests_running", "gauge", "Requests that the server says it is working on now.", LABELS
)
KV_CACHE = Metric(
    "pilotfish_server_kv_cache_usage_ratio",
    "gauge",
    "Part of the key-value cache in use, the fullest engine's; near 1 requests are preempted or wait.",
    LABELS,
)
PREFIX_HITS = Metric(
    "pilotfish_server_prefix_cache_hits_total",
    "counter",
    "Tokens that the server found in its prefix cache; over the queries it is the hit ratio.",
    LABELS,
)
PREFIX_QUERIES = Metric(
    "pilotfish_server_prefix_cache_queries_total",
    "counter",
    "Tokens that the server looked up in its prefix cache.",
    LABELS,
)
QUEUE = Metric(
    "pilotfish_server_queue_duration_seconds",
    "histogram",
    "Time of requests in the server's own queue; a server's wider bucket counts at its upper end.",
    LABELS,
    _SECONDS,
)
DURATION = Metric(
    "pilotfish_server_request_duration_seconds",
    "histogram",
    "Time of requests as the server measures it; compare with the request duration seen from outside.",
    LABELS,
    _SECONDS,
)
BATCH = Metric(
    "pilotfish_server_batch_size",
    "gauge",
    "Requests or rows in one batch, the mean between two scrapes where the server allows it; 1 means no batching.",
    LABELS,
)
PREEMPTIONS = Metric(
    "pilotfish_server_preemptions_total",
    "counter",
    "Requests thrown out of a batch for want of cache and started again; more than 0 costs latency.",
    LABELS,
)
REQUESTS = Metric(
    "pilotfish_server_requests_total",
    "counter",
    "Requests as the server counts them, by success or error; for protocols that are not seen from outside.",
    (*LABELS, "outcome"),
)
INPUT_TOKENS = Metric(
    "pilotfish_server_input_tokens_total", "counter", "Prompt tokens as the server counts them.", LABELS
)
OUTPUT_TOKENS = Metric(
    "pilotfish_server_output_tokens_total", "counter", "Generated tokens as the server counts them.", LABELS
)
CACHED_TOKENS = Metric(
    "pilotfish_server_cached_input_tokens_total",
    "counter",
    "Prompt tokens that the server took from its cache instead of computing them.",
    LABELS,
)
METRICS = (
    WAITING,
    RUNNING,
    KV_CACHE,
    PREFIX_HITS,
    PREFIX_QUERIES,
    QUEUE,
    DURATION,
    BATCH,
    PREEMPTIONS,
    REQUESTS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    CACHED_TOKENS,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """How one of our metrics is read from a server's page.

    A gauge is the sum over the series of a model (`KV_CACHE`: the greatest), a counter their sum; a histogram takes
    the server's histogram, or with ``count`` a running sum and how many it is of; a gauge with ``count`` is the mean
    between two scrapes.

    Attributes:
        metric: of the family above.
        names: the server's names for it, newest first; of counters without `_total`, of histograms without suffix.
        scale: what one of the server's units is in ours: 1e-6 for microseconds.
        count: names, newest first, of what the sum ``names`` is divided by.
        plus: names, newest first, of a second counter that is added to ``count``, or to a counter itself.
        only: (label, beginning): take only series whose label's value begins so.
        but: likewise, of series that are left out.
        outcome: last label of `REQUESTS`.
    """

    metric: Metric
    names: tuple[str, ...]
    scale: float = 1.0
    count: tuple[str, ...] = ()
    plus: tuple[str, ...] = ()
    only: tuple[str, str] | None = None
    but: tuple[tuple[str, str], ...] = ()
    outcome: str | None = None


class Server(Protocol):
    """A file of this folder.

    Attributes:
        SIGNS: beginnings of names that only this server has: which server a page is of.
        MODEL: its labels for the model's name, VERSION: for its version; the first that a series has counts.
        RULES: its aliases.
    """

    SIGNS: tuple[str, ...]
    MODEL: tuple[str, ...]
    VERSION: tuple[str, ...]
    RULES: tuple[Rule, ...]


def wanted(rules: Iterable[Rule]) -> frozenset[str]:
    """Every name on a page that a rule might read."""
    found: set[str] = set()
    for rule in rules:
        for name in (*rule.names, *rule.count, *rule.plus):
            found |= {name, f"{name}_total", f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return frozenset(found)
