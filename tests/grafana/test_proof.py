"""The proof's own reading and comparing: what it would call wrong, and what it would let pass."""

from __future__ import annotations

import math
from typing import Any

import pytest

from grafana.proof import compare
from grafana.proof.check import renamed
from grafana.proof.compare import Expected, judged, legend, moves, says
from grafana.proof.prometheus import Series
from grafana.proof.reading import UnreadableError, read
from grafana.proof.settings import Settings, settings

PLAIN = Settings("none", (), None, False)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("171 req/s", "reqps", 171.4),
        ("1.25K req/s", "reqps", 1249.0),
        ("0.195%", "percentunit", 0.0019512),
        ("5.13%", "percent", 5.1282),
        ("349 µs", "s", 0.00034949),
        ("2.50 s", "s", 2.4951),
        ("1.5 mins", "s", 89.0),
        ("94.0 MiB", "bytes", 98_566_144.0),
        ("12.3 kB/s", "Bps", 12_345.0),
        ("1.40 K", "short", 1_398.0),
        ("-3", "none", -3.2),
        ("352 W", "watt", 351.9),
        ("4.82 mJ", "joule", 0.004819),
        ("1.98 GHz", "hertz", 1_980_000_000.0),
        ("61.5 °C", "celsius", 61.52),
    ],
)
def test_a_text_of_grafana_is_the_number_that_was_rounded_to_it(text: str, unit: str, value: float) -> None:
    """Units and prefixes are undone; half a unit of the last digit is allowed, not more."""
    found = read(text, unit)
    assert found.is_(value)
    assert not found.is_(value + 3 * found.slack)
    assert not found.is_(math.nan)


@pytest.mark.parametrize(
    ("text", "unit"), [("No data", "none"), ("12 B", "s"), ("NaN", "short"), ("5 apples", "reqps")]
)
def test_a_text_of_another_unit_is_refused(text: str, unit: str) -> None:
    """A wrong unit is a difference, never a guess."""
    with pytest.raises(UnreadableError):
        read(text, unit)


def test_a_time_gone_by_is_of_the_shown_end() -> None:
    """Two minutes ago is between 1.5 and 2.5 minutes before it."""
    assert read("2 minutes ago", "dateTimeFromNow", 1000.0).is_((1000.0 - 115.0) * 1e3)
    assert not read("2 minutes ago", "dateTimeFromNow", 1000.0).is_((1000.0 - 300.0) * 1e3)


def test_mapped_texts_must_be_the_mapped_ones() -> None:
    """Where a value has a word, the word is compared."""
    panel = {"fieldConfig": {"defaults": {"mappings": [{"type": "value", "options": {"1": {"text": "drifting"}}}]}}}
    look = settings(panel, "any", "A")
    assert says("drifting", 1.0, look) is None
    assert says("well", 1.0, look) is not None
    assert says("0", 0.0, look) is None


def test_overrides_stand_above_defaults() -> None:
    """By the column's name, as in tables."""
    override = {"matcher": {"id": "byName", "options": "Value #B"}, "properties": [{"id": "unit", "value": "s"}]}
    panel = {"fieldConfig": {"defaults": {"unit": "short"}, "overrides": [override]}}
    assert (settings(panel, "Value #A", "A").unit, settings(panel, "Value #B", "B").unit) == ("short", "s")


def test_names_are_as_a_browser_shows_them() -> None:
    """A label that is not there leaves no double space."""
    assert legend("{{model}} {{version}} p99", {"model": "tiny"}) == "tiny p99"


def test_a_series_moves_when_its_values_differ_or_when_it_comes() -> None:
    """Standing still is one value at every step."""
    still = Series({}, tuple((float(t), 1.0) for t in range(5)))
    assert not moves(still, 0, 4, 1)
    assert moves(still, 0, 9, 1)
    assert moves(Series({}, ((0.0, 1.0), (1.0, 2.0))), 0, 1, 1)


