"""The demo's model server speaks TensorFlow Serving's REST, also to clients that do not."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.digits import classifier
from examples.digits.server import LARGEST_BODY, Digits, Handler, read_instances
from examples.digits.traffic import Draws, predict


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[http.client.HTTPConnection]:
    """To a server with the real model; no agent listens, so the SDK does nothing."""
    artifact: Path = tmp_path_factory.mktemp("model") / "model.joblib"
    classifier.save(classifier.train(), artifact)
    Handler.digits = Digits(artifact)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        kept = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        yield kept
        kept.close()
        server.shutdown()
        thread.join()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    """Status and content."""
    connection.request(method, path, body)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_predictions_are_probabilities(connection: http.client.HTTPConnection) -> None:
    """One list of ten for each instance, as the model gives them; the connection is kept."""
    images = Draws(1).clean(7)
    answers = predict(connection, images)
    assert answers == classifier.probabilities(Handler.digits._model, images).tolist()
    assert len(predict(connection, images[:1])) == 1


def test_the_status_is_that_of_tensorflow_serving(connection: http.client.HTTPConnection) -> None:
    """The version is available."""
    status, content = ask(connection, "GET", "/v1/models/digits")
    assert status == 200
    assert content["model_version_status"][0]["state"] == "AVAILABLE"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/models/others", None, 404),
        ("POST", "/v1/models/others:predict", '{"instances": []}', 404),
        ("POST", "/v1/models/digits:predict", "{", 400),
        ("POST", "/v1/models/digits:predict", "[]", 400),
        ("POST", "/v1/models/digits:predict", '{"instances": []}', 400),
        ("POST", "/v1/models/digits:predict", '{"instances": [[1, 2]]}', 400),
        ("POST", "/v1/models/digits:predict", json.dumps({"instances": [["a"] * 64]}), 400),
    ],
)
def test_wrong_requests_get_an_answer(
    connection: http.client.HTTPConnection, method: str, path: str, body: str | None, status: int
) -> None:
    """The status says whose fault it is, the text what was expected."""
    got, content = ask(connection, method, path, body)
    assert got == status
    assert content["error"]


def test_a_huge_body_is_refused_unread(connection: http.client.HTTPConnection) -> None:
    """By its announced size; the connection is closed then."""
    connection.putrequest("POST", "/v1/models/digits:predict")
    connection.putheader("Content-Length", str(LARGEST_BODY + 1))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    response.read()
    connection.close()


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda t: json.dumps({"instances": t}).encode()))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    """What is no request is a ValueError, whatever it is."""
    with pytest.raises(ValueError, match=r"."):
        read_instances(body)
