"""The one relay that most tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.capture_relay.box import Stage


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """See `Stage`."""
    with Stage.open() as made:
        yield made
