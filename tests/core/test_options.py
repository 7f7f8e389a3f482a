"""Parsers of configuration values: what is written comes back, and nothing else gets in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_core import config
from pilotfish_core.config import Budget, Secret, option, options

UNITS = {"y": 31536000, "w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.text(),
    st.integers(),
    st.floats(),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.text()),
)
PARSERS = {
    "duration": config.duration,
    "positive_duration": config.positive_duration,
    "duration_between": config.duration_between("1s", "1h"),
    "size": config.size,
    "budget": config.budget,
    "number": config.number(0, 1),
    "integer": config.integer(0, 9),
    "choice": config.choice("a", "b"),
    "text": config.text(5),
    "secret": config.secret,
}


@given(st.lists(st.sampled_from(list(UNITS)), min_size=1, unique=True), st.data())
def test_durations(units: list[str], data: st.DataObject) -> None:
    """Any sum of units in order is its number of seconds; out of order it is refused."""
    counts = {u: data.draw(st.integers(0, 10**6)) for u in units}
    ordered = [u for u in UNITS if u in counts]
    written = "".join(f"{counts[u]}{u}" for u in ordered)
    assert math.isclose(config.duration(written), sum(counts[u] * UNITS[u] for u in units))
    if len(units) > 1:
        with pytest.raises(ValueError, match="a duration"):
            config.duration("".join(f"{counts[u]}{u}" for u in reversed(ordered)))


@given(
    st.integers(0, 10**9), st.sampled_from(["", "K", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]), st.sampled_from(["", "B"])
)
def test_sizes(count: int, factor: str, byte: str) -> None:
    """Decimal factors are powers of 1000, binary ones of 1024."""
    base = 1024 if factor.endswith("i") else 1000
    power = "KMGT".index(factor[0]) + 1 if factor else 0
    assert config.size(f"{count}{factor}{byte}") == count * base**power


@given(st.integers(1, 10**9 - 1), st.integers(1, 10**6), st.sampled_from(list(UNITS)))
def test_budgets(count: int, length: int, unit: str) -> None:
    """N per DURATION, spaces as one likes; the text is kept tidy."""
    found = config.budget(f"  {count}   per {length}{unit} ")
    assert (found.count, found.text) == (count, f"{count} per {length}{unit}")
    assert math.isclose(found.seconds, length * UNITS[unit])


def test_budget_in_ticks() -> None:
    """1 per 30 d at a tick of 10 s is one in 259,200 ticks; three replicas get a third each."""
    budget = Budget(1, 30 * 86400.0, "1 per 30d")
    assert budget.ticks(10.0) == 259_200
    assert budget.ticks(10.0, replicas=3) == 3 * 259_200
    assert Budget(2, 30 * 86400.0, "2 per 30d").ticks(10.0) == 129_600


@pytest.mark.parametrize("name", PARSERS)
def test_any_value_parses_or_says_what_is_expected(name: str) -> None:
    """No value whatever raises anything but ValueError with a short expectation."""

    @given(ANYTHING)
    def check(value: Any) -> None:
        said = ""
        try:
            PARSERS[name](value)
        except ValueError as error:
            said = str(error)
        assert len(said) < 120
        assert not said or said.split()[0] in {"a", "one"}

    check()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("duration", "1"),
        ("duration", True),
        ("duration", ""),
        ("duration", "1.5s"),
        ("duration", "٣s"),
        ("duration", "9" * 400 + "y"),
        ("positive_duration", "0"),
        ("positive_duration", "0s"),
        ("duration_between", "500ms"),
        ("duration_between", "61m"),
        ("size", "1 parsec"),
        ("size", "-1"),
        ("size", True),
        ("size", "9" * 400),
        ("budget", "0 per 1d"),
        ("budget", "1 per 0s"),
        ("budget", "1"),
        ("number", "nan"),
        ("number", "inf"),
        ("number", 1.01),
        ("number", True),
        ("number", 10**400),
        ("integer", "9" * 5000),
        ("integer", 10),
        ("integer", 1.5),
        ("integer", True),
        ("choice", "A"),
        ("choice", []),
        ("text", ""),
        ("text", "abcdef"),
        ("text", None),
        ("text", True),
        ("secret", ""),
        ("secret", 7),
    ],
)
def test_refused(name: str, value: object) -> None:
    """The near misses of every parser."""
    with pytest.raises(ValueError, match=r"^(a|one) "):
        PARSERS[name](value)


def test_number_says_its_limits() -> None:
    """The expectation names every limit."""
    with pytest.raises(ValueError, match=r"^a number at least 0 and at most 1$"):
        config.number(0, 1)("x")
    with pytest.raises(ValueError, match=r"^a number above 0$"):
        config.number(above=0.0)(0)
    with pytest.raises(ValueError, match=r"^a number$"):
        config.number()("x")


def test_options_of_a_section() -> None:
    """Fields without a declaration are no options; order is that of the declaration."""

    @dataclass(frozen=True)
    class Section:
        second: int = option(2, config.integer(0, 9), "Second.", "2")
        plain: int = 0
        first: int = option(1, config.integer(0, 9), "First.", "1")

    assert list(options(Section)) == ["second", "first"]
    assert options(Section)["first"].help == "First."


def test_secret_never_prints() -> None:
    """Neither str, repr nor a container shows it; it compares and reveals."""
    word = Secret("hunter2")
    assert "hunter2" not in f"{word} {word!r} {[word]} {{'a': word}}"
    assert word.reveal() == "hunter2"
    assert word == Secret("hunter2")
    assert word != Secret("other")
    assert word != "hunter2"
    assert len({word, Secret("hunter2")}) == 1
