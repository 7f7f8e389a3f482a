"""What the page's script is told: the view, and one stream bin by bin."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.web import documents, page, view
from pilotfish_agent.web.server import Served
from pilotfish_core.metrics import Metric, Sample
from pilotfish_core.nouns import Shape, Snapshot
from tests.standard import AT, standard_snapshot
from tests.web.live import Site, get, play

LEVELS = Shape(
    "digits", "colour", None, ("red", "blue"), np.array([0.25, 0.75, 0, 0]), np.array([0.5, 0.4, 0, 0.1]), 900
)
NUMBERS = Shape("digits", "age/years", np.array([1.5, 2.25]), None, np.array([0.25, 0.5, 0.25, 0, 0, 0]), None, 20, AT)


def shaped(*shapes: Shape) -> Snapshot:
    return replace(standard_snapshot(), shapes=shapes or (LEVELS, NUMBERS))


def test_the_view_holds_every_part_of_the_page_and_its_headline() -> None:
    """What the page is made of at first is what comes later; the parts are those of the HTML."""
    snapshot = standard_snapshot()
    made = view.view(snapshot, ("the intake does not listen",))
    assert made["at"] == AT
    assert made["judged"] is None
    assert made["headline"]["title"] == "digits is drifting"
    text = page.html(snapshot, ("the intake does not listen",)).decode(errors="replace")
    for name, content in made["parts"].items():
        assert f'id="{name}"' in text
        assert content in text
    assert "the intake does not listen" in made["parts"]["verdict"]
    assert json.loads(documents.encode(made))["parts"].keys() == made["parts"].keys()


def test_before_the_first_sample_there_is_a_verdict_only() -> None:
    """The page says that it starts."""
    made = view.view(None, ("no sample yet",))
    assert made["at"] is None
    assert made["parts"].keys() == {"verdict"}


def test_the_view_moves_with_each_tick() -> None:
    """`judged` is the last run of any model: a page asks for a stream's bins when it moves."""
    run = Metric("pilotfish_drift_last_run_timestamp_seconds", "gauge", "When.", ("model",))
    samples = (Sample(run, ("a",), AT - 9), Sample(run, ("b",), AT - 2))
    assert view.view(replace(standard_snapshot(), samples=samples))["judged"] == AT - 2


def test_levels_are_told_with_their_shares_and_empty_bins_are_left_out() -> None:
    """The most frequent of the reference first; `missing` has something now, `other` never had."""
    told = view.distribution(shaped(), "digits", "colour")
    assert told is not None
    assert told["bins"] == ["blue", "red", "missing"]
    assert told["reference"] == [0.75, 0.25, 0.0]
    assert told["current"] == [0.4, 0.5, 0.1]
    assert (told["rows"], told["began"], told["kind"]) == (900, None, "categorical")


def test_ranges_are_told_in_words_and_too_few_rows_are_none() -> None:
    """Bins lie between the reference's edges; without enough rows there is no present to draw."""
    told = view.distribution(shaped(), "digits", "age/years")
    assert told is not None
    assert told["bins"] == ["≤ 1.5", "1.5 to 2.25", "> 2.25"]
    assert told["current"] is None
    assert told["began"] == AT


def test_levels_that_are_numbers_stand_in_their_order() -> None:
    """A pixel's brightness reads from dark to bright."""
    share = np.array([0.5, 0.2, 0.3, 0, 0])
    told = view.distribution(
        shaped(replace(LEVELS, levels=("10", "2", "1"), reference=share, current=share)), "digits", "colour"
    )
    assert told is not None
    assert told["bins"] == ["1", "2", "10"]


@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_however_many_levels_few_bins_hold_everything(many: int, seed: int) -> None:
    """The rarest are told together, so shares still sum to one."""
    random = np.random.default_rng(seed)
    before, now = random.dirichlet(np.ones(many + 2)), random.dirichlet(np.ones(many + 2))
    shape = replace(LEVELS, levels=tuple(f"l{i}" for i in range(many)), reference=before, current=now)
    told = view.distribution(shaped(shape), "digits", "colour")
    assert told is not None
    assert len(told["bins"]) <= view.MOST_BINS + 3
    assert sum(told["reference"]) == pytest.approx(1, abs=1e-4)
    assert sum(told["current"]) == pytest.approx(1, abs=1e-4)


def test_streams_are_asked_for_by_name() -> None:
    """The list, one of it whatever its name, and an answer for a name that there is not."""
    site = Site()
    site.snapshot = shaped()

    async def story(served: Served) -> None:
        _, _, body = await get(served, "/api/v1/distributions")
        assert [s["feature"] for s in json.loads(body)] == ["colour", "age/years"]
        status, _, body = await get(served, "/api/v1/distributions?model=digits&feature=age%2Fyears")
        assert (status, json.loads(body)["rows"]) == (200, 20)
        status, _, body = await get(served, "/api/v1/distributions?model=digits&feature=nose")
        assert (status, list(json.loads(body))) == (404, ["error"])

    play(story, site)
