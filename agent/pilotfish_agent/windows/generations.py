"""Generated text per model: tokens, and when they came. Fed by the exchanges whose bodies were read.

Edges: OpenTelemetry's conventions for generative AI (gen_ai.server.time_to_first_token, .time_per_output_token).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pilotfish_agent.decode._generation import REASONS
from pilotfish_agent.windows.histogram import FixedHistogram
from pilotfish_core.metrics import Metric, Sample
from pilotfish_core.nouns import Observation, Tokens

FIRST_EDGES: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TOKEN_EDGES: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_MODEL: Final = ("target", "model", "model_version")


def _tokens(name: str, text: str) -> Metric:
    return Metric(f"pilotfish_{name}_total", "counter", text, (*_MODEL, "estimated"))


def _times(name: str, text: str, edges: tuple[float, ...]) -> Metric:
    return Metric(f"pilotfish_{name}_seconds", "histogram", text, _MODEL, edges)


INPUT = _tokens("input_tokens", "Tokens of prompts, as the server counted them; estimated = true where it did not.")
OUTPUT = _tokens(
    "output_tokens", "Tokens generated, as the server counted them; estimated = true where we counted parts of answers."
)
CACHED = _tokens("cached_input_tokens", "Tokens of prompts taken from the server's cache; part of the input tokens.")
REASONING = _tokens("reasoning_output_tokens", "Tokens spent on reasoning; part of the output tokens.")
FIRST = _times(
    "time_to_first_token",
    "From the first byte of a request to the first part of a streamed answer with content.",
    FIRST_EDGES,
)
GAP = _times(
    "inter_chunk_duration",
    "Between two parts with content of a streamed answer; a part is not a token.",
    TOKEN_EDGES,
)
PER_TOKEN = _times(
    "time_per_output_token",
    "Mean time a token after the first, of a streamed answer whose server counts its tokens.",
    TOKEN_EDGES,
)
GENERATIONS = Metric(
    "pilotfish_generations_total",
    "counter",
    "Generated answers, one a choice, by the reason they ended; length means that they were cut.",
    (*_MODEL, "finish_reason"),
)
METRICS = (INPUT, OUTPUT, CACHED, REASONING, FIRST, GAP, PER_TOKEN, GENERATIONS)
UNKNOWN: Final = "none"
"""Reason of a choice whose answer gave none: its stream broke off."""
GENERATIVE: Final = frozenset({"chat", "completions", "responses", "generate"})


class GenerationWindow:
    """Running totals of one model version.

    Args:
        target: name of the watched process tree.
        model: model name.
        version: model version, None when unknown.
    """

    def __init__(self, target: str, model: str, version: str | None) -> None:
        self._labels = (target, model, version)
        self._tokens: dict[tuple[Metric, str | None], int] = {}
        self._times = {metric: FixedHistogram(metric.buckets) for metric in (FIRST, GAP, PER_TOKEN)}
        self._reasons: dict[str, int] = {}

    def add(self, observation: Observation, duration: float) -> None:
        """Counts one exchange that took ``duration`` seconds."""
        if observation.operation in GENERATIVE:
            for i in range(observation.rows):
                given = observation.finish_reasons[i] if i < len(observation.finish_reasons) else UNKNOWN
                reason = given if given in REASONS or given == UNKNOWN else "other"
                self._reasons[reason] = self._reasons.get(reason, 0) + 1
        tokens = observation.tokens
        if tokens is not None:
            self._count(tokens)
        first = observation.first_content
        if first is None:
            return
        self._times[FIRST].add([first])
        self._times[GAP].add(observation.chunk_gaps)
        if tokens is not None and not tokens.estimated and tokens.output is not None and tokens.output > 1:
            self._times[PER_TOKEN].add([max(duration - first, 0.0) / (tokens.output - 1)])

    def _count(self, tokens: Tokens) -> None:
        estimated = "true" if tokens.estimated else None
        pairs = (
            (INPUT, tokens.input),
            (OUTPUT, tokens.output),
            (CACHED, tokens.cached_input),
            (REASONING, tokens.reasoning_output),
        )
        for metric, number in pairs:
            if number is not None:
                key = (metric, estimated)
                self._tokens[key] = self._tokens.get(key, 0) + number

    def samples(self) -> Iterator[Sample]:
        """The totals so far; what was never seen is left out."""
        for (metric, estimated), number in self._tokens.items():
            yield Sample(metric, (*self._labels, estimated), float(number))
        for metric, histogram in self._times.items():
            value = histogram.distribution()
            if any(value.counts):
                yield Sample(metric, self._labels, value)
        for reason, number in self._reasons.items():
            yield Sample(GENERATIONS, (*self._labels, reason), float(number))
