"""Readiness, model states and canaries, against a server that answers as the real ones do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent import config, http_client
from pilotfish_agent.probe._expect import Canary, canary, meets
from pilotfish_agent.probe._runner import PACKAGE, Config, Prober, _way
from pilotfish_agent.probe._states import STATES, Told
from pilotfish_core import registry
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Events
from pilotfish_core.metrics import Reading, Sample

Answers = Mapping[tuple[str, str], tuple[int, str]]
# GetModelStatus of TF Serving; the repository index as MLServer 1.7.1 gives it; llama.cpp's two answers.
TF_READY = json.dumps(
    {
        "model_version_status": [
            {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
            {"version": "1", "state": "END", "status": {"error_code": "OK", "error_message": ""}},
        ]
    }
)
TF_LOADING = '{"model_version_status": [{"version": "2", "state": "LOADING", "status": {"error_code": "OK"}}]}'
INDEX = '[{"name":"square","version":"v4","state":"READY","reason":""},{"name":"b","state":"LOADING","reason":""}]'
LLAMA_LOADING = '{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'


def probed(path: str, rounds: Sequence[Answers], **more: object) -> list[dict[str, float]]:
    """What is told after each round of answers: `metric{labels}` of the series -> value."""

    async def go() -> list[dict[str, float]]:
        now: Answers = {}

        async def handle(request: web.Request) -> web.Response:
            await request.read()
            status, body = now.get((request.method, request.path), (404, "nobody"))
            return web.Response(status=status, text=body)

        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        clock = SystemClock()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
        made = Config(url=address, **more)  # type: ignore[arg-type]
        prober = Prober(made, "serve", clock=clock, events=Events(clock))
        found = []
        async with http_client.session() as client:
            for now in rounds:
                if not now:
                    await runner.cleanup()
                await prober.once(client)
                found.append(flat(prober.readings()))
        await runner.cleanup()
        return found

    return asyncio.run(go())


def flat(readings: Sequence[Reading]) -> dict[str, float]:
    """Series that are not 0, but for successes; without durations."""
    found = {}
    for r in readings:
        if isinstance(r, Sample) and "duration" not in r.metric.name:
            assert isinstance(r.value, float)
            labels = ",".join(str(v) for v in r.labels if v is not None)
            if r.value or "success" in r.metric.name:
                found[f"{r.metric.name.removeprefix('pilotfish_')}{{{labels}}}"] = r.value
    return found


READY = "probe_success{readiness}"


def test_tensorflow_serving_tells_each_version() -> None:
    """Loading, then ready beside an old version that has ended, then nobody: unknown."""
    get = ("GET", "/v1/models/fraud")
    loading, ready, gone = probed(get[1], [{get: (200, TF_LOADING)}, {get: (200, TF_READY)}, {}])
    assert loading == {READY: 0.0, "server_model_state{serve,fraud,2,loading}": 1.0}
    assert ready == {
        READY: 1.0,
        "server_model_state{serve,fraud,2,ready}": 1.0,
        "server_model_state{serve,fraud,1,unavailable}": 1.0,
    }
    assert gone == {
        READY: 0.0,
        "server_model_state{serve,fraud,2,unknown}": 1.0,
        "server_model_state{serve,fraud,1,unknown}": 1.0,
    }


@pytest.mark.parametrize(
    ("body", "good"), [('{"name": "m", "ready": true}', 1.0), ('{"name":"m","ready":"False"}', 0.0)]
)
def test_kserve(body: str, good: float) -> None:
    """The same path, another answer, without versions."""
    (told,) = probed("/v1/models/m", [{("GET", "/v1/models/m"): (200, body)}])
    assert told == {READY: good, f"server_model_state{{serve,m,{'ready' if good else 'unavailable'}}}": 1.0}


def test_the_repository_index() -> None:
    """Every model with its state; ready when all are."""
    path = "/v2/repository/index"
    half, all_ready = probed(
        path,
        [
            {("POST", path): (200, INDEX)},
            {("POST", path): (200, INDEX.replace("LOA", "REA").replace("READING", "READY"))},
        ],
    )
    assert half == {
        READY: 0.0,
        "server_model_state{serve,square,v4,ready}": 1.0,
        "server_model_state{serve,b,loading}": 1.0,
    }
    assert all_ready[READY] == 1.0


def test_open_inference_readiness() -> None:
    """The model and version of the path."""
    path = "/v2/models/square/versions/v4/ready"
    good, bad = probed(path, [{("GET", path): (200, "")}, {("GET", path): (400, '{"error":"x"}')}])
    assert good == {READY: 1.0, "server_model_state{serve,square,v4,ready}": 1.0}
    assert bad == {READY: 0.0, "server_model_state{serve,square,v4,unavailable}": 1.0}


def test_health() -> None:
    """200, llama.cpp's loading, and an error."""
    get = ("GET", "/health")
    told = probed("/health", [{get: (200, '{"status":"ok"}')}, {get: (503, LLAMA_LOADING)}, {get: (500, "")}])
    assert [list(t) for t in told] == [
        [READY, "server_model_state{serve,ready}"],
        [READY, "server_model_state{serve,loading}"],
        [READY, "server_model_state{serve,unavailable}"],
    ]
    assert [t[READY] for t in told] == [1.0, 0.0, 0.0]


