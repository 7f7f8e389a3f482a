"""The reader of PromQL: what it finds in expressions, and what it refuses."""

from __future__ import annotations

import pytest

from grafana.selectors import parse


def test_selectors_with_what_stands_around_them() -> None:
    """Names, matchers, ranges and the functions they stand in, the nearest first."""
    found = parse('sum by (a) (rate(x_total{job=~"$job", b!="}"}[$__rate_interval])) / on (a) group_left (c) (y > 0)')
    x, y = found.selectors
    assert (x.name, x.matchers) == ("x_total", [("job", "=~", "$job"), ("b", "!=", "}")])
    assert (x.inside, x.ranged) == (("rate", "sum"), "$__rate_interval")
    assert (y.name, y.matchers, y.inside, y.ranged) == ("y", [], (), "")
    assert found.grouped == {"a", "c"}


def test_words_of_the_language_are_no_metrics() -> None:
    """Operators, modifiers, functions without arguments, numbers."""
    text = "time() - 1e3 * x offset 1m and topk(3, max_over_time((max by (f) (z))[1h:1m] @ end())) or bool unless inf"
    assert [s.name for s in parse(text).selectors] == ["x", "z"]
    assert parse(text).selectors[1].inside == ("max", "max_over_time", "topk")


def test_alternatives_of_the_name_are_metrics() -> None:
    """A selector may name its metrics by a matcher."""
    assert parse('{__name__=~"a|b", job=~"$job"}').selectors[0].metrics() == ("a", "b")
    assert parse("c{d='e'}").selectors[0].metrics() == ("c",)


def test_variables_of_the_dashboard_are_no_metrics() -> None:
    """A duration outside of brackets may be one."""
    assert [s.name for s in parse("a unless a offset $__rate_interval or b").selectors] == ["a", "a", "b"]


@pytest.mark.parametrize("text", ["a ; b", "sum(a", "a)", 'a{b="c"', "sum by (a", 'a{b="c}'])
def test_what_is_no_promql_is_refused(text: str) -> None:
    """With a ValueError that quotes it."""
    with pytest.raises(ValueError, match="PromQL"):
        parse(text)
