"""The model comes first: what its surroundings or its data do to the SDK never reaches the model."""

from __future__ import annotations

import contextvars
import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotfish import Monitor, _sender
from pilotfish._rows import MAX_FEATURES, MAX_SCHEMAS
from pilotfish._table import MOST_BYTES
from tests.sdk.conftest import Agent

Until = Callable[[Callable[[], bool]], None]
ROW = {"x": 1.0, "y": 2.0}


def no_descriptor(*_: object) -> Any:
    raise OSError(errno.EMFILE, "Too many open files")


def predictions(agent: Agent, monitor: Monitor) -> list[float]:
    found: list[float] = []
    for batch in agent.received(monitor):
        found.extend(() if batch.prediction is None else map(float, batch.prediction))
    return found


def test_a_model_without_free_descriptors_is_not_told_by_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """Neither an agent that is looked for nor one that is promised raises; the thread lives on, each row comes once."""
    monkeypatch.delenv("PILOTFISH_SOCKET", raising=False)
    monkeypatch.setenv("PILOTFISH_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "model").mkdir()
    agent = Agent(tmp_path / "model" / "intake.sock")
    with monkeypatch.context() as short:
        short.setattr("_socket.socket", no_descriptor)
        searching, promised = Monitor(), Monitor(socket=agent.path)
        assert searching.wrap(len)([1, 2]) == 2
        for i in range(300):
            searching.observe(features=ROW, prediction=float(i), latency=0.1)
            promised.observe(features=ROW, prediction=float(i), latency=0.1)
        until(lambda: bool(promised._sender._pending))
    thread = promised._sender._thread
    assert thread is not None
    assert thread.is_alive()
    assert predictions(agent, promised) == [float(i) for i in range(300)]
    searching.close()
    promised.close()
    agent.intake.stop()


def test_a_fault_behind_a_packed_row_does_not_count_it_twice(
    agent: Agent, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens after a row was taken, it is not taken again, and goes with the next."""

    def fail(_: object) -> bool:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(_sender.Sender, "_collect", fail)
        for i in range(300):
            monitor.observe(features=ROW, prediction=float(i), latency=0.1)
    assert predictions(agent, monitor) == [float(i) for i in range(300)]


def test_a_forgotten_shape_that_comes_again_is_sent(agent: Agent, monitor: Monitor) -> None:
    """Schemas are bounded; rows of one that was given up are neither lost nor piled up."""
    monitor.observe(features=ROW, prediction=-1.0, latency=0.1)
    first = monitor._last[0]
    for i in range(MAX_SCHEMAS + 1):
        monitor.observe(features={f"other{i}": 1.0}, prediction=0.5, id="a")
    predictions(agent, monitor)
    for i in range(1_000):
        monitor.observe(features=ROW, prediction=float(i), latency=0.1)
    assert predictions(agent, monitor) == [float(i) for i in range(1_000)]
    assert not first.rows
    assert len(monitor._sender.schemas) <= 2 * MAX_SCHEMAS


class Wide:
    """An array too wide to be features; reading its values takes seconds and gigabytes."""

    ndim = 1
    shape = (10**9,)

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, _: object) -> Any:
        raise AssertionError("read")

    tolist = __iter__ = __getitem__


def test_wide_arrays_are_not_read(agent: Agent, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audio, images, logits of a vocabulary: no features and no probabilities; nothing of them is read or kept."""
    monkeypatch.setattr(Wide, "tolist", lambda _: pytest.fail("read"))
    monitor.observe(features=Wide(), prediction=0.5)  # type: ignore[arg-type]
    monitor.observe(features={"x": 1.0}, prediction=Wide())
    monitor.watch(lambda _: 1.0)(Wide())
    monitor.observe(features=np.zeros((1, MAX_FEATURES + 1)), prediction=0.5)  # type: ignore[arg-type]
    monitor.observe(features=[0.0] * (MAX_FEATURES + 1), prediction=0.5)
    batches = agent.received(monitor)
    assert sum(batch.rows for batch in batches) == 5
    assert {name for batch in batches for name in batch.features} == {"x"}
    assert len(monitor._numbered) <= MAX_FEATURES


def test_a_text_is_no_row_of_characters(agent: Agent, monitor: Monitor) -> None:
    """A prompt given as features stays in the process."""
    monitor.observe(features="a secret", prediction=0.5)
    monitor.observe(features=b"a secret", prediction=0.5)
    (batch,) = agent.received(monitor)
    assert (batch.rows, batch.features) == (2, {})


def test_numbers_of_more_than_64_bits_are_numbers(agent: Agent, monitor: Monitor) -> None:
    """`item()` of numpy's longdouble is a longdouble again."""
    monitor.observe(features={"x": np.longdouble(1.5)}, prediction=np.longdouble(0.25))
    batch = agent.one(monitor)
    assert (list(batch.features["x"]), list(batch.prediction or [])) == ([1.5], [0.25])


@pytest.mark.parametrize("count", [1, 100])
def test_a_batch_within_a_held_lock_does_not_wait_for_it(agent: Agent, monitor: Monitor, count: int) -> None:
    """A signal handler or finalizer may interrupt the sender in its own thread: its rows go later, none is lost."""
    monitor.observe(features=ROW, prediction=0.5)
    agent.received(monitor)
    done = threading.Thread(target=monitor.observe_batch, args=([[1.0]] * count, [0.5] * count), daemon=True)
    with monitor._sender._lock:
        done.start()
        done.join(20)
        assert not done.is_alive()
    assert sum(batch.rows for batch in agent.received(monitor)) == count


def test_what_large_batches_leave_behind_a_held_lock_is_bounded(agent: Agent, monitor: Monitor) -> None:
    """As all that waits; the rest is counted."""
    batch = np.ones((8_000, 16))
    with monitor._sender._lock:
        for _ in range(20):
            monitor.observe_batch(batch)
        assert sum(len(body) for body, _ in monitor._sender._pushed) <= _sender.MAX_BYTES
    received = 0
    while not monitor.flush(0.01):
        received += sum(batch.rows for batch in agent.intake.drain())
    monitor.observe(features=ROW, prediction=0.5)
    received += sum(batch.rows for batch in agent.received(monitor)) - 1
    assert 0 < received < 160_000
    assert received + agent.counters()["sdk_buffer"] == 160_000


def test_rows_that_fit_no_frame_are_lost_and_counted_as_such(agent: Agent, monitor: Monitor) -> None:
    """A batch of rows wider than a frame is no broken frame."""
    row = {f"text{i}": "x" * 256 for i in range(500)}
    monitor.observe_batch([row] * 40)
    monitor.observe(features=ROW, prediction=0.5)
    assert agent.one(monitor).rows == 1
    assert agent.counters() == {"sdk": 1, "sdk_buffer": 40, "intake_buffer": 0}


def test_two_first_rows_at_once_start_one_thread(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes while the first one makes the thread."""
    monitor = Monitor(socket=agent.path)
    made: list[threading.Thread] = []

    class Slow(threading.Thread):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            made.append(self)
            if len(made) == 1:
                monitor._sender._unpark()

    monkeypatch.setattr(threading, "Thread", Slow)
    monitor.observe(features=ROW, prediction=0.5)
    assert predictions(agent, monitor) == [0.5]
    assert len(made) == 1
    monitor.close()


def test_a_closed_monitor_stays_closed_after_a_fork(agent: Agent, monitor: Monitor) -> None:
    """The child of a process that has closed its monitor observes nothing."""
    monitor.close()
    monitor._sender.forked()
    monitor.observe(features=ROW, prediction=0.5)
    assert not monitor.active()
    assert agent.intake.drain() == []


def test_a_coroutine_may_be_driven_in_another_context(agent: Agent, monitor: Monitor) -> None:
    """Frameworks do so at shutdown; a variable of ours is no reason to fail."""

    class Pause:
        def __await__(self) -> Any:
            yield None

    @monitor.watch
    async def handler() -> float:
        await Pause()
        return 0.5

    running = handler()
    contextvars.Context().run(running.send, None)
    with pytest.raises(StopIteration) as ended:
        contextvars.Context().run(running.send, None)
    assert ended.value.value == 0.5
    assert predictions(agent, monitor) == [0.5]


def test_a_row_with_an_id_and_a_value_that_is_left_out_arrives_and_is_not_lost(agent: Agent, monitor: Monitor) -> None:
    """It has as many columns as one without an id and with all its values."""
    monitor.observe(features={"x": 1.0, "y": b""}, prediction=0.5, id="a")
    monitor.observe(features={"x": 1.0, "y": b""}, prediction=0.5, slices={"tenant": "a"})
    monitor.observe(features=ROW, prediction=0.5)
    assert len(predictions(agent, monitor)) == 3
    assert agent.counters()["sdk_buffer"] == 0


def test_a_row_on_its_way_to_a_schema_that_is_given_up_is_sent(agent: Agent, monitor: Monitor) -> None:
    """Another thread may hold the schema while it is forgotten; its row is adopted, not left behind."""
    sender = monitor._sender
    schema = monitor._rows.add(ROW, 0.25, 0.1)
    sender.retire([schema])
    sender.retire([])
    assert schema not in sender.schemas
    schema.add([0.5, 0.1, 1.0, 2.0])
    assert len(schema.rows) >= schema.limit
    sender.turn(schema)
    assert sorted(predictions(agent, monitor)) == [0.25, 0.5]
    sender.retire([])
    assert schema not in sender.schemas


def test_a_call_whose_answers_cannot_be_sent_loses_all_its_rows(
    agent: Agent, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one row: what is lost is counted in rows."""

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr("pilotfish._batch.send", fail)
        assert list(monitor.watch(lambda x: x[:, 0])(np.ones((40, 2)))) == [1.0] * 40
    monitor.observe(features=ROW, prediction=0.5)
    agent.received(monitor)
    assert agent.counters()["sdk_buffer"] == 40


def test_answers_without_features_are_thinned_as_tables_are(agent: Agent, monitor: Monitor) -> None:
    """Class probabilities of many images: evenly spread rows are taken, the others are counted."""
    monitor.observe(features=ROW, prediction=0.5)
    agent.received(monitor)
    monitor.told(None, np.full((4_000, 500), 1 / 500), 0.1)
    received = sum(batch.rows for batch in agent.received(monitor))
    monitor.observe(features=ROW, prediction=0.5)
    agent.received(monitor)
    assert MOST_BYTES // 2 < received * 500 * 8 <= MOST_BYTES
    assert received + agent.counters()["sdk_buffer"] == 4_000
