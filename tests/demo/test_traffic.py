"""The demo's draws and shifts: what they change, and that clean traffic changes nothing."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import numpy as np
import pytest

from examples.digits import classifier
from examples.digits.traffic import FROZEN, SHIFTS, Draws, Traffic, predict

ROWS = 4_000


@pytest.fixture(scope="module")
def model() -> Any:
    """The trained classifier."""
    return classifier.train()


def test_clean_draws_are_images_of_the_pool() -> None:
    """With replacement, from the images that the model was not trained on, each about equally often."""
    draws = Draws(1)
    images = draws.clean(ROWS)
    known = {row.tobytes() for row in draws.images}
    assert len(draws.images) == 1_797 - classifier.TRAINING
    assert all(row.tobytes() in known for row in images)
    share = len({row.tobytes() for row in images}) / len(known)
    assert share == pytest.approx(1 - np.exp(-ROWS / len(known)), abs=0.02)


@pytest.mark.parametrize("name", SHIFTS)
def test_shifted_images_are_whole_numbers_from_0_to_16(name: str) -> None:
    """Rounded after the shift, as a camera gives them: no value gives the shift away by its form."""
    images = SHIFTS[name](Draws(1), 500)
    assert images.shape == (500, 64)
    assert images.dtype == np.int64
    assert images.min() == 0
    assert images.max() == 16


def test_noise_has_the_stated_size() -> None:
    """Where neither end cuts it the spread grows by the noise; the pixel that was always dark is not dark any more."""
    noisy, clean = SHIFTS["noise"](Draws(1), ROWS), Draws(1).clean(ROWS)
    difference = (noisy - clean)[(clean > 6) & (clean < 10)]
    assert difference.std() == pytest.approx(2.0, abs=0.1)
    assert clean[:, 0].max() == 0 < noisy[:, 0].max()


def test_rotation_turns_the_images() -> None:
    """The same images, turned: what leaves at the corners is lost, the rest moves."""
    turned, clean = SHIFTS["rotation"](Draws(1), 500), Draws(1).clean(500)
    assert 0.8 < turned.sum() / clean.sum() <= 1
    assert np.abs(turned - clean).mean() > 1


def test_imbalance_triples_the_weight_of_zero(model: Any) -> None:
    """A tenth becomes a quarter; the images themselves are those of the pool."""
    draws = Draws(1)
    images = SHIFTS["imbalance"](draws, ROWS)
    known = {row.tobytes() for row in draws.images}
    assert all(row.tobytes() in known for row in images)
    usual, now = ((classifier.probabilities(model, x).argmax(1) == 0).mean() for x in (Draws(2).clean(ROWS), images))
    assert usual == pytest.approx(0.1, abs=0.02)
    assert now == pytest.approx(0.25, abs=0.03)


def test_a_frozen_pixel_changes_that_pixel_only() -> None:
    """Number 27 is always dark, all others are as they were."""
    images, clean = SHIFTS["frozen"](Draws(1), ROWS), Draws(1).clean(ROWS)
    assert not images[:, FROZEN].any()
    assert clean[:, FROZEN].any()
    others = np.arange(64) != FROZEN
    assert (images[:, others] == clean[:, others]).all()


def test_the_model_is_good_enough_to_be_watched(model: Any) -> None:
    """Nine of ten right on the pool; the artifact loads back as the same model."""
    draws = Draws()
    right = classifier.probabilities(model, draws.images).argmax(1) == draws.digits
    assert right.mean() > 0.85


class _Recorder(BaseHTTPRequestHandler):
    """Answers predictions and keeps the rows; fails while told to."""

    protocol_version = "HTTP/1.1"
    rows: ClassVar[list[list[int]]] = []
    failing: ClassVar[threading.Event] = threading.Event()

    def do_POST(self) -> None:
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        self.rows.extend(rows)
        body = json.dumps({"predictions": [[1.0]] * len(rows)}).encode()
        self.send_response(500 if self.failing.is_set() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def recorder() -> Iterator[str]:
    """Its address."""
    _Recorder.rows.clear()
    _Recorder.failing.clear()
    with HTTPServer(("127.0.0.1", 0), _Recorder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def until(condition: Any) -> None:
    """Waits for it, 20 s at most."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "did not come"
        time.sleep(0.01)


def test_traffic_is_clean_until_told(recorder: str) -> None:
    """Rows come from the pool; after `shift` only shifted ones; after `stop` none."""
    traffic = Traffic(recorder, "frozen", seed=1)
    traffic.start()
    until(lambda: traffic.rows >= 20)
    assert any(row[FROZEN] for row in _Recorder.rows)
    traffic.shift()
    until(lambda: traffic.rows >= 40)
    traffic.stop()
    assert not any(row[FROZEN] for row in _Recorder.rows[-10:])
    assert traffic.rows == len(_Recorder.rows)
    assert traffic.errors == 0


def test_a_shift_can_end(recorder: str) -> None:
    """After `calm` rows come from the pool again; a request has as many rows as asked for."""
    traffic = Traffic(recorder, "frozen", seed=1, rows=40)
    traffic.shift()
    traffic.start()
    until(lambda: traffic.rows >= 40)
    assert not any(row[FROZEN] for row in _Recorder.rows[:40])
    traffic.calm()
    until(lambda: traffic.rows >= 200)
    traffic.stop()
    assert any(row[FROZEN] for row in _Recorder.rows[-80:])
    assert traffic.rows % 40 == 0


def test_traffic_outlives_a_failing_server(recorder: str) -> None:
    """An error is counted, its rows are not, and it goes on."""
    traffic = Traffic(recorder, "noise", seed=1)
    _Recorder.failing.set()
    traffic.start()
    until(lambda: traffic.errors >= 2)
    assert traffic.rows == 0
    _Recorder.failing.clear()
    until(lambda: traffic.rows)
    traffic.stop()


def test_an_error_answer_is_told(recorder: str) -> None:
    """With the status and what the server said."""
    _Recorder.failing.set()
    connection = http.client.HTTPConnection(recorder.removeprefix("http://"))
    with pytest.raises(ValueError, match="500"):
        predict(connection, Draws(1).clean(1))
    connection.close()
