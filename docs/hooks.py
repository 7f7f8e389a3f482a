"""mkdocs' hook: takes ``needs: ...`` off the fences (tests read it there); links out of docs/ become plain text."""

from __future__ import annotations

import re
from typing import Any

_NEEDS = re.compile(r"^( *```\w+) needs: [\w|]+$", re.MULTILINE)
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?!docs/|reference/)[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    text = _NEEDS.sub(r"\1", markdown)
    return _OUTSIDE.sub(r"`\1`", text)
