"""The page of metrics: what it says, and that nothing can break it."""

from __future__ import annotations

import gzip
import math
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotfish_core.metrics import Distribution, Metric, Sample
from pilotfish_core.nouns import Snapshot
from pilotfish_exporters import _page, _safe
from pilotfish_exporters.prometheus import METRICS, Exporter, render
from tests.exporters import golden, reader, roundtrip
from tests.standard import CPU, EFFECT, EVIDENCE, UP, standard_snapshot
from tests.system import needs

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3"
)


def page(snapshot: Snapshot | None = None, **options: Any) -> reader.Page:
    return reader.read(render(snapshot or standard_snapshot(), proc="/nonexistent/proc", **options).body)


def with_samples(*samples: Sample) -> Snapshot:
    return replace(standard_snapshot(), samples=samples)


@pytest.mark.parametrize("name", golden.ACCEPT)
def test_the_standard_snapshot_gives_the_golden_page(name: str) -> None:
    """The pages are as committed; `python -m tests.exporters.golden` writes them anew."""
    assert golden.page(name).decode() == (golden.FOLDER / name).read_text(encoding="utf-8")


@given(roundtrip.samples)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_label_and_number_parses_back_equal_with_two_parsers(samples: tuple[Sample, ...]) -> None:
    """Whatever a model says, both formats hold exactly the good series, and everything else is still there."""
    roundtrip.check(samples)


@given(st.text(st.characters(), max_size=400))
def test_a_label_is_bounded_printable_utf8_and_stable(text: str) -> None:
    """At most 128 bytes, no control character, encodable; cleaning twice is cleaning once."""
    clean = _safe.label(text)
    assert len(clean.encode()) <= _safe.LABEL_BYTES
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in clean)
    assert _safe.label(clean) == clean


def test_a_label_of_sentences_may_be_longer() -> None:
    """It is whole where other labels are cut, and bounded too."""
    metric = Metric("pilotfish_said_info", "gauge", "Says.", ("feature", "explanation"), sentence="explanation")
    text = "values above 3: 10 % -> 20 %, " * 10
    (series,) = [s for s in page(with_samples(Sample(metric, ("f" * 300, text), 1.0))).series if "said" in s[0]]
    labels = dict(series[1])
    assert labels["explanation"] == text
    assert len(labels["feature"].encode()) <= _safe.LABEL_BYTES
    assert len(_safe.label(text * 100, _safe.SENTENCE_BYTES).encode()) <= _safe.SENTENCE_BYTES


def test_two_long_labels_with_one_beginning_stay_two_series() -> None:
    """The cut keeps a hash of the whole."""
    long = "one_hot_" + "é" * 200
    assert _safe.label(long + "a") != _safe.label(long + "b")


def test_a_good_label_is_left_as_it_is() -> None:
    """Names of every script, spaces, quotes and backslashes are kept."""
    for text in ("age", "Größe", "年齢", 'a "b" \\ c', "x" * 128):
        assert _safe.label(text) == text


def test_duplicates_and_bad_series_are_left_out_and_counted() -> None:
    """The first of two series stays; counters may be neither infinite, NaN nor negative; all is counted by family."""
    found = page(
        with_samples(
            Sample(UP, ("a",), 1.0),
            Sample(UP, ("a",), 0.0),
            Sample(CPU, ("a", "user"), math.nan),
            Sample(CPU, ("a", "system"), -1.0),
            Sample(CPU, ("too few",), 1.0),
        )
    )
    assert found.series["pilotfish_target_up", frozenset({("target", "a")})] == 1.0
    dropped = {dict(k[1])["metric"]: v for k, v in found.series.items() if k[0] == "pilotfish_series_dropped_total"}
    assert dropped == {"pilotfish_target_up": 1.0, "pilotfish_process_cpu_seconds_total": 3.0}


def test_a_gauge_may_be_infinite_or_nan() -> None:
    """Both formats can say so, and a reader can see it."""
    found = page(with_samples(Sample(UP, ("a",), math.inf), Sample(UP, ("b",), math.nan)))
    assert found.series["pilotfish_target_up", frozenset({("target", "a")})] == math.inf
    assert math.isnan(found.series["pilotfish_target_up", frozenset({("target", "b")})])


