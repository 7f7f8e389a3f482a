"""Tokens, and the times of streamed answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.decode._generation import REASONS
from pilotfish_agent.windows.generations import GenerationWindow
from pilotfish_core.metrics import Distribution
from pilotfish_core.nouns import Observation, Tokens


def found(*added: tuple[Observation, float]) -> dict[tuple[str | None, ...], Any]:
    """Series by (name without prefix and unit, own label); histograms as (values, sum)."""
    window = GenerationWindow("t", "m", "1")
    for observation, duration in added:
        window.add(observation, duration)
    series: dict[tuple[str | None, ...], Any] = {}
    for s in window.samples():
        assert s.labels[:3] == ("t", "m", "1")
        value = (sum(s.value.counts), s.value.total) if isinstance(s.value, Distribution) else s.value
        series[(s.metric.name.removeprefix("pilotfish_"), *s.labels[3:])] = value
    return series


def test_nothing_seen_no_series() -> None:
    """What a model does not do has no zero."""
    assert found() == {}
    assert found((Observation("predict", rows=5), 1.0)) == {}


def test_tokens_add_up_and_estimates_stand_apart() -> None:
    """What the server does not say is absent."""
    assert found(
        (Observation("embeddings", tokens=Tokens(input=7)), 1.0),
        (Observation("embeddings", tokens=Tokens(input=3, cached_input=2)), 1.0),
        (Observation("embeddings", tokens=Tokens(output=4, estimated=True)), 1.0),
    ) == {
        ("input_tokens_total", None): 10.0,
        ("cached_input_tokens_total", None): 2.0,
        ("output_tokens_total", "true"): 4.0,
    }


def test_times_of_a_stream() -> None:
    """First content, gaps, and the mean of the tokens after the first."""
    stream = Observation(
        "chat", rows=1, tokens=Tokens(output=5), first_content=0.25, chunk_gaps=(0.1, 0.2), finish_reasons=("stop",)
    )
    series = found((stream, 1.25))
    assert series["time_to_first_token_seconds",] == (1, 0.25)
    assert series["inter_chunk_duration_seconds",] == (2, pytest.approx(0.3))
    assert series["time_per_output_token_seconds",] == (1, 0.25)
    assert series["generations_total", "stop"] == 1.0


@pytest.mark.parametrize("tokens", [None, Tokens(output=1), Tokens(output=9, estimated=True), Tokens(input=4)])
def test_time_a_token_needs_tokens_that_the_server_counted(tokens: Tokens | None) -> None:
    """Chunks are not tokens, and one token has no time after it."""
    series = found((Observation("chat", tokens=tokens, first_content=0.1), 1.0))
    assert ("time_per_output_token_seconds",) not in series
    assert series["time_to_first_token_seconds",] == (1, 0.1)


def test_each_choice_ends_once() -> None:
    """A choice whose stream broke off has no reason; what no server says is other."""
    series = found((Observation("chat", rows=3, finish_reasons=("length", "drop table")), 1.0))
    assert series == {
        ("generations_total", "length"): 1.0,
        ("generations_total", "other"): 1.0,
        ("generations_total", "none"): 1.0,
    }


@given(st.lists(st.text(max_size=10), max_size=30))
def test_reasons_are_a_closed_list(reasons: list[str]) -> None:
    """Whatever an answer says."""
    series = found((Observation("chat", rows=len(reasons), finish_reasons=tuple(reasons)), 1.0))
    assert sum(series.values()) == len(reasons)
    assert {label for _, label in series} <= REASONS | {"other", "none"}
