"""JSON: what it would take is known before it is made."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.decode._json import parse
from pilotfish_agent.decode._part import PROBLEMS, Unreadable


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"[" + b"[]," * 300_000 + b"0]", "json_wide"),
        (b"[" + b"{}," * 30_000 + b"0]", "json_wide"),
        (b"{" + b'"a":1,' * 60_000 + b'"b":1}', "json_wide"),
        (b"[" * 300_000, "json_wide"),
        (b"[" * 20_000, "json_deep"),
        (b'{"a":' * 4_000, "json_deep"),
        (b"[1,2", "json_broken"),
        (b"", "json_broken"),
        (b"nan", "json_broken"),
        (b'"\xff"', "json_broken"),
        (b'"\\ud800"', "json_broken"),
        (b"1" * 20_000, "json_broken"),
    ],
)
def test_refused(text: bytes, word: str) -> None:
    """Breadth, depth and what is no JSON have a word each."""
    with pytest.raises(Unreadable) as refused:
        parse(text)
    assert refused.value.reason == word


def test_ordinary_bodies_pass() -> None:
    """The widest body that a model is asked with is not refused: 1,000 rows of 30 features."""
    rows = [{f"feature_{i}": i / 7 for i in range(30)} for _ in range(100)]
    assert parse(json.dumps({"instances": rows}).encode())["instances"] == rows
    lists = [[i / 7 for i in range(30)] for _ in range(1_000)]
    assert parse(json.dumps(lists).encode()) == lists


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_round_trip(value: object) -> None:
    """JSON is read as it was written."""
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Whatever the bytes: a value or a word."""
    try:
        parse(data)
    except Unreadable as error:
        assert error.reason in PROBLEMS  # noqa: PT017 - either is right