def test_drops_are_counted_once_a_snapshot_and_add_up_over_snapshots() -> None:
    """Two formats and many scrapes of one Snapshot count once; the next Snapshot counts again."""
    exporter = Exporter(proc="/nonexistent/proc")
    first = with_samples(Sample(UP, ("a",), 1.0), Sample(UP, ("a",), 1.0))
    for accept in ("", OPENMETRICS, ""):
        exporter.render(first, accept=accept)
    second = with_samples(Sample(UP, ("a",), 1.0), Sample(UP, ("a",), 1.0))
    series = reader.read(exporter.render(second).body).series
    assert series["pilotfish_series_dropped_total", frozenset({("metric", "pilotfish_target_up")})] == 2.0


def test_a_family_that_cannot_be_written_does_not_blank_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out and counted on the next page; the others are there."""
    whole = _page.family

    def breaks(group: _page.Group, *, openmetrics: bool) -> Any:
        if group.name == CPU.name:
            raise RuntimeError("a fault of the library")
        return whole(group, openmetrics=openmetrics)

    monkeypatch.setattr(_page, "family", breaks)
    exporter = Exporter(proc="/nonexistent/proc")
    first = reader.read(exporter.render(standard_snapshot()).body)
    assert "pilotfish_process_cpu_seconds_total" not in first.kinds
    assert "pilotfish_target_up" in first.kinds
    second = reader.read(exporter.render(standard_snapshot()).body)
    counted = second.series[
        "pilotfish_series_dropped_total", frozenset({("metric", "pilotfish_process_cpu_seconds_total")})
    ]
    assert counted == 3.0  # the infinite one of each Snapshot, and the broken family


@pytest.mark.parametrize(
    "other",
    [
        Metric("pilotfish_target_up", "histogram", "Another kind under the name.", ("x",), (1.0,)),
        Metric("pilotfish_target_up_total", "counter", "In OpenMetrics its family is pilotfish_target_up."),
    ],
)
def test_a_second_family_under_a_taken_name_is_left_out(other: Metric) -> None:
    """Prometheus would refuse the whole page for it."""
    value = Distribution((1, 2), 3.0) if other.kind == "histogram" else 1.0
    samples = (Sample(UP, ("a",), 1.0), Sample(other, ("1",) * len(other.labels), value))
    body = render(with_samples(*samples), accept=OPENMETRICS, proc="/nonexistent/proc").body.decode()
    names = [f.name for f in roundtrip.read_openmetrics(body)]
    assert names.count("pilotfish_target_up") == 1
    assert 'series_dropped_total{metric="' + other.name in body


def test_two_models_may_have_buckets_of_their_own_in_one_family() -> None:
    """Edges are quantiles of each model's reference; both are on the page, under one TYPE."""
    one, two = (Metric("pilotfish_v", "histogram", "Values.", ("model",), edges) for edges in ((1.0,), (2.0, 3.0)))
    snapshot = with_samples(
        Sample(one, ("a",), Distribution((1, 2), 4.0)), Sample(two, ("b",), Distribution((1, 2, 3), 9.0))
    )
    found = page(snapshot)
    assert found.series["pilotfish_v_bucket", frozenset({("model", "a"), ("le", "1.0")})] == 1.0
    assert found.series["pilotfish_v_bucket", frozenset({("model", "b"), ("le", "3.0")})] == 3.0
    body = render(snapshot, accept=OPENMETRICS, proc="/nonexistent/proc").body.decode()
    assert [f.name for f in roundtrip.read_openmetrics(body)].count("pilotfish_v") == 1


def test_a_help_text_with_a_line_break_drops_its_family_only() -> None:
    """Core asks for a sentence; what is none is not shown."""
    bad = Metric("pilotfish_bad", "gauge", "Two\nlines.")
    found = page(with_samples(Sample(bad, (), 1.0), Sample(UP, ("a",), 1.0)))
    assert "pilotfish_bad" not in found.kinds
    assert "pilotfish_target_up" in found.kinds


