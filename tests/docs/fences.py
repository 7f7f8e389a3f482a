"""Fenced blocks of the README and of docs/: where they stand, their language, and what the fence says beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COMMANDS: Final = frozenset({"sh", "bash", "console"})
DATA: Final = frozenset({"yaml", "json", "python"})
PICTURES: Final = frozenset({"text", "hex", "px", "promql"})
NEEDS: Final = ("docker", "cluster", "systemd")
_FENCE: Final = re.compile(r"^( *)```(.*)$")
_TITLE: Final = re.compile(r'title="([^"]+)"')
_NEEDS: Final = re.compile(r"needs: ([\w|]+)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        page: its file, from the root of the project.
        line: of the opening fence.
        language: first word behind the fence.
        title: name of the file that it stands for.
        needs: what this machine may lack, so that the files it names are validated in place of running it.
        text: what is inside.
    """

    page: str
    line: int
    language: str
    title: str
    needs: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def script(self) -> str:
        """The commands; of a console those after the prompt, with the lines of their here-documents."""
        if self.language != "console":
            return self.text
        lines, end = [], ""
        for line in self.text.splitlines():
            if end:
                lines.append(line)
                end = "" if line == end else end
            elif line.startswith("$ "):
                lines.append(line[2:])
                here = re.search(r"<<'?(\w+)'?", line)
                end = here[1] if here else ""
        return "\n".join(lines) + "\n"


def pages() -> list[Path]:
    """The README and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page."""
    inside: list[str] | None = None
    indent = info = ""
    began = 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is None and fence:
            indent, info, began, inside = fence[1], fence[2].strip(), number, []
        elif inside is not None and fence and not fence[2].strip():
            yield _block(page, began, info, "\n".join(inside) + "\n")
            inside = None
        elif inside is not None:
            inside.append(line.removeprefix(indent))
    assert inside is None, f"{page}:{began}: a fence that nobody closes"


def every() -> list[Block]:
    """All of them."""
    return [block for page in pages() for block in blocks(page)]


def _block(page: Path, line: int, info: str, text: str) -> Block:
    language = info.partition(" ")[0]
    title, needs = _TITLE.search(info), _NEEDS.search(info)
    return Block(
        str(page.relative_to(ROOT)), line, language, title[1] if title else "", needs[1] if needs else "", text
    )
