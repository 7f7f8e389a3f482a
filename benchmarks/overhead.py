"""``python -m benchmarks.overhead FILE...``: the table of docs/overhead.md, from what ``make bench`` printed there.

A row that was not measured, or was short or absent then, is refused: the table holds numbers of runs only.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import pathlib
import platform
import sys
from typing import Final

PAGE: Final = pathlib.Path(__file__).parents[1] / "docs" / "overhead.md"
BEGIN: Final = "<!-- Made by `make bench`; edits below are lost. -->"
SHOWN: Final = {
    "launch: CPU to the model's first instruction, clean venv": "`run`: CPU before the model's first instruction",
    "resident memory and idle CPU, drift on 20 features": "memory and idle CPU of all processes, drift on 20 features",
    "one sample of 9 processes, at the real pace": "hardware: CPU of one sample of 9 processes",
    "control group: CPU of one sample (hybrid: limits, throttling, memory, kills, pressure)": "hardware: of its group",
    "whole agent beside exporters, 9 processes, drift on 20 features, scraped every 15 s": "the agent beside others",
    "CPU of one scrape, 20 features": "CPU of one scrape",
    "detector: CPU a stream-tick": "drift: CPU of one stream in one tick",
    "sdk observe cost": "SDK: CPU of one `observe` of 16 features, in the model's process",
    "tap: CPU per 1 KB exchange at 2,000/s, open loop": "tap: CPU of one exchange at 2,000/s",
    "tap: memory of the rings, all interfaces": "tap: memory of the rings",
    "tap: added latency, uvicorn with 2 workers, 1,500/s": "tap: latency added, 1,500 requests/s",
    "decoding one exchange: 1 KB of numbers, a row of 30 features": "reading one exchange's body",
    "relay: CPU of an exchange, 64 connections, framing included": "relay: CPU of one exchange, beside nginx",
    "launch: all of ours is gone after the model's end": "how long ours outlives the model",
}
"""Rows of the bars -> what they are for a reader."""


def rows(text: str) -> dict[str, tuple[str, str, str]]:
    """Name -> measured, limit, versions, of the rows that held."""
    lines = (line.split("\t") for line in text.splitlines() if line.startswith("BAR\t"))
    return {name: (measured, limit, peers) for _, name, measured, limit, word, peers in lines if word == "ok"}


def table(found: dict[str, tuple[str, str, str]], day: dt.date) -> str:
    """The part of the page that is made.

    Raises:
        SystemExit: a row is missing.
    """
    if missing := sorted(SHOWN.keys() - found.keys()):
        raise SystemExit(f"overhead: no row that held for: {'; '.join(missing)}; expected them all, run make bench")
    peers = sorted({peer for name in SHOWN for peer in found[name][2].split(", ")})
    lines = [
        BEGIN,
        "",
        f"Measured {day} on {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}: "
        + ", ".join(peers)
        + ".",
        "",
        "| what | measured | bar |",
        "| --- | --- | --- |",
    ]
    for name, words in SHOWN.items():
        measured, limit = (text.replace("|", "\\|") for text in found[name][:2])
        lines.append(f"| {words} | {measured} | {limit} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the page anew below its marker."""
    parser = argparse.ArgumentParser(prog="benchmarks.overhead")
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="output of benchmarks.bars; a later one wins")
    files: list[pathlib.Path] = parser.parse_args().files
    found: dict[str, tuple[str, str, str]] = {}
    for file in files:
        found |= rows(file.read_text(encoding="utf-8"))
    day = dt.datetime.fromtimestamp(max(f.stat().st_mtime for f in files), dt.UTC).date()
    kept = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    PAGE.write_text(kept + table(found, day), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
