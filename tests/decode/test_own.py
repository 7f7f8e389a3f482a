"""The user's own protocols: what `match` and paths mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.decode import generic
from pilotfish_agent.decode._options import Config, Spec, path
from pilotfish_agent.decode._part import Route
from pilotfish_agent.decode._runner import Decoders


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        ("$", ()),
        ("$.a", ("a",)),
        ("a.b", ("a", "b")),
        ("a[*].b[10]", ("a", "*", "b", 10)),
        ("[0]", (0,)),
        ("$[*]", ("*",)),
        ("a-b.ü_1", ("a-b", "ü_1")),
    ],
)
def test_paths(written: str, steps: tuple[str | int, ...]) -> None:
    """Keys, places and each item of a list."""
    assert path(written) == steps


@pytest.mark.parametrize("written", ["a..b", "a[", "a[x]", "a[-1]", "a b", ".", "a[*]b]", None, True, ["a"], ".a" * 17])
def test_no_paths(written: Any) -> None:
    """What is none is refused with what one looks like."""
    with pytest.raises(ValueError, match=r"a path such as \$\.rows"):
        path(written)


@pytest.mark.parametrize(
    ("match", "target", "fits"),
    [
        ("/score/*", "/score/a", True),
        ("/score/*", "/score/a/b", False),
        ("/score/**", "/score/a/b", True),
        ("/score", "/score?x=/1", True),
        ("/score", "/scores", False),
        ("/a.b", "/axb", False),
        ("/*/run", "/x/run", True),
        ("/v1/models/m:predict", "/v1/models/m:predict", True),
    ],
)
def test_matches(match: str, target: str, fits: bool) -> None:
    """A star is a part between slashes, two are any text, the rest is as written; it comes before what we know."""
    decoders = Decoders(Config(custom=(Spec(match, "rank"),)))
    assert (decoders.route("POST", target) == Route("generic", "rank")) is fits


JSON = st.recursive(
    st.none() | st.integers() | st.text("ab", max_size=1),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text("ab", min_size=1, max_size=1), v, max_size=3),
    max_leaves=8,
)
STEPS = st.lists(st.sampled_from(["a", "b", "*", 0, 1, 9]), max_size=4).map(tuple)


@given(JSON, STEPS)
def test_paths_lead_anywhere(value: Any, steps: tuple[str | int, ...]) -> None:
    """A path leads to a value or nowhere in any JSON; without a star it is the value that indexing gives."""
    found = generic.at(value, steps)
    if "*" not in steps:
        expected = value
        try:
            for step in steps:
                expected = expected[step] if type(expected) in (list, dict) else None
        except (LookupError, TypeError):
            expected = None
        assert found == expected
