"""What the page loads beside itself: one style and one script of ours, uPlot's, and the icon. Nothing from elsewhere.

A name holds the hash of its content, so a browser may keep it for good and never shows a new page with an old script.
"""

from __future__ import annotations

import gzip
import hashlib
import pathlib
from dataclasses import dataclass
from functools import cache

FOLDER = pathlib.Path(__file__).parent / "static"
FILES = ("vendor/uplot/uPlot.min.css", "page.css", "vendor/uplot/uPlot.iife.min.js", "page.js")
"""In the order in which the page loads them."""
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b6e8f"/>'
    '<path d="M5 16c4-7 12-8 17-3l5-4v14l-5-4c-5 5-13 4-17-3z" fill="#fff"/>'
    '<path d="M12 11v10M16 10v12" stroke="#0b6e8f" stroke-width="2"/>'
    '<circle cx="9" cy="15" r="1.2" fill="#0b6e8f"/></svg>'
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is served.

    Attributes:
        name: ``page.1f2e3d4c.css``.
        type: its Content-Type.
        body, packed: as it is, and gzipped.
    """

    name: str
    type: str
    body: bytes
    packed: bytes


@cache
def assets() -> dict[str, Asset]:
    """By name, in the order of `FILES`. The first call reads the files."""
    found = (_read(FOLDER / file) for file in FILES)
    return {asset.name: asset for asset in found}


def _read(path: pathlib.Path) -> Asset:
    body = path.read_bytes()
    stem, _, rest = path.name.partition(".")
    name = f"{stem}.{hashlib.sha256(body).hexdigest()[:8]}.{rest}"
    return Asset(name, TYPES[path.suffix], body, gzip.compress(body, 9, mtime=0))
