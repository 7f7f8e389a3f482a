"""What every test here has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pilotfish_agent.target.tree import ProcessTree


@pytest.fixture(autouse=True)
def no_tree_stays_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A tree keeps descriptors; hundreds of tests that end without closing theirs would use up what a process may."""
    made: list[ProcessTree] = []
    make = ProcessTree.__init__

    def record(tree: ProcessTree, *args: Any, **options: Any) -> None:
        make(tree, *args, **options)
        made.append(tree)

    monkeypatch.setattr(ProcessTree, "__init__", record)
    yield
    for tree in made:
        tree.close()
