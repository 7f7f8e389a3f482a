"""The site builds without a warning, and alerts lead into it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks import overhead
from pilotfish_alerts import generate
from tests.docs import fences, site


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("site")
    return folder, site.build(folder)


def test_the_site_is_built_without_a_warning(built: tuple[Path, list[str]]) -> None:
    """Every page is in the navigation, every link and anchor leads somewhere."""
    assert built[1] == []


def test_every_alert_leads_to_a_section_of_the_site(built: tuple[Path, list[str]]) -> None:
    """`runbook_url` is the site's address, the page, and an anchor that is there."""
    settings = yaml.safe_load((fences.ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert settings["site_url"] + "alerts/" == generate.RUNBOOKS
    assert site.missing_runbooks(built[0]) == []


def test_nothing_is_loaded_from_another_origin(built: tuple[Path, list[str]]) -> None:
    """No font, script or style from elsewhere."""
    page = (built[0] / "index.html").read_text(encoding="utf-8")
    assert 'src="http' not in page
    assert "fonts.googleapis" not in page


def test_the_overhead_table_holds_rows_that_held_only() -> None:
    """A short row is no number to show."""
    row = "BAR\tsdk observe cost\t1 us\t<= 3 us\t{}\tpilotfish 0.1.0"
    assert overhead.rows(row.format("short")) == {}
    assert overhead.rows(row.format("ok")) == {"sdk observe cost": ("1 us", "<= 3 us", "pilotfish 0.1.0")}
