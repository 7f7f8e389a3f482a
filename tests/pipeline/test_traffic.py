"""What is captured: counted as the client saw it, read within bounds, and fed to the models' drift."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pilotfish import exchange
from pilotfish_agent.capture.view import View
from pilotfish_agent.pipeline import traffic as traffic_file
from pilotfish_core.metrics import Distribution
from pilotfish_core.nouns import ObservationBatch, Snapshot
from tests.pipeline.frames import copies, record, said, timings
from tests.pipeline.rig import Rig

Make = Callable[..., Rig]
TF = "POST /v1/models/iris/versions/3:predict"
CHAT = "POST /v1/chat/completions"


def series(snapshot: Snapshot, name: str) -> dict[tuple[str | None, ...], Any]:
    """Series of one metric by their labels; histograms as their number of values."""
    return {
        s.labels: sum(s.value.counts) if isinstance(s.value, Distribution) else s.value
        for s in snapshot.samples
        if s.metric.name == f"pilotfish_{name}"
    }


def iris(rows: int = 1, line: str = TF, **fields: int) -> exchange.Copy:
    """A prediction of the model `iris`."""
    instances = [{"x": float(i), "y": 1.5} for i in range(rows)]
    made = said(line, {"instances": instances}, {"predictions": [0.5] * rows})
    return made._replace(record=record(**fields))


def chat(model: str = "tiny", **usage: int) -> exchange.Copy:
    """An answer of two tokens."""
    choice = {"message": {"role": "assistant", "content": "well met"}, "finish_reason": "stop"}
    counted = {"prompt_tokens": 5, "completion_tokens": 2, **usage}
    asked = {"model": "x", "messages": [{"role": "user", "content": "hi"}]}
    return said(CHAT, asked, {"model": model, "choices": [choice], "usage": counted})


def test_timings_are_counted_by_what_their_line_asks_for(rigged: Make) -> None:
    """Protocol, operation, code, outcome; a path is never a label."""
    rig = rigged()
    rig.source.frames.append(
        timings(
            [
                (TF, record()),
                (TF, record(status=503)),
                ("GET /who/knows?id=1", record(status=404)),
                ("GET /health", record(flags=exchange.ABORTED, status=0)),
            ]
        )
    )
    snapshot = rig.step()
    assert series(snapshot, "requests_total") == {
        ("me", "iris", "3", "tensorflow_serving", "predict", "200"): 1.0,
        ("me", "iris", "3", "tensorflow_serving", "predict", "503"): 1.0,
        ("me", "mine", None, "http", "other", "404"): 1.0,
        ("me", "mine", None, "http", "other", "none"): 1.0,
    }
    assert series(snapshot, "request_duration_seconds") == {
        ("me", "iris", "3", "predict", "success"): 1,
        ("me", "iris", "3", "predict", "server_error"): 1,
        ("me", "mine", None, "other", "client_error"): 1,
        ("me", "mine", None, "other", "aborted"): 1,
    }
    assert series(snapshot, "request_bytes_total")["me", "iris", "3"] == 1400.0
    assert series(snapshot, "response_bytes_total")["me", "iris", "3"] == 600.0


def test_durations_are_the_records(rigged: Make) -> None:
    """Nanoseconds become seconds."""
    rig = rigged()
    rig.source.frames.append(timings([(TF, record(duration=1_500_000_000)), (TF, record(duration=500_000_000))]))
    (value,) = [s.value for s in rig.step().samples if s.metric.name == "pilotfish_request_duration_seconds"]
    assert isinstance(value, Distribution)
    assert value.total == pytest.approx(2.0)


def test_what_is_not_surely_an_exchange_is_no_request(rigged: Make) -> None:
    """Ambiguous and opaque records invent no request; what was cut or upgraded is one, without a duration."""
    rig = rigged()
    flags = (exchange.AMBIGUOUS, exchange.OPAQUE, exchange.INCOMPLETE, exchange.UPGRADED)
    rig.source.frames.append(timings([(TF, record(flags=flag)) for flag in flags]))
    for flag in flags:
        rig.source.frames += copies([iris(flags=flag)], first=flag)
    snapshot = rig.step()
    assert sum(series(snapshot, "requests_total").values()) == 4.0
    assert series(snapshot, "request_duration_seconds") == {}
    assert series(snapshot, "predictions_total") == {}
    assert [m.model for m in snapshot.status.models] == []


def test_a_copy_is_a_request_and_its_rows_are_predictions(rigged: Make) -> None:
    """Features and predictions reach the model's drift, under the name that the server's success gave."""
    rig = rigged()
    rig.source.frames += copies([iris(rows=3), iris(rows=2)])
    snapshot = rig.step()
    assert series(snapshot, "requests_total") == {("me", "iris", "3", "tensorflow_serving", "predict", "200"): 2.0}
    assert series(snapshot, "predictions_total") == {(None, "iris", "3"): 5.0}
    assert series(snapshot, "observations_total")["capture",] == 5.0
    (model,) = snapshot.status.models
    assert (model.model, model.words) == ("iris", "learning: 5 of 500 rows")


def test_a_name_that_a_client_asks_for_is_no_model(rigged: Make) -> None:
    """Neither in a path nor in a body; after a success on that port the failure is the server's model's."""
    rig = rigged()
    wrong = said("POST /v1/models/nope:predict", {"instances": [1]}, {"error": "unknown"}, status=404)
    rig.source.frames += copies([wrong])
    rig.source.frames.append(timings([("POST /v1/models/other:predict", record(status=404))]))
    assert {labels[1] for labels in series(rig.step(), "requests_total")} == set(), "who knows, a success may come"
    assert {labels[1] for labels in series(rig.step(2.0), "requests_total")} == {"mine"}
    rig.source.frames += copies([iris(), chat("tiny"), wrong], first=9)
    rig.step()
    requests = series(rig.step(2.0), "requests_total")
    assert requests["me", "iris", "3", "tensorflow_serving", "predict", "404"] == 1.0
    assert requests["me", "tiny", None, "openai", "chat", "200"] == 1.0
    assert {labels[1] for labels in requests} == {"mine", "iris", "tiny"}


def test_generations_have_tokens_and_reasons(rigged: Make) -> None:
    """As the server counted them; each choice is a prediction."""
    rig = rigged()
    rig.source.frames += copies([chat(), chat()])
    snapshot = rig.step()
    assert series(snapshot, "input_tokens_total") == {("me", "tiny", None, None): 10.0}
    assert series(snapshot, "output_tokens_total") == {("me", "tiny", None, None): 4.0}
    assert series(snapshot, "generations_total") == {("me", "tiny", None, "stop"): 2.0}
    assert series(snapshot, "predictions_total") == {(None, "tiny", None): 2.0}


def test_content_that_cannot_be_read_costs_only_the_content(rigged: Make) -> None:
    """The request is counted, and so is the reason."""
    rig = rigged()
    rig.source.frames += copies([iris()._replace(response_body=b"{", request_body=b"{")])
    snapshot = rig.step()
    assert sum(series(snapshot, "requests_total").values()) == 1.0
    assert series(snapshot, "capture_unreadable_total") == {("json_broken",): 1.0}


def test_when_reading_is_slow_the_oldest_copies_are_only_counted(rigged: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is lost, whatever the backlog; what is read is the newest, and the end reads nothing more."""
    monkeypatch.setattr(traffic_file, "DECODE_SECONDS", 0.0)
    size = len(exchange.pack_copy(iris(line="POST /v1/models/a:predict")))
    monkeypatch.setattr(traffic_file, "BACKLOG_BYTES", 3 * size)
    rig = rigged()
    rig.source.frames += copies([iris(line=f"POST /v1/models/{name}:predict") for name in "abcdef"])
    snapshot = rig.step()
    assert series(snapshot, "capture_dropped_total") == {("copy_backlog",): 3.0}
    assert [m.model for m in snapshot.status.models] == ["d"], "one a step, at the least"
    assert sum(series(snapshot, "requests_total").values()) == 4.0
    assert [m.model for m in rig.step().status.models] == ["d", "e"]
    rig.source.frames += copies([iris(), iris()], first=20)
    rig.pipeline.finish()
    last = rig.store.latest()
    assert last is not None
    assert sum(series(last, "requests_total").values()) == 8.0