class Answers:
    """Stands for Prometheus: one series, or none."""

    def __init__(self, value: float | None) -> None:
        self.found = [] if value is None else [Series({"model": "a"}, ((9.0, value), (10.0, value + 1)))]

    def over(self, *_: Any) -> list[Series]:
        return self.found

    def at(self, *_: Any) -> list[Series]:
        return [Series(s.labels, s.points[-1:]) for s in self.found]


def drawn(kind: str, **shown: Any) -> dict[str, Any]:
    target = {"refId": "A", "expr": "up", "instant": False, "legendFormat": "{{model}}", "error": None}
    stands = {"empty": False, "items": [], "legend": None, "grid": None, "canvases": 1} | shown
    return {"type": kind, "targets": [target | {"start": 9, "end": 10, "step": 1}], "shown": stands}


def table(value: str) -> dict[str, Any]:
    return {"head": ["Series color", "Name", "Last *"], "rows": [["", "a", value]]}


@pytest.mark.parametrize(
    ("told", "value", "word"),
    [
        (drawn("timeseries", legend=table("6")), 5.0, None),
        (drawn("timeseries", legend=table("7")), 5.0, "shows '7'"),
        (drawn("timeseries", legend=None), 5.0, "legend"),
        (drawn("stat", items=["6"]), 5.0, None),
        (drawn("stat", items=["6.4"]), 5.0, "shows '6.4'"),
        (drawn("stat", empty=True), 5.0, "no data"),
        (drawn("stat", items=["6"]), None, "no data"),
        (drawn("table", grid={"head": [], "rows": [["a", "6"]]}), 5.0, None),
        (drawn("table", grid={"head": [], "rows": [["a", "8"]]}), 5.0, "no cell"),
        (drawn("table", grid={"head": [], "rows": []}), 5.0, "no row"),
    ],
)
def test_a_panel_is_judged_by_what_it_shows(told: dict[str, Any], value: float | None, word: str | None) -> None:
    """The drawn value is Prometheus' own, or the panel is wrong; without data it is wrong whatever it shows."""
    found = judged({"fieldConfig": {}}, told, Answers(value))  # type: ignore[arg-type]
    assert bool(found.problems) == (word is not None)
    assert word is None or word in found.problems[0]


def test_what_a_machine_lacks_may_leave_a_panel_empty_but_not_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The panel is counted with the reason; with data beside it, it is judged as ever."""
    monkeypatch.setattr(compare, "lacking", lambda: {"up": "no such thing here"})
    told = drawn("stat", empty=True)
    empty = judged({"fieldConfig": {}}, told, Answers(None))  # type: ignore[arg-type]
    assert (empty.problems, empty.lacking, empty.excused) == ([], "no such thing here", {"up"})
    there = judged({"fieldConfig": {}}, drawn("stat", items=["6.4"]), Answers(5.0))  # type: ignore[arg-type]
    assert there.problems
    assert there.lacking is None


def test_of_the_largest_another_of_the_same_value_may_stand() -> None:
    """topk takes any of those that are equal."""
    from grafana.proof.compare import _paired

    told = drawn("bargauge")
    expected = [Expected("a", "A", {}, 1.0, ranked=True), Expected("b", "A", {}, 2.0, ranked=True)]
    assert not list(_paired({}, told, [("c", "1"), ("b", "2")], expected))
    assert list(_paired({}, told, [("c", "3"), ("b", "2")], expected))
    equal = [*expected, Expected("d", "A", {}, 2.0, ranked=True)]
    assert not list(_paired({}, told, [("a", "1"), ("b", "2")], equal))
    assert list(_paired({}, told, [("b", "2")], equal))


def test_a_rename_changes_the_dashboards_that_have_the_metric() -> None:
    """And no other, nor a longer name that begins alike."""
    boards = {"one": {"expr": "rate(pilotfish_a_total[1m])"}, "two": {"expr": "pilotfish_a_total_more"}}
    assert renamed(boards, "pilotfish_a_total") == {"one": {"expr": "rate(pilotfish_a_total_renamed[1m])"}}