def test_a_canary_is_sent_and_its_answer_judged() -> None:
    """The expected answer, a wrong one, an error status."""
    post = ("POST", "/v1/models/m:predict")
    ready = {("GET", "/v1/models/m"): (200, '{"name": "m", "ready": true}')}
    answers = [(200, '{"predictions": [[0.1, 0.90001]]}'), (200, '{"predictions": [[0.9, 0.1]]}'), (500, "boom")]
    told = probed(
        "/v1/models/m",
        [{**ready, post: answer} for answer in answers],
        request=canary('POST /v1/models/m:predict {"instances": [[1]]}'),
        expect='{"predictions": [[0.1, 0.9]]}',
    )
    assert [(t[READY], t["probe_success{canary}"]) for t in told] == [(1.0, 1.0), (1.0, 0.0), (1.0, 0.0)]


@pytest.mark.parametrize(
    ("expected", "body", "good"),
    [
        ('{"a": 1}', '{"a": 1.00001, "b": 2}', True),
        ('{"a": 1}', '{"a": 1.01}', False),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": [1, 2]}', '{"a": [1, 2, 3]}', False),
        ('{"a": {"b": null}}', '{"a": {"b": null}}', True),
        ('{"a": "x"}', "no json", False),
        ("digit 7", "it is digit 7.", True),
        ("digit 7", "it is digit 8.", False),
        ("7", '{"a": 7}', True),
        ("[1e-9]", "[0]", True),
    ],
)
def test_what_meets_an_expectation(expected: str, body: str, good: bool) -> None:
    """Keys may be more, list items not; numbers within a tolerance; text by occurrence."""
    assert meets(expected, body.encode()) == good


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/v1/models/fraud", "tensorflow_serving"),
        ("/v1/models/fraud/versions/3", "tensorflow_serving"),
        ("/v1/models/fraud:predict", "health"),
        ("/v2/repository/index", "triton"),
        ("/v2/models/a/ready", "open_inference"),
        ("/v2/health/ready", "health"),
        ("/health", "health"),
        ("", "health"),
    ],
)
def test_the_way_of_asking_is_told_by_the_path(path: str, part: str) -> None:
    """And `health` is what is left."""
    assert _way(path) is registry.load(PACKAGE, part)


@given(
    st.integers(100, 599),
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["model_version_status", "version", "state", "name", "ready"]), inner, max_size=4
            )
        ),
        max_leaves=10,
    ).map(lambda x: json.dumps(x).encode()),
)
@pytest.mark.parametrize("part", registry.names(PACKAGE))
def test_any_answer_is_survived(part: str, status: int, body: bytes) -> None:
    """Every part answers with known states, whatever a server says."""
    for told in registry.load(PACKAGE, part).told("/v1/models/m", status, body):
        assert isinstance(told, Told)
        assert told.state in STATES
        assert told.model is None or len(told.model) <= 200


def test_the_section(tmp_path: object) -> None:
    """The contract's example; a canary; halves are refused."""
    good = _load("probe: {url: http://127.0.0.1:8501/v1/models/fraud, interval: 15s}\n", tmp_path)
    assert good.problems == ()
    assert good.section("probe") == Config("http://127.0.0.1:8501/v1/models/fraud", 15.0)
    whole = _load(
        "probe:\n  url: http://a/health\n  request: 'POST /p {\"x\": [1]}'\n  expect: '{\"y\": 2}'\n", tmp_path
    ).section("probe")
    assert whole.request == Canary("POST", "/p", b'{"x": [1]}')
    assert whole.expect == '{"y": 2}'
    for text, words in {
        "{expect: a}": "`url:` beside",
        "{url: http://a/, expect: a}": "`request:` beside",
        "{url: http://a/, request: DELETE /}": "a method, a path and a body",
    }.items():
        bad = _load(f"probe: {text}\n", tmp_path)
        assert words in bad.problems[0].line()


def _load(text: str, folder: object) -> config.Settings:
    path = f"{folder}/c.yaml"
    with open(path, "w") as file:
        file.write(text)
    return config.load(path, {}, {})


def test_nothing_to_probe() -> None:
    """No section: no task, no series."""
    prober = Prober(Config(), "serve", clock=SystemClock(), events=Events(SystemClock()))
    asyncio.run(prober.run())
    assert prober.readings() == ()
