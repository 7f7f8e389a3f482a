"""Every server's page gives the golden readings, and whose page it is is told by its names."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.scrape._family import LABELS
from pilotfish_agent.scrape._normal import MAX_MODELS, OTHER, Normaliser, detect
from pilotfish_core.metrics import Distribution, Reading, Sample, Unavailable
from tests.scrape.pages import FOLDER, PAGES, SERVERS, kind, page, text


def normaliser(name: str) -> Normaliser:
    """Fresh, of the server of a page."""
    return Normaliser("serve", kind(name), SERVERS[kind(name)], f"scrape:{kind(name)}")


def value(readings: list[Reading], metric: str, **labels: str) -> float | Distribution | None:
    """The value of one series."""
    for reading in readings:
        if isinstance(reading, Sample) and reading.metric.name == f"pilotfish_server_{metric}":
            have = dict(zip(reading.metric.labels, reading.labels, strict=True))
            if all(have[k] == v for k, v in labels.items()):
                return reading.value
    return None


@pytest.mark.parametrize("name", PAGES)
def test_a_page_gives_its_golden_readings(name: str) -> None:
    """Reviewed by hand against the page: sums over engines, units, models, what is absent."""
    found, unread = normaliser(name).take(page(name))
    assert text(found) == (FOLDER / "golden" / f"{name}.txt").read_text(encoding="utf-8")
    assert unread == 0


def test_every_server_has_a_page() -> None:
    """A new file in the folder needs a captured page."""
    assert {kind(name) for name in PAGES} == set(SERVERS)


@pytest.mark.parametrize("name", PAGES)
def test_the_server_is_told_by_its_names(name: str) -> None:
    """Each page is found to be its server's."""
    assert detect(page(name), SERVERS) == kind(name)


def test_a_page_of_nobody_is_nobodys() -> None:
    """The usual Python process metrics are no server's sign."""
    assert detect("process_cpu_seconds_total 4\npython_info 1\n# HELP x y\n", SERVERS) is None


@pytest.mark.parametrize("name", PAGES)
def test_every_server_keeps_the_contract(name: str) -> None:
    """All metrics of its rules are given or absent; labels fit; twice the same page adds nothing to a counter."""
    made = normaliser(name)
    first, _ = made.take(page(name))
    declared = {rule.metric.name for rule in SERVERS[kind(name)].RULES}
    assert {r.metric.name if isinstance(r, Sample) else r.signal for r in first} == declared
    for reading in first:
        if isinstance(reading, Sample):
            assert reading.metric.labels[:4] == LABELS
            assert len(reading.labels) == len(reading.metric.labels)
    again, _ = made.take(page(name))
    # Means between two pages need traffic between them; all else stands still.
    assert [s for s in lines(again) if "batch_size" not in s] == [s for s in lines(first) if "batch_size" not in s]
    kept = made.missed()
    assert {r.metric.kind for r in kept if isinstance(r, Sample)} <= {"counter", "histogram"}
    assert {r.reason for r in kept if isinstance(r, Unavailable)} <= {"failed"}


def lines(readings: list[Reading]) -> list[str]:
    """Text lines."""
    return text(readings).splitlines()


def counter(n: float, start: float | None = None) -> str:
    """A page with one counter, and the process's start."""
    head = "" if start is None else f"process_start_time_seconds {start}\n"
    return head + f'nv_inference_request_success{{model="m",version="1"}} {n}\n'


def test_a_server_that_starts_anew_lowers_no_counter() -> None:
    """What it had counted before stays; the new counts come on top."""
    made = normaliser("triton")
    seen = [value(made.take(counter(n))[0], "requests_total") for n in (10, 15, 3, 4, 0, 0, 2)]
    assert seen == [10, 15, 18, 19, 19, 19, 21]


