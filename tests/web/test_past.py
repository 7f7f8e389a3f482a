"""`/api/v1/history` and `/api/v1/alerts`: the documents and their bounds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pilotfish_agent.state.history import History
from pilotfish_agent.web import past
from pilotfish_agent.web.server import Served
from tests.standard import AT, standard_snapshot
from tests.web.live import Site, get, play


def remembered(points: int = 8) -> History:
    """A history of the standard Snapshot."""
    history = History()
    for number in range(points):
        history.add(replace(standard_snapshot(), at=AT + 10 * number))
    return history


def asked(history: History, **query: str) -> Any:
    """The document of a query."""
    return json.loads(past.answer(history, query))


def test_the_document_has_the_steps_and_says_what_its_series_are() -> None:
    """Points of 10 s and minutes of min, max, last; the same ids everywhere, gaps are null."""
    document = asked(remembered())
    assert document["left_out"] == 0
    assert document["left_out_names"] == []
    ids = [s["id"] for s in document["series"]]
    assert {"id", "metric", "labels", "unit", "kind"} == document["series"][0].keys()
    fine, minutes = document["steps"]["10s"], document["steps"]["1m"]
    assert len(fine["at"]) == 8
    assert {b - a for a, b in zip(fine["at"], fine["at"][1:], strict=False)} == {10}
    assert {b - a for a, b in zip(minutes["at"], minutes["at"][1:], strict=False)} == {60}
    for values, times in ((fine["values"], fine["at"]), *((minutes[k], minutes["at"]) for k in ("min", "max", "last"))):
        assert list(values) == ids
        assert {len(v) for v in values.values()} == {len(times)}
    memory = next(s["id"] for s in document["series"] if s["metric"].endswith("resident_memory_bytes"))
    assert fine["values"][memory] == [104857600] * 8
    cpu = next(s["id"] for s in document["series"] if s["metric"] == "pilotfish_process_cpu_seconds_total")
    assert fine["values"][cpu] == [None] + [0] * 7


def test_a_query_narrows_by_series_and_span() -> None:
    """Unknown ids are left out; no span, no numbers, yet the list."""
    history = remembered()
    first, second = [s.id for s in history.series()][:2]
    document = asked(history, series=f"{second},nosuch,{first}", span="30s")
    assert set(document["steps"]["10s"]["values"]) == {first, second}
    assert len(document["steps"]["10s"]["at"]) == 3
    assert len(document["series"]) == len(history.series())
    assert asked(history, span="0")["steps"]["10s"]["at"] == []
    assert asked(History())["steps"]["1m"]["at"] == []


@pytest.mark.parametrize("span", ["x", "", "-1h", "1e9", "1w", "9999999999s", "1h "])
def test_a_span_that_is_none_is_refused_in_words(span: str) -> None:
    """400 with what was expected."""
    history = remembered(1)

    async def story(served: Served) -> None:
        status, _, body = await get(served, f"/api/v1/history?span={span.replace(' ', '%20')}")
        assert status == 400
        assert "expected a time such as 15m" in json.loads(body)["error"]

    play(story, with_history(history))


def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for more is told to ask for less."""
    monkeypatch.setattr(past, "MOST_NUMBERS", 1000)
    with pytest.raises(past.AskedError, match="name fewer series"):
        past.answer(remembered(), {"span": "24h"})


def test_alerts_are_the_same_as_in_status() -> None:
    """One list, two addresses; history of a server without one is empty."""
    site = Site()
    alert = {"labels": {"alertname": "A"}, "annotations": {}, "startsAt": "2024-11-23T00:00:00.000Z", "state": "firing"}
    site.snapshot = replace(standard_snapshot(), alerts=(alert,))

    async def story(served: Served) -> None:
        assert json.loads((await get(served, "/api/v1/alerts"))[2]) == [alert]
        assert json.loads((await get(served, "/api/v1/status"))[2])["alerts"] == [alert]
        assert json.loads((await get(served, "/api/v1/history"))[2])["series"] == []

    play(story, site)


def with_history(history: History) -> Site:
    """A site that has it."""
    site = Site()
    site.history = history
    return site
