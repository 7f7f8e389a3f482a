"""Tests that need a system package are skipped by name with the line that installs it; with CI set they run."""

from __future__ import annotations

import os
import shutil

import pytest


def needs(program: str, *, package: str) -> pytest.MarkDecorator:
    """Marks a test that runs ``program``.

    Args:
        program: looked up on PATH.
        package: the Debian package that brings it; `make system-deps` installs them all.
    """
    missing = shutil.which(program) is None and not os.environ.get("CI")
    return pytest.mark.skipif(
        missing, reason=f"{program} is not installed: apt-get install {package} (or make system-deps)"
    )
