"""Of an ambiguous message nothing is invented, whatever the way its bytes are split."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish_agent.capture import _head
from tests.capture_framing.corpus import CASES, Case
from tests.capture_framing.driver import run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_told(case: Case) -> None:
    """The exchanges and the reasons are those of the case."""
    seen, problems = run(case.script)
    assert tuple(seen) == case.seen
    assert problems == dict.fromkeys(case.reasons, 1)


@pytest.mark.parametrize("case", [c for c in CASES if sum(len(d) for _, d in c.script) < 5_000], ids=lambda c: c.name)
def test_byte_by_byte(case: Case) -> None:
    """Every byte alone gives the same."""
    longest = max(len(data) for _, data in case.script)
    seen, problems = run(case.script, range(longest))
    assert tuple(seen) == case.seen
    assert problems == dict.fromkeys(case.reasons, 1)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CASES), st.lists(st.one_of(st.integers(1, 120), st.integers(1, 70_000)), max_size=12))
def test_any_split(case: Case, cuts: list[int]) -> None:
    """The result is a function of the bytes, not of the segments."""
    seen, problems = run(case.script, cuts)
    assert (tuple(seen), problems) == (case.seen, dict.fromkeys(case.reasons, 1))


def test_the_corpus_is_wide() -> None:
    """At least 60 ambiguous cases, every name once, every reason shown."""
    assert len({c.name for c in CASES}) == len(CASES)
    assert sum(bool(c.reasons) for c in CASES) >= 60
    assert {r for c in CASES for r in c.reasons} == set(_head.REASONS) - {_head.ROOM}