def test_histograms_with_negative_edges_have_no_sum_in_openmetrics() -> None:
    """The specification forbids it; the text format has it."""
    metric = Metric("pilotfish_v", "histogram", "Values.", (), (-1.0, 1.0))
    snapshot = with_samples(Sample(metric, (), Distribution((1, 2, 3), 4.0)))
    assert page(snapshot).series["pilotfish_v_sum", frozenset()] == 4.0
    body = render(snapshot, accept=OPENMETRICS, proc="/nonexistent/proc").body
    assert b"pilotfish_v_sum" not in body
    assert b'pilotfish_v_bucket{le="+Inf"} 6.0' in body


def test_a_declared_le_label_on_a_histogram_is_refused() -> None:
    """It would clash with the buckets' own."""
    metric = Metric("pilotfish_v", "histogram", "Values.", ("le",), (1.0,))
    assert "pilotfish_v" not in page(with_samples(Sample(metric, ("x",), Distribution((1, 2), 4.0)))).kinds


def test_static_labels_are_on_every_series_and_never_hide_its_own() -> None:
    """Bad and reserved names are left out; a series' own label of that name wins."""
    found = page(static_labels={"team": "risk", "target": "other", "le": "1", "__x": "1", "9": "1", "empty": ""})
    assert all(("team", "risk") in labels for _, labels in found.series)
    assert ("pilotfish_target_up", frozenset({("target", "digits"), ("team", "risk")})) in found.series
    assert not any(name in {"__x", "9", "empty"} for _, labels in found.series for name, _ in labels)


def test_an_absent_or_empty_label_is_left_out() -> None:
    """An unknown model version is no label, as for Prometheus an empty one is none."""
    found = page(with_samples(Sample(EFFECT, ("t", "m", None, ""), 0.5)))
    assert ("pilotfish_drift_effect", frozenset({("target", "t"), ("model", "m")})) in found.series


def features(count: int) -> tuple[Sample, ...]:
    return tuple(Sample(m, ("t", "m", "1", f"f{i}"), 0.5) for m in (EFFECT, EVIDENCE) for i in range(count))


def test_above_the_limit_families_leave_in_the_published_order() -> None:
    """Effects go before evidence, both before what is not named; up, states and requests never go."""
    snapshot = replace(standard_snapshot(), samples=standard_snapshot().samples + features(50))
    whole = page(snapshot)
    assert len([k for k in whole.series if k[0] == "pilotfish_drift_effect"]) == 52
    limited = page(snapshot, max_series=90)
    assert "pilotfish_drift_effect" not in limited.kinds
    assert "pilotfish_prediction_value" not in limited.kinds
    assert "pilotfish_drift_evidence_ratio" in limited.kinds
    dropped = {dict(k[1])["metric"]: v for k, v in limited.series.items() if k[0] == "pilotfish_series_dropped_total"}
    assert dropped["pilotfish_drift_effect"] == 52.0


def test_what_alerts_read_stays_at_any_limit() -> None:
    """A limit of 1 leaves up, states and requests."""
    left = page(max_series=1).kinds.keys()
    assert {"pilotfish_target_up", "pilotfish_drift_alert_severity", "pilotfish_request_duration_seconds"} <= left
    assert "pilotfish_drift_evidence_ratio" not in left


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (OPENMETRICS, True),
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        ("application/openmetrics-text;q=0.2,text/plain", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;q=much", False),
    ],
)
def test_the_format_is_the_one_the_scraper_likes_best(accept: str, openmetrics: bool) -> None:
    """OpenMetrics only when named and liked at least as much; text 0.0.4 otherwise, never an error."""
    done = render(standard_snapshot(), accept=accept)
    assert done.content_type.startswith("application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain")
    assert done.body.endswith(b"# EOF\n") is openmetrics


