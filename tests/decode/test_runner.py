"""The runner: routes are remembered within a bound, faults of a decoder are told and take nothing with them."""

from __future__ import annotations

import dataclasses

import pytest

from pilotfish_agent.decode import _runner, mlflow, tensorflow_serving
from pilotfish_agent.decode._options import Config
from pilotfish_agent.decode._part import Route
from pilotfish_agent.decode._runner import MAX_ROUTES, PACKAGE, Decoders
from pilotfish_core import registry
from pilotfish_core.clock import SystemClock
from pilotfish_core.errors import ConfigError
from pilotfish_core.events import Events
from pilotfish_core.nouns import Exchange

TFS = Exchange(
    8501, 0.0, 0.01, 0.005, "POST", "/v1/models/m:predict", 200, "success",
    {}, b'{"instances":[[1,2]]}', {}, b'{"predictions":[0.5]}',
)  # fmt: skip


@pytest.mark.parametrize("name", registry.names(PACKAGE))
def test_a_part_is_its_name(name: str) -> None:
    """A decoder's protocol is the name of its file."""
    assert name == registry.load(PACKAGE, name).NAME


@pytest.mark.parametrize(
    ("method", "target", "protocol", "operation", "model", "version"),
    [
        ("POST", "/v1/models/m:predict", "tensorflow_serving", "predict", "m", None),
        ("POST", "/v1/models/a%20b/versions/12:classify?x=/v2/", "tensorflow_serving", "classify", "a b", "12"),
        ("POST", "/v1/models/m/labels/stable:regress", "tensorflow_serving", "regress", "m", None),
        ("POST", "/v1/models/m:explain", "kserve_v1", "explain", "m", None),
        ("POST", "/v2/models/m/versions/1/infer", "open_inference", "infer", "m", "1"),
        ("POST", "/seldon/ns/dep/v2/models/m/infer", "open_inference", "infer", "m", None),
        ("POST", "/v2/models/m/generate_stream", "open_inference", "generate", "m", None),
        ("POST", "/v1/chat/completions", "openai", "chat", None, None),
        ("POST", "/chat/completions", "openai", "chat", None, None),
        ("POST", "/openai/v1/completions", "openai", "completions", None, None),
        ("POST", "/openai/deployments/x/embeddings?api-version=1", "openai", "embeddings", None, None),
        ("POST", "/v1/responses", "openai", "responses", None, None),
        ("POST", "/api/chat", "ollama", "chat", None, None),
        ("POST", "/api/embed", "ollama", "embeddings", None, None),
        ("POST", "/invocations", "mlflow", "predict", None, None),
        ("POST", "/predict", "generic", "predict", None, None),
        ("PUT", "/predictions/resnet/2.0", "generic", None, None, None),
        ("POST", "/predictions/resnet", "generic", "predict", None, None),
        ("GET", "/v1/models/m:predict", None, None, None, None),
        ("POST", "/v1/models/m:predict/x", None, None, None, None),
        ("POST", "/v1/models/m", None, None, None, None),
        ("GET", "/health", None, None, None, None),
        ("POST", "/login", None, None, None, None),
        ("OPTIONS", "*", None, None, None, None),
        ("CONNECT", "host:443", None, None, None, None),
        ("", "", None, None, None, None),
    ],
)
def test_routes(
    method: str, target: str, protocol: str | None, operation: str | None, model: str | None, version: str | None
) -> None:
    """A request line has one protocol; its query is no part of it."""
    expected = None if protocol is None or operation is None else Route(protocol, operation, model, version)
    assert Decoders().route(method, target) == expected


def test_routes_are_bounded() -> None:
    """Any number of request lines is remembered within the bound, and the newest ones are."""
    decoders = Decoders()
    for i in range(3 * MAX_ROUTES):
        decoders.route("POST", f"/v1/models/m{i}:predict")
    decoders.route("POST", "/" + "x" * 5_000)
    assert len(decoders._routes) == MAX_ROUTES
    assert ("POST", f"/v1/models/m{3 * MAX_ROUTES - 1}:predict") in decoders._routes


def test_kserve_is_recognised_by_its_answers() -> None:
    """The path that two protocols share is TensorFlow Serving's until an answer is KServe's, and back again."""
    decoders = Decoders()
    assert decoders.route("POST", TFS.target) == Route("tensorflow_serving", "predict", "m")
    route, _ = decoders.observe(dataclasses.replace(TFS, response_headers={"server": "uvicorn"}))
    assert route == decoders.route("POST", TFS.target) == Route("kserve_v1", "predict", "m")
    decoders.observe(TFS)
    assert decoders.route("POST", TFS.target) == Route("tensorflow_serving", "predict", "m")


def test_a_failing_decoder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in a decoder is one event and one problem; the exchange keeps its route."""

    def fault(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(tensorflow_serving, "decode", fault)
    events = Events(SystemClock())
    decoders = Decoders(events=events)
    route, seen = decoders.observe(TFS)
    assert route == Route("tensorflow_serving", "predict", "m")
    assert (seen.operation, seen.rows, seen.problem) == ("predict", 0, "failed")
    assert decoders.problems == {"failed": 1}
    assert [(s.labels[0], s.value) for s in events.samples()] == [("decoder_failed", 1.0)]


def test_a_failing_route_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that fails on a request line does not know it; the next one may."""

    def fault(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(mlflow, "route", fault)
    assert Decoders().route("POST", "/invocations") == Route("generic", "predict")


def test_only_the_protocols_asked_for() -> None:
    """The configuration's list is the whole list, and its order decides; a wrong name is refused."""
    decoders = Decoders(Config(protocols=("generic", "mlflow")))
    assert decoders.route("POST", TFS.target) is None
    assert decoders.route("POST", "/invocations") == Route("generic", "predict")
    with pytest.raises(ConfigError, match="no such part"):
        Decoders(Config(protocols=("soap",)))


def test_status_decides() -> None:
    """Without a successful answer there is nothing to read: no body is looked at."""
    decoders = Decoders()
    for status in (None, 100, 304, 404, 500):
        _, seen = decoders.observe(dataclasses.replace(TFS, status=status, outcome="server_error", response_body=b"{"))
        assert seen.problem is None
        assert seen.rows == 0
    assert decoders.decoded == 0
    assert _runner.Decoders.observe(decoders, TFS)[1].rows == 1


def test_an_error_excludes_no_protocol() -> None:
    """An error of a proxy, which names no server of KServe's, does not make its model another protocol's."""
    decoders = Decoders()
    error = dataclasses.replace(TFS, status=503, outcome="server_error")
    assert decoders.observe(error)[0] == Route("tensorflow_serving", "predict", "m")
    assert decoders.observe(dataclasses.replace(error, response_headers={"server": "uvicorn"}))[0] == Route(
        "kserve_v1", "predict", "m"
    )
    assert decoders.observe(error)[0] == Route("kserve_v1", "predict", "m")
