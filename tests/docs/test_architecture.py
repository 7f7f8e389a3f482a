"""The map of the drift engine holds all of it."""

from __future__ import annotations

import re

from tests.docs import fences


def test_every_file_of_the_drift_engine_has_its_place_in_the_map() -> None:
    """A new file is put into `docs/architecture.md`, one that has gone is taken out."""
    page = (fences.ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = [
        line for line in page.partition("## Inside `drift/`")[2].partition("\n## ")[0].splitlines() if line[:1] == "|"
    ]
    named = re.findall(r"`(\w+)`", "\n".join(table).replace("for `replay`", ""))
    files = {path.stem for path in (fences.ROOT / "agent/pilotfish_agent/drift").glob("[!_]*.py")}
    assert sorted(named) == sorted(files)