def test_capture_tells_of_calls_and_the_sdk_of_rows(rigged: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together nothing is counted twice; health checks alone silence nobody; when the capture ends the SDK goes on."""
    rig = rigged()
    supervisor = rig.capture
    monkeypatch.setattr(supervisor, "view", View("tap"))
    rig.rows(model="iris", version="3", n=50)
    rig.source.frames.append(timings([("GET /health", record())]))
    requests = series(rig.step(), "requests_total")
    assert requests["me", "iris", "3", "sdk", "predict", "none"] == 50.0
    rig.rows(model="iris", version="3", n=50)
    rig.source.frames += copies([iris(rows=7)])
    snapshot = rig.step()
    requests = series(snapshot, "requests_total")
    assert requests["me", "iris", "3", "sdk", "predict", "none"] == 50.0
    assert requests["me", "iris", "3", "tensorflow_serving", "predict", "200"] == 1.0
    assert snapshot.status.models[0].words == "learning: 100 of 500 rows"
    monkeypatch.setattr(supervisor, "view", View("sdk"))
    rig.rows(model="iris", version="3", n=50)
    assert series(rig.step(), "requests_total")["me", "iris", "3", "sdk", "predict", "none"] == 100.0
    rig.clock.advance(traffic_file.SDK_SECONDS)
    rig.source.frames += copies([iris(rows=7)], first=9)
    assert rig.step().status.models[0].words == "learning: 157 of 500 rows", "the SDK is gone, what is captured counts"


def test_traffic_without_a_name_is_left_to_an_sdk_with_one(rigged: Make) -> None:
    """The same rows do not become a second model."""
    rig = rigged()
    rig.rows(model="ranker")
    rig.source.frames += copies([said("POST /predict", {"x": [1.0]}, {"prediction": 1.0})])
    assert [m.model for m in rig.step().status.models] == ["ranker"]


def test_counts_of_the_capture_process_stand_beside_our_own(rigged: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One series a reason; what is in flight is a gauge of the target."""
    rig = rigged()
    counters = {"dropped:kernel": 3, "dropped:copy_backlog": 1, "exchanges:success": 7, "in_flight:8000": 2}
    monkeypatch.setattr(rig.capture, "view", View("tap", counters={**counters, "in_flight:8001": 1}))
    snapshot = rig.step()
    assert series(snapshot, "capture_dropped_total") == {("kernel",): 3.0, ("copy_backlog",): 1.0}
    assert series(snapshot, "capture_exchanges_total") == {("success",): 7.0}
    assert series(snapshot, "requests_in_flight") == {("me",): 3.0}


def test_many_records_are_counted_in_passes_of_arrays(rigged: Make) -> None:
    """20,000 records of three lines: exactly as many requests, whatever their order."""
    rig = rigged()
    random = np.random.default_rng(1)
    kinds = [(TF, record()), ("GET /x", record(status=404)), ("POST /predict", record(status=500, port=8001))]
    chosen = random.integers(0, 3, 20_000).tolist()
    for start in range(0, 20_000, 1_000):
        rig.source.frames.append(timings([kinds[i] for i in chosen[start : start + 1_000]]))
    rig.step()
    requests = series(rig.step(2.0), "requests_total")
    assert {labels[5]: n for labels, n in requests.items()} == {
        code: float(chosen.count(i)) for i, code in enumerate(("200", "404", "500"))
    }


def test_failures_inside_a_successful_stream_are_failures(rigged: Make) -> None:
    """The status was 200 before it broke."""
    rig = rigged()
    events = [
        {"model": "tiny", "choices": [{"delta": {"content": "a"}}]},
        {"error": {"message": "out of memory"}},
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    made = chat()._replace(response_head=head, response_body=body, marks=((0, 900), (50, 1_500)))
    rig.source.frames += copies([made])
    durations = series(rig.step(), "request_duration_seconds")
    assert durations == {("me", "tiny", None, "chat", "server_error"): 1}


def test_the_first_failures_of_a_model_are_its_own(rigged: Make) -> None:
    """They come before the success that tells its name; what never succeeds is the agent's own model's at last."""
    rig = rigged()
    rig.source.frames += copies([said(CHAT, {}, {"error": "shape"}, status=400)])
    rig.source.frames.append(timings([(CHAT, record(status=500)), ("POST /score", record(status=500))]))
    assert series(rig.step(), "requests_total") == {}
    rig.source.frames += copies([chat()], first=9)
    requests = series(rig.step(), "requests_total")
    assert {(labels[1], labels[5]): n for labels, n in requests.items() if labels[3] == "openai"} == {
        ("tiny", "200"): 1.0,
        ("tiny", "400"): 1.0,
        ("tiny", "500"): 1.0,
    }
    requests = series(rig.step(2.0), "requests_total")
    assert requests["me", "mine", None, "generic", "score", "500"] == 1.0


def test_what_waits_is_counted_at_the_end(rigged: Make) -> None:
    """Nothing is lost when the agent leaves."""
    rig = rigged()
    rig.source.frames += [timings([(CHAT, record(status=500))]) for _ in range(3)]
    rig.pipeline.finish()
    last = rig.store.latest()
    assert last is not None
    assert sum(series(last, "requests_total").values()) == 3.0
    assert sum(series(last, "request_duration_seconds").values()) == 3


def test_rows_of_other_sources_still_feed_both(rigged: Make) -> None:
    """Without capture the SDK's latency is the requests'."""
    rig = rigged()
    rig.source.waiting.append(ObservationBatch("", None, "tail", 2, latency=[0.1, 0.2]))
    assert series(rig.step(), "requests_total") == {("me", "mine", None, "sdk", "predict", "none"): 2.0}
