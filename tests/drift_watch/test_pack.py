"""Checkpoint bytes: what goes in comes out, damage is noticed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.drift.pack import DamagedError, pack, unpack

CONTENT = pack({"a": [1, 2.5, None, "x"]}, {"f": np.arange(6.0).reshape(2, 3), "i": np.array([-(2**62), 7])})


def test_round_trip() -> None:
    """Types, shapes and values survive."""
    meta, arrays = unpack(CONTENT)
    assert meta == {"a": [1, 2.5, None, "x"]}
    assert np.array_equal(arrays["f"], np.arange(6.0).reshape(2, 3))
    assert arrays["i"].tolist() == [-(2**62), 7]
    arrays["f"][0, 0] = 5.0  # writable: the engine goes on in them


def test_infinite_numbers_in_arrays() -> None:
    """Evidence starts at -inf."""
    _, arrays = unpack(pack({}, {"m": np.array([-np.inf, np.nan])}))
    assert arrays["m"][0] == -np.inf
    assert np.isnan(arrays["m"][1])


@given(st.integers(0, len(CONTENT) - 1))
def test_truncated(size: int) -> None:
    """Any shorter content is refused."""
    with pytest.raises(DamagedError):
        unpack(CONTENT[:size])


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_one_byte_changed(place: int, change: int) -> None:
    """Any changed byte is noticed."""
    damaged = bytearray(CONTENT)
    damaged[place] ^= change
    with pytest.raises(DamagedError):
        unpack(bytes(damaged))


@given(st.binary(max_size=200))
def test_arbitrary_bytes(content: bytes) -> None:
    """Foreign bytes are refused, never anything else."""
    with pytest.raises(DamagedError):
        unpack(content)
