"""The files that the page loads: whole, packed, kept for good, and none of anybody else."""

from __future__ import annotations

import gzip
import re

from pilotfish_agent.web import assets, page
from pilotfish_agent.web.server import Served
from tests.standard import standard_snapshot
from tests.web.live import get, play

YEAR = "public, max-age=31536000, immutable"


def test_every_file_is_served_plain_and_packed_and_kept_for_good() -> None:
    """The name holds the content's hash: a new version has a new name."""

    async def story(served: Served) -> None:
        for name, asset in assets.assets().items():
            status, headers, body = await get(served, f"/assets/{name}")
            assert (status, headers["cache-control"], headers["content-type"]) == (200, YEAR, asset.type)
            assert body == asset.body
            _, headers, packed = await get(served, f"/assets/{name}", headers="Accept-Encoding: br, gzip\r\n")
            assert headers["content-encoding"] == "gzip"
            assert gzip.decompress(packed) == asset.body
            assert (await get(served, f"/assets/{name}", method="POST"))[0] == 405

    play(story)


def test_a_name_that_is_none_of_them_is_404() -> None:
    """No path leads to another file."""

    async def story(served: Served) -> None:
        for name in ("page.js", "page.00000000.js", "..%2f..%2fserver.py", "%2e%2e/page.py"):
            assert (await get(served, f"/assets/{name}"))[0] == 404

    play(story)


def test_the_page_names_the_files_there_are() -> None:
    """Styles before scripts, uPlot before ours."""
    found = re.findall(r'"/assets/([^"]+)"', page.html(standard_snapshot()).decode())
    assert found == list(assets.assets())


def test_nothing_in_our_files_asks_another_origin() -> None:
    """Not in the policy's power to be tested alone: there is no address of elsewhere to begin with."""
    for name, asset in assets.assets().items():
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", asset.body.decode()))
        assert addresses <= {"https://github.com/leeoniya/uPlot", "http://www.w3.org/2000/svg"}, name


def test_the_vendored_files_come_with_their_licence_and_version() -> None:
    """Where they are from and under which terms."""
    folder = assets.FOLDER / "vendor/uplot"
    assert "MIT" in (folder / "LICENSE").read_text()
    version = re.search(r"uPlot (\d+\.\d+\.\d+)", (folder / "README.md").read_text())
    assert version is not None
    assert f"(v{version[1]})" in (folder / "uPlot.iife.min.js").read_text()
