"""Foreign bytes: no decoder raises, hangs or tells what cannot be, whatever the bodies are."""

from __future__ import annotations

import dataclasses
import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.decode._options import Config, Spec, path
from pilotfish_agent.decode._runner import PACKAGE, Decoders
from pilotfish_core import registry
from pilotfish_core.nouns import Exchange
from tests.decode import fuzzing

TARGETS = {
    "tensorflow_serving": ("/v1/models/m:predict", "/v1/models/m/versions/1:classify", "/v1/models/m:regress"),
    "kserve_v1": ("/v1/models/m:predict", "/v1/models/m:explain"),
    "open_inference": ("/v2/models/m/infer", "/v2/models/m/generate"),
    "openai": ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"),
    "ollama": ("/api/chat", "/api/generate", "/api/embed"),
    "mlflow": ("/invocations",),
    "generic": ("/predict", "/own"),
}
OWN = Spec("/own", features=path("$.a[*]"), prediction=path("$.b"), model=path("$.c"), version=path("d"), id=path("e"))
DECODERS = Decoders(Config(custom=(OWN,)))
EMPTY = Exchange(1, 0.0, 0.1, 0.05, "POST", "/", 200, "success", {}, b"", {}, b"")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | st.just([0.25, 0.75])
WORDS = st.sampled_from([*fuzzing.KEYS, "a", "b", "examples", "results", "dataframe_split", "columns", "name"])
JSON = st.recursive(LEAVES, lambda v: st.lists(v, max_size=4) | st.dictionaries(WORDS, v, max_size=5), max_leaves=12)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(["application/json", "text/event-stream", "text/csv"]),
        "content-encoding": st.sampled_from(fuzzing.CODINGS),
        "inference-header-content-length": st.sampled_from(fuzzing.LENGTHS),
        "server": st.just("uvicorn"),
        "x-request-id": st.text(max_size=300),
    },
)


def test_every_decoder_is_here() -> None:
    """A new decoder is fuzzed, too."""
    assert set(TARGETS) == set(registry.names(PACKAGE))


def observe(protocol: str, data: st.DataObject, request: bytes, response: bytes) -> None:
    exchange = dataclasses.replace(
        EMPTY,
        target=data.draw(st.sampled_from(TARGETS[protocol])),
        request_headers=data.draw(HEADERS),
        response_headers=data.draw(HEADERS),
        request_body=request,
        response_body=response,
    )
    DECODERS.problems.clear()
    route, seen = DECODERS.observe(exchange)
    assert route is not None
    assert "failed" not in DECODERS.problems
    fuzzing.check(route, seen)


@pytest.mark.parametrize("protocol", TARGETS)
@given(data=st.data(), request=st.binary(max_size=300), response=st.binary(max_size=300))
@settings(max_examples=30)
def test_bytes(protocol: str, data: st.DataObject, request: bytes, response: bytes) -> None:
    """Any bytes as bodies."""
    observe(protocol, data, request, response)


@pytest.mark.parametrize("protocol", TARGETS)
@given(data=st.data(), request=JSON, responses=st.lists(JSON, min_size=1, max_size=3))
@settings(max_examples=50)
def test_structures(protocol: str, data: st.DataObject, request: Any, responses: list[Any]) -> None:
    """Any JSON as bodies, whole, as events and as lines, under a coding and not."""
    form = data.draw(st.sampled_from(["{}", "data: {}\n\n", "{}\n"]))
    response = "".join(form.format(json.dumps(r)) for r in responses).encode()
    if data.draw(st.booleans()):
        response = zlib.compress(response)
    observe(protocol, data, json.dumps(request).encode(), response)


@pytest.mark.parametrize("protocol", TARGETS)
def test_changed_captures(protocol: str) -> None:
    """Captures changed at random; the row of `make bars GROUP=capture` does it for longer."""
    report = fuzzing.Fuzzer(protocol, seed=1).run(lambda executions: executions / 300)
    assert not report.faults, report.faults[0]
    assert report.rows
