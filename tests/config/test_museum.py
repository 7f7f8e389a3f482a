"""Every configuration of the museum is judged as its name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotfish_agent import config
from tests.config.museum import BAD, GOOD, expectation


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.stem)
def test_good(path: Path) -> None:
    """A good file has no problems and is named as the one that was read."""
    settings = config.load(str(path), {}, {})
    assert settings.problems == ()
    assert settings.path == str(path)


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_bad(path: Path) -> None:
    """A bad file gives exactly one message, on one line, with file, line, key, value and expectation."""
    (problem,) = config.load(str(path), {}, {}).problems
    line = problem.line()
    assert line.startswith(f"{path}:{expectation(path)}")
    assert "\n" not in line
    assert problem.expected or problem.todo
    assert problem.exit_code == 2


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_bad_is_passed_over(path: Path) -> None:
    """Whatever is wrong, every section is there, so that `run` goes on."""
    settings = config.load(str(path), {}, {})
    assert settings.section("log").level == "info"
    assert settings.section("sample").interval == 2.0
