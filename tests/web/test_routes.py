"""What each address answers, and how wrong requests end."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace

import pytest

from pilotfish_agent.web.server import Served
from pilotfish_core.nouns import Snapshot
from pilotfish_exporters.prometheus import Rendered
from tests.exporters import reader
from tests.standard import standard_snapshot
from tests.web.live import Site, get, play

ROUTES = {
    "/": "text/html; charset=utf-8",
    "/favicon.ico": "image/svg+xml",
    "/api/v1/distributions": "application/json",
    "/api/v1/view": "application/json",
    "/metrics": "text/plain; version=0.0.4; charset=utf-8",
    "/-/healthy": "text/plain; charset=utf-8",
    "/-/ready": "text/plain; charset=utf-8",
    "/api/v1/status": "application/json",
    "/api/v1/drift": "application/json",
    "/api/v1/alerts": "application/json",
    "/api/v1/history": "application/json",
}
each_route = pytest.mark.parametrize("path", ROUTES)


@each_route
def test_a_route_answers_with_its_type_and_safe_headers(path: str) -> None:
    """200, the documented type, and headers that leave a browser no room for guesses."""

    async def story(served: Served) -> None:
        status, headers, body = await get(served, path)
        assert (status, headers["content-type"]) == (200, ROUTES[path])
        assert body
        assert headers["server"] == "pilotfish"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]

    play(story)


@each_route
def test_head_is_get_without_the_body(path: str) -> None:
    """The same length and type, no body."""

    async def story(served: Served) -> None:
        _, got, body = await get(served, path, headers="Accept-Encoding: identity\r\n")
        status, headers, nothing = await get(served, path, method="HEAD", headers="Accept-Encoding: identity\r\n")
        assert (status, nothing) == (200, b"")
        assert headers["content-type"] == got["content-type"]
        assert int(headers["content-length"]) == len(body)

    play(story)


@each_route
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a_wrong_method_is_405_with_allow(path: str, method: str) -> None:
    """TCP is for reading; the answer says what is allowed."""

    async def story(served: Served) -> None:
        status, headers, body = await get(served, path, method=method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        assert b"GET, HEAD" in body

    play(story)


@pytest.mark.parametrize("path", ["/x", "/metrics/", "/api/v1/labels", "/-/reload", "/debug/config", "/%00", "/../etc"])
def test_an_unknown_path_is_404_and_names_what_there_is(path: str) -> None:
    """Whatever the method; what exists only with authentication does not exist here."""

    async def story(served: Served) -> None:
        for method in ("GET", "POST"):
            status, _, body = await get(served, path, method=method)
            assert status == 404
            assert b"/metrics" in body

    play(story)


def test_metrics_are_negotiated_and_compressed() -> None:
    """OpenMetrics and gzip when asked for; `Vary` tells caches."""

    async def story(served: Served) -> None:
        status, headers, body = await get(
            served, "/metrics", headers="Accept: application/openmetrics-text\r\nAccept-Encoding: gzip\r\n"
        )
        assert status == 200
        assert headers["content-type"].startswith("application/openmetrics-text")
        assert headers["content-encoding"] == "gzip"
        assert headers["vary"] == "Accept, Accept-Encoding"
        assert gzip.decompress(body).endswith(b"# EOF\n")
        _, _, plain = await get(served, "/metrics")
        assert "pilotfish_target_up" in reader.read(plain).kinds

    play(story)


def test_a_snapshot_is_rendered_once_off_the_loop_and_a_new_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten scrapes of one Snapshot cost one rendering; what changed is seen at once."""
    site = Site()
    rendered: list[Snapshot] = []
    whole = site.exporter.render

    def counted(snapshot: Snapshot, *, accept: str = "", accept_encoding: str = "") -> Rendered:
        rendered.append(snapshot)
        return whole(snapshot, accept=accept, accept_encoding=accept_encoding)

    monkeypatch.setattr(site.exporter, "render", counted)

    async def story(served: Served) -> None:
        for _ in range(10):
            await get(served, "/metrics")
        assert len(rendered) == 1
        site.snapshot = replace(standard_snapshot(), samples=())
        _, _, body = await get(served, "/metrics")
        assert "pilotfish_target_up" not in reader.read(body).kinds
        assert len(rendered) == 2

    play(story, site)


def test_before_the_first_snapshot_everything_but_health_says_so() -> None:
    """503 and why, in words and in JSON; healthy is healthy; the page is there for people."""
    site = Site()
    site.snapshot, site.waiting = None, ("the intake does not listen yet",)

    async def story(served: Served) -> None:
        status, _, body = await get(served, "/-/ready")
        assert (status, body) == (503, b"the intake does not listen yet\nno sample yet\n")
        assert (await get(served, "/-/healthy"))[0] == 200
        status, _, body = await get(served, "/metrics")
        assert (status, b"no sample yet" in body) == (503, True)
        for path in ("/api/v1/status", "/api/v1/drift"):
            status, _, body = await get(served, path)
            assert (status, json.loads(body)) == (503, {"error": "no sample yet"})
        status, _, body = await get(served, "/")
        assert status == 200
        assert b"Starting" in body
        assert b"the intake does not listen yet" in body

    play(story, site)


def test_ready_is_200_when_nothing_is_missing_and_503_while_something_is() -> None:
    """Every reason on a line of its own."""
    site = Site()

    async def story(served: Served) -> None:
        assert (await get(served, "/-/ready"))[0] == 200
        site.waiting = ("drift tables are being built", "no config")
        status, _, body = await get(served, "/-/ready")
        assert (status, body.decode().splitlines()) == (503, list(site.waiting))

    play(story, site)


def test_the_api_gives_the_documents_of_the_contract() -> None:
    """All documented keys, strongest evidence first, numbers that are none as null."""
    site = Site()
    first = standard_snapshot()
    site.snapshot = replace(first, drift=(replace(first.drift[0], effect=math.nan), *first.drift[1:]))

    async def story(served: Served) -> None:
        status = json.loads((await get(served, "/api/v1/status"))[2])
        keys = {
            "version",
            "instance",
            "target",
            "models",
            "processes",
            "listen",
            "capture",
            "budget",
            "drift",
            "alerts",
        }
        assert keys <= status.keys()
        model = {"model", "model_version", "state", "reference_id", "reference_rows", "window_rows", "severity"}
        assert model | {"drifting", "words"} <= status["models"][0].keys()
        drift = json.loads((await get(served, "/api/v1/drift"))[2])
        assert drift == status["drift"]
        assert [d["feature"] for d in drift] == ["pixel_07", "@model", "@prediction"]
        assert drift[2]["effect"] is None
        stream = {"model", "feature", "verdict", "severity", "evidence", "threshold", "effect", "effect_lower"}
        assert stream | {"effect_upper", "began", "since_rows", "explanation"} <= drift[0].keys()

    play(story, site)


def test_a_failing_answer_is_a_500_without_a_traceback_and_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client learns nothing of the inside; the agent goes on and counts it."""
    site = Site()

    def fails(*_: object, **__: object) -> Rendered:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(site.exporter, "render", fails)

    async def story(served: Served) -> None:
        status, _, body = await get(served, "/metrics")
        assert status == 500
        assert b"secret" not in body
        assert b"Traceback" not in body
        assert (await get(served, "/-/healthy"))[0] == 200
        assert site.event_counts() == {"http_failed": 1.0}

    play(story, site)
