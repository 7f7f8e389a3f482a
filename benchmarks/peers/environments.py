"""Interpreters of the peers: ``.peers/NAME`` from ``locks/NAME.txt`` (180 MB to 1.8 GB each)."""

from __future__ import annotations

import pathlib

from benchmarks.environments import ROOT, built

HERE = pathlib.Path(__file__).parent
FOLDER = ROOT / ".peers"


def python(name: str) -> str:
    """The interpreter of a peer, built when needed."""
    return built(HERE / "locks" / f"{name}.txt", FOLDER)
