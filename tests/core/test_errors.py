"""Errors: one line with what, value, expectation and what to do; exit codes as the contract has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_core import errors
from pilotfish_core.errors import PilotfishError


def test_line() -> None:
    """All four parts in this order."""
    error = PilotfishError("--tick", got="soon", expected="a duration such as 10s", todo="see the docs")
    assert error.line() == "--tick; got 'soon'; expected a duration such as 10s; see the docs"
    assert str(error) == error.line()


def test_parts_may_be_missing() -> None:
    """What is not given is not mentioned, but a false value is a value."""
    assert PilotfishError("gone").line() == "gone"
    assert PilotfishError("rows", got=0).line() == "rows; got 0"


def test_long_values_are_cut() -> None:
    """A value never fills the terminal."""
    line = PilotfishError("x", got="y" * 1000).line()
    assert len(line) < 140
    assert line.endswith("…")


@given(st.text())
def test_any_value_is_one_line(value: str) -> None:
    """A foreign value cannot add a line."""
    assert len(PilotfishError("what", got=value).line().splitlines()) == 1


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.PilotfishError, 1),
        (errors.UnavailableError, 1),
        (errors.UsageError, 2),
        (errors.ConfigError, 2),
        (errors.DataError, 2),
        (errors.EmptyDataError, 4),
    ],
)
def test_exit_codes(kind: type[PilotfishError], code: int) -> None:
    """Every kind has the contract's code and is caught as a PilotfishError."""
    assert kind("x").exit_code == code
    assert issubclass(kind, PilotfishError)


def test_the_tree_is_the_one_drawn() -> None:
    """The module's docstring names every error there is."""
    drawn = errors.__doc__ or ""
    kinds = [k for k, v in vars(errors).items() if isinstance(v, type) and issubclass(v, PilotfishError)]
    assert kinds
    assert all(kind in drawn for kind in kinds)
