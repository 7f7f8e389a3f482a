"""A box for each test, which must be empty of our processes at its end."""

import os
import pathlib
import signal
import tempfile
from collections.abc import Iterator

import pytest

from tests.launch.box import Box, until


@pytest.fixture
def box() -> Iterator[Box]:
    """Its folder is short: a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="pf", dir="/tmp") as folder:
        box = Box(pathlib.Path(folder))
        yield box
        try:
            until(lambda: not box.ours(), "guard and agent to leave after the model")
        finally:
            for pid in box.ours():
                os.kill(pid, signal.SIGKILL)
