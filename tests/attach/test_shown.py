"""Several targets on the page and in `status`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from pilotfish_agent.commands import status
from pilotfish_agent.web import documents, page, words
from pilotfish_core.nouns import Snapshot
from tests.standard import standard_snapshot

UP = {"name": "ranker", "pid": 11, "up": True}
DOWN = {"name": "fraud", "pid": None, "up": False}


def watched(*trees: Mapping[str, object]) -> Snapshot:
    """The standard Snapshot of an agent that watches these."""
    usual = standard_snapshot()
    return replace(usual, status=replace(usual.status, target=trees[0], targets=trees))


def test_the_page_names_who_is_not_running() -> None:
    """One of several is down: that is the headline, even when it is not the first."""
    title, tone, lead = words.headline(watched(UP, DOWN))
    assert (title, tone) == ("Not running: fraud", "critical")
    assert "1 of 2" in lead
    assert words.headline(watched(DOWN))[0] == "The model is not running"
    assert words.headline(watched(UP))[0] == words.headline(standard_snapshot())[0]
    assert b"Process ranker" in page.html(watched(UP, DOWN))


def test_one_target_is_shown_as_ever() -> None:
    """No name beside the process where there is one only."""
    assert b"<dd>pid 11</dd>" in page.html(watched(UP))


def test_status_has_a_line_for_each() -> None:
    """In the order of the configuration."""
    document = json.loads(documents.encode(documents.status(watched(UP, DOWN))))
    lines = status.screen(document).splitlines()
    assert lines[:2] == ["target     ranker, pid 11, up", "target     fraud, DOWN"]
