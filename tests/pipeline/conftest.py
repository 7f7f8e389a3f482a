"""Pipelines that are ended after the test."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pipeline.rig import Rig


@pytest.fixture
def rigged(tmp_path: pathlib.Path) -> Iterator[Callable[..., Rig]]:
    """Makes pipelines over one state folder."""
    made: list[Rig] = []

    def make(folder: pathlib.Path = tmp_path, **drift: Any) -> Rig:
        made.append(Rig(folder, **drift))
        return made[-1]

    yield make
    for rig in made:
        rig.pipeline.finish()
