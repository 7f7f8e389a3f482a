"""What is written about configuration, metrics, events and dependencies is what is declared."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import tomllib

import pytest

from benchmarks.dependencies import IMPORTS, weigh
from pilotfish_agent import catalogue

ROOT = pathlib.Path(__file__).parents[2]


def generated() -> dict[str, str]:
    """The pages as docs/generate.py makes them now."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.pages())


PAGES = generated()


@pytest.mark.parametrize("name", PAGES)
def test_committed_pages_are_current(name: str) -> None:
    """`make docs-reference` would change nothing."""
    assert (ROOT / "docs/reference" / name).read_text() == PAGES[name], "run `make docs-reference`"


def test_pages_name_everything() -> None:
    """Every key, metric and event stands on its page."""
    assert all(f"`{m.name}`" in PAGES["metrics.md"] for m in catalogue.metrics())
    assert all(f"`{e.name}`" in PAGES["events.md"] for e in catalogue.events())
    assert all(f"## `{name}`" in PAGES["config.md"] for name in catalogue.sections())


def requirements() -> dict[str, str]:
    """Distribution -> its version specifiers, of everything a user installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == []
    found = [re.match(r"([a-z-]+)(.*)", line) for line in project["optional-dependencies"]["agent"]]
    return {match[1]: match[2] for match in found if match}


def test_every_dependency_has_its_line() -> None:
    """docs/dependencies.md names each, says what it weighs and what it is for; the benchmark weighs each."""
    page = (ROOT / "docs/dependencies.md").read_text()
    names = set(requirements())
    assert names == set(IMPORTS)
    for name in names:
        assert re.search(rf"^\| {name} \| `{IMPORTS[name]}` \| \S+ \| \d+ ms \| [\d.]+ MiB \|$", page, re.MULTILINE)
        assert re.search(rf"^- \*\*{name}\*\*: ", page, re.MULTILINE)


@pytest.mark.parametrize("name", requirements())
def test_every_dependency_has_bounds(name: str) -> None:
    """A lower bound that is tested and an upper bound at the next major version."""
    assert re.fullmatch(r">=[\d.]+,<\d+", requirements()[name])


def test_weighing() -> None:
    """A module that is loaded anyway weighs next to nothing; time and memory are never negative."""
    milliseconds, mebibytes = weigh("sys")
    assert milliseconds >= 0
    assert 0 <= mebibytes < 1