@given(st.text(max_size=300), st.text(max_size=100))
@settings(deadline=None, max_examples=50)
def test_any_accept_header_gives_a_page(accept: str, encoding: str) -> None:
    """A header is a stranger's text."""
    assert render(standard_snapshot(), accept=accept, accept_encoding=encoding, proc="/nonexistent/proc").body


@pytest.mark.parametrize(
    ("header", "zipped"), [("gzip, deflate", True), ("gzip;q=0", False), ("br", False), ("", False)]
)
def test_gzip_when_asked_for(header: str, zipped: bool) -> None:
    """The same page, smaller."""
    plain = render(standard_snapshot(), proc="/nonexistent/proc")
    done = render(standard_snapshot(), accept_encoding=header, proc="/nonexistent/proc")
    assert done.encoding == ("gzip" if zipped else "")
    assert (gzip.decompress(done.body) if zipped else done.body) == plain.body


def test_a_snapshot_is_rendered_once_and_then_taken_from_the_cache() -> None:
    """The cache holds one Snapshot, by identity, a format each."""
    exporter = Exporter()
    snapshot = standard_snapshot()
    assert exporter.cached(snapshot) is None
    done = exporter.render(snapshot)
    assert exporter.cached(snapshot) is done
    assert exporter.render(snapshot) is done
    assert exporter.cached(snapshot, accept=OPENMETRICS) is None
    assert exporter.cached(standard_snapshot()) is None


def test_the_agents_own_process_is_on_the_page() -> None:
    """Standard names, as every client library has them, with the static labels."""
    found = reader.read(render(standard_snapshot(), static_labels={"team": "risk"}).body)
    assert found.kinds["process_cpu_seconds_total"] == "counter"
    assert found.series["process_resident_memory_bytes", frozenset({("team", "risk")})] > 2**20


def test_an_unreadable_proc_leaves_the_own_process_out(tmp_path: Path) -> None:
    """Absent, not zero; an odd one is counted."""
    (tmp_path / "stat").write_text("btime 1700000000\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "stat").write_text("1 (x) R not numbers\n")
    found = reader.read(render(standard_snapshot(), proc=str(tmp_path)).body)
    assert "process_cpu_seconds_total" not in found.kinds
    assert found.series["pilotfish_series_dropped_total", frozenset({("metric", "process")})] == 1.0


def test_what_is_unavailable_is_said_with_its_reason() -> None:
    """Absent with a reason, never 0."""
    labels = {("collector", "gpu"), ("signal", "pilotfish_gpu_up"), ("reason", "not_installed")}
    assert page().series["pilotfish_signal_unavailable", frozenset(labels)] == 1.0


@needs("promtool", package="prometheus")
@pytest.mark.parametrize("static", [{}, {"team": "risk"}])
def test_promtool_finds_nothing_to_say_about_the_page(static: dict[str, str]) -> None:
    """`promtool check metrics` is clean."""
    body = render(standard_snapshot(), static_labels=static).body
    done = subprocess.run(("promtool", "check", "metrics"), input=body, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


WRONG = (
    b"a 1",
    b"a{b=1} 1\n",
    b'a{b="1"c="2"} 1\n',
    b"a 1\na 2\n",
    b"# TYPE a gauge\n# TYPE a gauge\n",
    b"a x\n",
    b'a{b="\xff"} 1\n',
    b'a{b="1",b="2"} 1\n',
    b'# TYPE a gauge\na 1\nb 1\na{c="1"} 1\n',
)


@pytest.mark.parametrize("wrong", WRONG)
def test_the_second_reader_refuses_what_is_wrong(wrong: bytes) -> None:
    """A parser that accepts everything would prove nothing."""
    with pytest.raises((ValueError, IndexError, KeyError)):
        reader.read(wrong)


def test_every_metric_of_the_exporter_is_on_some_page() -> None:
    """Declared and shown are the same."""
    snapshot = replace(standard_snapshot(), samples=(*standard_snapshot().samples, Sample(UP, ("digits",), 1.0)))
    assert {m.name for m in METRICS} <= page(snapshot).kinds.keys()
