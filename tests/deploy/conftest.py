"""A live agent for each test."""

import pathlib
from collections.abc import Iterator

import pytest

from tests.agent.live import Live


@pytest.fixture
def live(tmp_path: pathlib.Path) -> Iterator[Live]:
    """Not started yet; ended after the test."""
    one = Live(tmp_path)
    yield one
    one.stop()
