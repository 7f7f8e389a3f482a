"""The museum of configurations: one file a point, named after it; a bad one says in its first line what is expected."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent / "testdata"
GOOD = sorted((HERE / "good").glob("*.yaml"))
BAD = sorted((HERE / "bad").glob("*.yaml"))
_EXPECTS = re.compile(rb"\s*# expects: (.*)")


def expectation(path: Path) -> str:
    """What the one message about a bad file starts with, after ``FILE:``."""
    match = _EXPECTS.match(path.read_bytes())
    return match[1].decode() if match else "1: not UTF-8"
