"""The page: does it answer "is my model well, what changed, since when, why", and is it safe to look at."""

from __future__ import annotations

import math
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.web import assets, documents, numbers, page, words
from pilotfish_agent.web.vitals.groups import groups
from pilotfish_core.metrics import Distribution, Metric, Sample
from pilotfish_core.nouns import DriftResult, ModelStatus, Snapshot
from tests.standard import AT, DRIFT, DURATION, MODEL, standard_snapshot

VOID = {"meta", "link", "br", "rect", "path", "circle", "input"}


class Tree(HTMLParser):
    """Text and tags of a page; complains about tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(snapshot: Snapshot | None, waiting: tuple[str, ...] = ()) -> Tree:
    tree = Tree()
    tree.feed(page.html(snapshot, waiting).decode())
    tree.close()
    assert tree.open == []
    return tree


def read(snapshot: Snapshot | None) -> str:
    return " ".join("".join(parsed(snapshot).text).split())


def vitals(snapshot: Snapshot) -> dict[str, str]:
    """Values by name, over all groups."""
    return {v.name: v.value for group in groups(numbers.Numbers(snapshot)) for v in group.vitals}


def test_the_page_says_what_changed_since_when_and_why() -> None:
    """The drifting stream, its severity, the time and how long ago, rows, effect, explanation, and the budget."""
    text = read(standard_snapshot())
    for part in (
        "digits is drifting",
        "Changed: pixel_07.",
        "since 2024-11-22 23:56:00 UTC, 4 min ago, 4,800 rows",
        "effect 0.44 (0.39 to 0.49)",
        'more rows in "13 and above" (12 % -> 31 %)',
        "The budget is 1 per 30d (false alarms, all streams together)",
        "20,000 rows",
        "the reference has no times",
        "pid 4242",
        "100.0 MiB",
        "1 signal cannot be read here",
    ):
        assert part in text


def test_hints_stand_out_in_the_text_and_bins_are_listed() -> None:
    """The text stays whole, word for word; the bins that moved most have their shares; all of it escaped."""
    hint = "looks like a <unit> change x1000"
    text = f"pixel_07: mean up; {hint}; @score has not moved"
    bins = ({"words": "values above <3>", "expected": 0.125, "observed": 0.5},)
    usual = standard_snapshot()
    told = replace(usual, drift=(replace(DRIFT[1], explanation=text, hints=(hint,), bins=bins),))
    assert text in read(told)
    assert "<strong>looks like a &lt;unit&gt; change x1000</strong>" in page.html(told).decode()
    assert "Bins that moved most" in read(told)
    assert "values above <3>12 %50 %" in read(told)


def test_a_well_model_is_said_to_be_well() -> None:
    """Nothing drifts, the state is stable."""
    usual = standard_snapshot()
    well = replace(usual.status.models[0], state="stable", severity="none", drifting=(), words="")
    snapshot = replace(usual, status=replace(usual.status, models=(well,)), drift=DRIFT[:1])
    text = read(snapshot)
    assert "The model is well" in text
    assert "No stream has changed" in text


@pytest.mark.parametrize(
    ("state", "severity", "expected"),
    [
        ("learning", "none", "digits is learning what is normal"),
        ("provisional", "none", "digits runs on a provisional reference"),
        ("not_enough_data", "none", "digits has too few rows to judge"),
        ("drifting", "info", "digits: something changed"),
        ("drifting", "critical", "digits is drifting"),
    ],
)
def test_the_headline_of_every_state(state: str, severity: str, expected: str) -> None:
    """No state looks like another."""
    usual = standard_snapshot()
    model = ModelStatus("digits", None, state, None, 0, 0, severity, ("a",), f"{state}: 230 of 500 rows")  # type: ignore[arg-type]
    title, tone, lead = words.headline(replace(usual, status=replace(usual.status, models=(model,))))
    assert title == expected
    assert not lead.startswith(f"{state}: ")
    assert (tone == "critical") == (severity == "critical")


def test_a_dead_target_and_no_model_and_no_sample_are_three_headlines() -> None:
    """Down, silent and starting are different answers."""
    usual = standard_snapshot()
    down = replace(usual, status=replace(usual.status, target={"name": "digits", "pid": None, "up": False}))
    silent = replace(usual, status=replace(usual.status, models=()))
    titles = {words.headline(s)[0] for s in (down, silent, None)}
    assert titles == {"The model is not running", "Running, no predictions yet", "Starting"}


def test_the_worst_of_several_models_is_the_headline() -> None:
    """One of many drifts critically: that one is named."""
    usual = standard_snapshot()
    other = replace(usual.status.models[0], model="other", severity="critical")
    title, tone, _ = words.headline(replace(usual, status=replace(usual.status, models=(*usual.status.models, other))))
    assert (title, tone) == ("other is drifting", "critical")


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs_that_is_not_a_file_of_ours() -> None:
    """Styles and scripts are files by name; no inline style, script or handler; every address is our own."""
    tree = parsed(standard_snapshot())
    assert "unsafe" not in page.POLICY
    assert "default-src 'none'" in page.POLICY
    scripts = [attributes["src"] for tag, attributes in tree.tags if tag == "script"]
    styles = [a["href"] for tag, a in tree.tags if tag == "link" and a["rel"] == "stylesheet"]
    assert sorted(f"/assets/{name}" for name in assets.assets()) == sorted(map(str, scripts + styles))
    assert "style" not in {tag for tag, _ in tree.tags}
    for _, attributes in tree.tags:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src"):
            assert (attributes.get(name) or "/").startswith(("/", "#"))


def test_the_page_refreshes_where_scripts_are_off() -> None:
    """Everything but the charts is there without a script."""
    text = page.html(standard_snapshot()).decode()
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in text


def test_the_whole_page_is_at_most_150_kilobytes_even_unpacked() -> None:
    """With forty streams that changed, each with a long explanation."""
    usual = standard_snapshot()
    bins = tuple({"words": f"values between {i} and {i + 1}", "expected": 0.1, "observed": 0.2} for i in range(5))
    many = tuple(
        replace(DRIFT[1], feature=f"feature_{i}", explanation="x" * 400, hints=("x" * 30,), bins=bins)
        for i in range(1000)
    )
    files = sum(len(a.body) for a in assets.assets().values())
    assert len(page.html(replace(usual, drift=many))) + files + len(assets.ICON) <= 150_000


NASTY = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["<script>alert(1)</script>", '"><img src=x onerror=y>', "</style>", "&amp;", "\ud800", "\x00", "</section>"]
)
FLOATS = st.floats() | st.none()


@given(
    NASTY, NASTY, NASTY, st.floats(), st.floats(), FLOATS, FLOATS, st.sampled_from(["drifting", "changed", "stable"])
)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_any_text_and_number_leaves_the_page_whole(
    name: str, why: str, extra: str, evidence: float, threshold: float, effect: float | None, began: float | None,
    verdict: str,
) -> None:  # fmt: skip
    """Names come from a model's data: they are text on the page, never markup, and never an error."""
    usual = standard_snapshot()
    tags = {tag for tag, _ in parsed(usual).tags}
    result = DriftResult(name, name, verdict, "warning", evidence, threshold, effect, effect, effect, began, 3, why)  # type: ignore[arg-type]
    model = replace(usual.status.models[0], model=name, words=why, drifting=(name, extra), reference_id=extra)
    status = replace(
        usual.status, models=(model,), target={"name": name, "pid": 1, "up": True}, notices=(extra,),
        budget={"false_alarms": extra}, processes={name: 3}, version=extra, instance=why,
    )  # fmt: skip
    snapshot = replace(usual, status=status, drift=(result,))
    tree = parsed(snapshot)
    assert {tag for tag, _ in tree.tags} <= tags
    assert not any("onerror" in attributes for _, attributes in tree.tags)
    assert documents.encode(documents.status(snapshot))


