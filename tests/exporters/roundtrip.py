"""The property of the page: whatever the labels and numbers, it parses back equal with two parsers in two formats."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Any

from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as read_text

from pilotfish_core.metrics import Distribution, Metric, Sample
from pilotfish_exporters import _safe
from pilotfish_exporters.prometheus import render
from tests.exporters import reader
from tests.standard import standard_snapshot

GAUGE = Metric("pilotfish_any", "gauge", "Any number.", ("a", "b"))
COUNTER = Metric("pilotfish_any_events_total", "counter", "Any count.", ("a",))
HISTOGRAM = Metric("pilotfish_any_seconds", "histogram", "Any times.", ("a",), (0.001, 1.0, 12_345_678.0))
_NASTY = st.text(st.sampled_from('\\"\n\r\0\t {},=#\x7f\x85\u2028\ud800\udfff\ufeffné…a1_'), max_size=12)

labels = st.one_of(st.none(), _NASTY, st.text(st.characters(), max_size=200), st.integers(), st.binary(max_size=4))
numbers: st.SearchStrategy[Any] = st.one_of(
    st.floats(),
    st.integers(),
    st.booleans(),
    st.sampled_from([2**2000, -0.0, 1e-320, "x", None, [], Distribution((1,), 1.0)]),
)
counts = st.lists(st.one_of(st.integers(-1, 2**60), st.floats()), min_size=3, max_size=5).map(tuple)
distributions = st.builds(Distribution, counts, st.floats()) | numbers


def _one(metric: Metric, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Sample]:
    width = len(metric.labels)
    texts = st.lists(labels, min_size=width, max_size=width) | st.lists(labels, max_size=3)
    return st.builds(Sample, st.just(metric), texts.map(tuple), values)


samples = st.lists(
    st.one_of(_one(GAUGE, numbers), _one(COUNTER, numbers), _one(HISTOGRAM, distributions)), max_size=8
).map(tuple)

Series = tuple[str, frozenset[tuple[str, str]]]


def read_openmetrics(text: str) -> list[Any]:
    """The families of an OpenMetrics page, by the strict parser of prometheus_client."""
    return list(openmetrics_parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def expected(given: tuple[Sample, ...]) -> dict[Series, float]:
    """What the page must hold of ``given``: written down here a second time, from the rules alone."""
    kept: dict[tuple[Metric, frozenset[tuple[str, str]]], Any] = {}
    for s in given:
        if len(s.labels) != len(s.metric.labels):
            continue
        pairs = zip(s.metric.labels, s.labels, strict=True)
        key = (s.metric, frozenset((k, _safe.label(v)) for k, v in pairs if v is not None and _safe.label(v)))
        if _good(s) and key not in kept:
            kept[key] = s.value
    found: dict[Series, float] = {}
    for (metric, pairs_), value in kept.items():
        found.update(_lines(metric, pairs_, value))
    return found


def _good(s: Sample) -> bool:
    if s.metric.kind == "histogram":
        whole = isinstance(s.value, Distribution) and len(s.value.counts) == 4 and math.isfinite(s.value.total)
        return whole and all(math.isfinite(c) and c >= 0 and c == int(c) for c in s.value.counts)  # type: ignore[union-attr]
    try:
        x = float(s.value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
    return s.metric.kind == "gauge" or (math.isfinite(x) and x >= 0)


def _lines(metric: Metric, pairs: frozenset[tuple[str, str]], value: Any) -> Iterator[tuple[Series, float]]:
    if not isinstance(value, Distribution):
        yield (metric.name, pairs), float(value)
        return
    for bound, count in zip(("0.001", "1.0", "1.2345678e+07", "+Inf"), accumulate(value.counts), strict=True):
        yield (metric.name + "_bucket", pairs | {("le", bound)}), float(count)
    yield (metric.name + "_count", pairs), float(sum(value.counts))
    yield (metric.name + "_sum", pairs), value.total


def check(given: tuple[Sample, ...]) -> None:
    """Renders ``given`` among the standard samples and reads it back three ways.

    Raises:
        AssertionError, ValueError: what was read is not what was given, or could not be read.
    """
    standard = standard_snapshot()
    snapshot = replace(standard, samples=standard.samples + given)
    text = render(snapshot, proc="/nonexistent/proc").body
    want = expected(given)
    usual = reader.read(render(standard, proc="/nonexistent/proc").body).series
    usual = {k: v for k, v in usual.items() if k[0] != "pilotfish_series_dropped_total"}
    for got in (reader.read(text).series, _series(read_text(text.decode()))):
        _same({k: v for k, v in got.items() if k[0].startswith("pilotfish_any")}, want)
        _same({k: got[k] for k in usual}, usual)
    body = render(snapshot, accept="application/openmetrics-text", proc="/nonexistent/proc").body
    got = _series(read_openmetrics(body.decode()))
    summed = {k[1] for k in got if k[0] == HISTOGRAM.name + "_sum"}
    negative = {k[1] for k, v in want.items() if k[0] == HISTOGRAM.name + "_sum" and v < 0}
    assert not summed & negative  # OpenMetrics forbids a negative sum, and a count without a sum
    hidden = {(HISTOGRAM.name + suffix, pairs) for pairs in negative for suffix in ("_sum", "_count")}
    shown = {k: v for k, v in want.items() if k not in hidden}
    _same({k: v for k, v in got.items() if k[0].startswith("pilotfish_any")}, shown)


def _series(families: Any) -> dict[Series, float]:
    found: dict[Series, float] = {}
    for family in families:
        for s in family.samples:
            key = (s.name, frozenset(s.labels.items()))
            assert key not in found
            found[key] = float(s.value)
    return found


def _same(got: dict[Series, float], want: dict[Series, float]) -> None:
    assert got.keys() == want.keys(), got.keys() ^ want.keys()
    for key, value in want.items():
        assert got[key] == value or (math.isnan(got[key]) and math.isnan(value)), (key, got[key], value)
