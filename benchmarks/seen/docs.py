"""The docs: commands that run, a site without warnings, runbooks that exist."""

from __future__ import annotations

import pathlib
import tempfile
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bars import Result, bar, versions
from tests.docs import fences, site, walk

MOST_NEEDS = 12


@bar("docs: fenced commands of README and docs run from an empty HOME", "all pages exit 0, <= 12 blocks marked needs")
def commands() -> Result:
    blocks = fences.every()
    run = [b for b in blocks if b.language in fences.COMMANDS and not b.needs]
    marked = [b for b in blocks if b.needs]
    pages = sorted({b.page for b in run})
    with tempfile.TemporaryDirectory(prefix="pilotfish-docs-") as name:
        folder = pathlib.Path(name)
        shelf = walk.shelf(folder)

        def one(page: str) -> int:
            place = folder / page.replace("/", "-")
            place.mkdir()
            return walk.walk([b for b in blocks if b.page == page and (b.title or b in run)], place, shelf).code

        with ThreadPoolExecutor(4) as pool:
            codes = dict(zip(pages, pool.map(one, pages), strict=True))
    failed = [page for page, code in codes.items() if code]
    return Result(
        f"{len(run)} blocks on {len(pages)} pages, failed: {', '.join(failed) or 'none'}; {len(marked)} marked needs",
        not failed and len(marked) <= MOST_NEEDS,
    )


@bar("docs: mkdocs build --strict, and the runbook of every alert", "0 warnings, 0 anchors missing")
def built() -> Result:
    with tempfile.TemporaryDirectory(prefix="pilotfish-site-") as name:
        folder = pathlib.Path(name)
        warnings = site.build(folder)
        missing = site.missing_runbooks(folder)
    return Result(
        f"{len(warnings)} warnings, {len(missing)} anchors missing",
        not warnings and not missing,
        versions("mkdocs", "mkdocs-material"),
    )
