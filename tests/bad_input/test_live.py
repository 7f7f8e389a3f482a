"""A live agent goes on whatever is sent to its socket and its port."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings

from tests.agent.live import Live, until
from tests.bad_input import hostile

ONCE = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One agent for all of it, beside a model that sends rows all the time."""
    one = Live(tmp_path_factory.mktemp("agent"))
    one.start()
    until(lambda: one.model().get("window_rows"), "rows")
    yield one
    one.stop()


def pid(agent: Live) -> int:
    """Of the agent that answers now."""
    return int(until(agent.status, "a status")["processes"]["agent"])


def rows(agent: Live) -> float:
    """Received so far."""
    found = until(lambda: agent.metric(re.escape("pilotfish_observations_total{") + ".*sdk"), "a page")
    return float(found or 0)


def test_any_datagram(agent: Live) -> None:
    """Frames of any shape are counted or refused; the same process answers, and takes the model's rows as before."""
    before = pid(agent)
    path = str(pathlib.Path(agent.root, "run/toy/intake.sock"))

    @given(hostile.DATAGRAM)
    @ONCE
    def attack(data: bytes) -> None:
        hostile.send(path, data)

    attack()
    assert pid(agent) == before
    then = rows(agent)
    until(lambda: rows(agent) > then, "rows after the attack")
    assert agent.metric(re.escape("pilotfish_capture_dropped_total{") + ".*frame_") is not None
    assert "step_failed" not in agent.log


def test_any_request(agent: Live) -> None:
    """Bytes of any kind on the port get an answer or a closed connection; the same process answers the next one."""
    before = pid(agent)

    @given(hostile.REQUEST)
    @example(b"GET / HTTP/2.0\r\n\r\n")
    @ONCE
    def attack(data: bytes) -> None:
        answer = hostile.ask(agent.address(), data)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")) or b" 505 " in answer.split(b"\r\n")[0]
        assert b"Traceback" not in answer

    attack()
    assert pid(agent) == before
    assert agent.get("/-/healthy") != ""
    assert 'level": "error"' not in agent.log
