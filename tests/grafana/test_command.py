"""`pilotfish dashboards DIR`: what Grafana needs, from a checkout and from the wheel alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from grafana import check
from pilotfish_agent.dispatch import dispatch

PROVISIONING = Path(check.HERE, "provisioning")


def written(folder: Path) -> dict[str, str]:
    """All files below, by their path."""
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file()}


def test_it_writes_the_committed_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dashboards and provisioning, unchanged; a second time over the first; nothing else stays behind."""
    here = {f"dashboards/{p.name}": p.read_text(encoding="utf-8") for p in check.DASHBOARDS.glob("*.json")}
    here |= {f"provisioning/{name}": text for name, text in written(PROVISIONING).items()}
    for _ in range(2):
        assert dispatch(["dashboards", str(tmp_path / "new" / "folder")]) == 0
        assert written(tmp_path / "new" / "folder") == here
    assert f"{len(here)} files in " in capsys.readouterr().out


def test_addresses_are_filled_in(tmp_path: Path) -> None:
    """URL, scrape interval and path end up where Grafana reads them, whatever characters they have."""
    url, path = "https://prometheus.example:443/a?b=c#d", "/srv/a: b"
    options = ["--prometheus", url, "--scrape-interval", "1m", "--path", path]
    assert dispatch(["dashboards", str(tmp_path), *options]) == 0
    source = yaml.safe_load((tmp_path / "provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["url"] == url
    assert source["datasources"][0]["jsonData"]["timeInterval"] == "1m"
    loader = yaml.safe_load((tmp_path / "provisioning/dashboards/pilotfish.yaml").read_text(encoding="utf-8"))
    assert loader["providers"][0]["options"]["path"] == path
    assert (
        json.loads((tmp_path / "dashboards/overview.json").read_text(encoding="utf-8"))["uid"] == "pilotfish-overview"
    )


def test_a_folder_that_cannot_be_written_is_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the file and what is wrong with it."""
    (tmp_path / "file").write_text("", encoding="ascii")
    assert dispatch(["dashboards", str(tmp_path / "file")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "cannot write the dashboards" in told


def test_provisioning_says_what_rates_need() -> None:
    """Without the scrape interval Grafana asks for rates over too short a time and shows nothing."""
    source = yaml.safe_load((PROVISIONING / "datasources/prometheus.yaml").read_text(encoding="utf-8"))["datasources"][
        0
    ]
    assert (source["uid"], source["type"], source["jsonData"]["timeInterval"]) == ("prometheus", "prometheus", "15s")