def test_a_new_process_is_told_by_its_start_time() -> None:
    """Its counters may have passed the old ones between two scrapes."""
    made = normaliser("triton")
    pages = [counter(10, 100.0), counter(10, 100.0), counter(12, 200.0)]
    assert [value(made.take(p)[0], "requests_total") for p in pages] == [10, 10, 22]


def test_a_counter_stands_while_its_series_or_its_page_is_away() -> None:
    """A model that is unloaded takes nothing back, and neither does a server that does not answer."""
    made = normaliser("triton")
    made.take(counter(10))
    assert value(made.take("nv_cpu_utilization 0\n")[0], "requests_total") == 10
    assert value(made.missed(), "requests_total") == 10
    assert value(made.take(counter(11))[0], "requests_total") == 11


def sums(requests: int, micros: int) -> str:
    """Triton's running sum of queue times."""
    labels = '{model="m",version="1"}'
    return (
        f"nv_inference_request_success{labels} {requests}\nnv_inference_queue_duration_us{labels} {micros}\n"
        f"nv_inference_count{labels} {requests * 3}\nnv_inference_exec_count{labels} {requests}\n"
    )


def test_a_running_sum_counts_each_scrape_at_its_mean() -> None:
    """Ten requests of 2 ms, then ten of 200 ms: two buckets, the right sum."""
    made = normaliser("triton")
    made.take(sums(10, 20_000))
    found, _ = made.take(sums(20, 2_020_000))
    queue = value(found, "queue_duration_seconds", model="m")
    assert isinstance(queue, Distribution)
    assert {i: n for i, n in enumerate(queue.counts) if n} == {1: 10, 6: 10}
    assert math.isclose(queue.total, 2.02)
    assert value(found, "batch_size") == 3.0
    assert value(made.take(sums(20, 2_020_000))[0], "batch_size") is None, "no batch, no mean"


def test_models_beyond_the_bound_share_a_name() -> None:
    """A server that makes names up fills nothing."""
    page = "".join(f'nv_inference_request_success{{model="m{i}",version="1"}} 1\n' for i in range(100))
    found, _ = normaliser("triton").take(page)
    names = {r.labels[2] for r in found if isinstance(r, Sample)}
    assert len(names) == MAX_MODELS + 1
    assert value(found, "requests_total", model=OTHER) == 100 - MAX_MODELS


@given(st.lists(st.tuples(st.integers(0, 10**6), st.booleans()), max_size=20))
def test_no_counter_ever_falls(pages: list[tuple[int, bool]]) -> None:
    """Whatever a server says, in whatever order, with pages missing between."""
    made = normaliser("triton")
    last = 0.0
    for n, missing in pages:
        found = made.missed() if missing else made.take(counter(n))[0]
        now = value(found, "requests_total")
        if now is not None:
            assert isinstance(now, float)
            assert now >= last
            last = now


@given(st.text(alphabet='nv_inferc:tusd{}="\\,10.eE+-Ia \n#', max_size=400))
def test_any_text_is_survived(text: str) -> None:
    """Nothing raises, and only finite values come out."""
    for name in ("triton", "vllm"):
        for reading in normaliser(name).take(text)[0]:
            if isinstance(reading, Sample) and not isinstance(reading.value, Distribution):
                assert math.isfinite(reading.value)


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=8),
    st.lists(st.sampled_from(["0.3", "0.5", "+Inf", "-1", "x", "nan", ""]), min_size=8, max_size=8),
)
def test_any_histogram_is_survived(counts: list[float], edges: list[str]) -> None:
    """Buckets that fall, are not numbers, or come out of order: no negative count, no NaN."""
    name = "vllm:request_queue_time_seconds"
    page = "".join(f'{name}_bucket{{le="{e}"}} {c}\n' for c, e in zip(counts, edges, strict=False))
    made = normaliser("vllm")
    for _ in range(2):
        found, _ = made.take(page + f"{name}_sum nan\n")
        queue = value(found, "queue_duration_seconds")
        assert queue is None or (isinstance(queue, Distribution) and min(queue.counts) >= 0)
