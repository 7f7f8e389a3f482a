"""The control group that tests, bars and the proof start things in: its limits are real, and nothing stays behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import limited

GREEDY = "held = []\nwhile True: held.append(bytes(b'x' * 2**22))"


def test_what_is_started_in_it_is_limited_and_killed_at_the_limit(tmp_path: Path) -> None:
    """The kernel ends a program that takes more memory than there is; then the group goes."""
    with limited("pf-test-limits", cores=0.5, memory=48 * 2**20) as limits:
        if limits is None:
            pytest.skip("this machine does not let us make control groups")
        program = limits.script(tmp_path / "greedy", [sys.executable, "-c", GREEDY])
        assert subprocess.run([program], check=False).returncode == -9
        assert all(folder.exists() for folder in limits.folders)
    assert not any(folder.exists() for folder in limits.folders)