def test_many_streams_are_cut_and_the_rest_is_counted() -> None:
    """A thousand drifting streams do not make a page of a megabyte."""
    usual = standard_snapshot()
    many = tuple(replace(DRIFT[1], feature=f"f{i}") for i in range(1000))
    text = read(replace(usual, drift=many))
    assert "960 more" in text
    assert len(page.html(replace(usual, drift=many))) < 60_000


def test_traffic_and_tokens_are_vital_signs() -> None:
    """How traffic is seen, what is open, tokens, and when the first one came."""
    usual = standard_snapshot()
    first = replace(DURATION, name="pilotfish_time_to_first_token_seconds")
    samples = (
        Sample(Metric("pilotfish_input_tokens_total", "counter", "In."), (), 12_000.0),
        Sample(Metric("pilotfish_output_tokens_total", "counter", "Out."), (), 80.0),
        Sample(Metric("pilotfish_requests_in_flight", "gauge", "Open."), (), 3.0),
        Sample(first, tuple("x" for _ in first.labels), Distribution((4, *(0 for _ in first.buckets)), 0.1)),
    )
    status = replace(usual.status, capture={"mode": "tap", "ports": [8000, 8001]})
    found = vitals(replace(usual, samples=samples, status=status))
    assert found["Tokens"] == "12,000 input, 80 output"
    assert found["In flight"] == "3"
    assert found["Median first token"].startswith("≤ ")
    assert found["Traffic seen by"] == "tap, port 8000, 8001"


