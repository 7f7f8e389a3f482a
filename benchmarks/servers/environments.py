"""Interpreters of real servers: ``.servers/NAME`` from ``locks/NAME.txt`` (25 to 75 s, 300 to 850 MB each)."""

from __future__ import annotations

import pathlib

from benchmarks.environments import ROOT, built

HERE = pathlib.Path(__file__).parent
FOLDER = ROOT / ".servers"


def locks() -> list[str]:
    """Names of all environments."""
    return sorted(path.stem for path in (HERE / "locks").glob("*.txt"))


def python(name: str) -> str:
    """The interpreter of an environment, built when needed."""
    return built(HERE / "locks" / f"{name}.txt", FOLDER)