def test_requests_without_predictions_are_told_as_such() -> None:
    """Traffic that nobody can read is not the same as none."""
    usual = standard_snapshot()
    status = replace(usual.status, models=())
    seen = (Sample(Metric("pilotfish_requests_total", "counter", "Calls."), (), 3.0),)
    assert "Requests are seen" in words.headline(replace(usual, status=status, samples=seen))[2]
    assert "send it traffic" in words.headline(replace(usual, status=status, samples=()))[2]


def test_vital_signs_leave_out_what_is_not_there() -> None:
    """Absent is not zero."""
    usual = standard_snapshot()
    assert vitals(replace(usual, samples=())) == {"Process": "pid 4242"}
    found = vitals(usual)
    assert found["Calls"] == "1,002"
    assert found["Failed"] == "0.20%"
    assert found["Median latency"] == "≤ 5 ms"
    assert found["99 % within"] == "≤ 50 ms"  # 992 of 1,002 are, and 99 % of them are 991.98
    assert found["CPU used"] == "15.2 s"


def test_a_latency_above_the_last_bucket_is_said_to_be_above() -> None:
    """No invented number."""
    usual = standard_snapshot()
    slow = Sample(DURATION, (*MODEL, "predict", "success"), Distribution((0, 0, 0, 5), 50.0))
    assert vitals(replace(usual, samples=(slow,)))["Median latency"] == "> 500 ms"


def test_numbers_that_are_none_are_not_shown() -> None:
    """A gauge that is NaN or infinite has no place among vital signs."""
    memory = Metric("pilotfish_process_resident_memory_bytes", "gauge", "Memory.", ("target",))
    usual = standard_snapshot()
    samples = tuple(Sample(memory, (str(v),), v) for v in (math.nan, math.inf))
    assert "Memory" not in vitals(replace(usual, samples=samples))


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (42, "42 s"), (60, "1 min"), (5400, "1.5 h"), (180_000, "2.1 d"), (-5, "0 s")]
)
def test_spans_of_time_in_words(seconds: float, said: str) -> None:
    """The unit a person would use."""
    assert words.span(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"), [(512, "512 B"), (2048, "2.0 KiB"), (104_857_600, "100.0 MiB"), (3 * 2**40, "3.0 TiB")]
)
def test_sizes_in_words(value: float, said: str) -> None:
    """IEC units."""
    assert numbers.size(value) == said


def test_a_time_that_is_none_does_not_break_the_page() -> None:
    """Some clock somewhere is wrong."""
    odd = replace(DRIFT[1], began=1e300)
    assert "an unknown time" in read(replace(standard_snapshot(), drift=(odd,)))
    assert "a moment" not in read(replace(standard_snapshot(), at=AT))
