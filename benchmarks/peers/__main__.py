"""``make bench-drift``: all detectors in one table, for docs/peers.md and benchmarks/results/; 1 when ours is short."""

from __future__ import annotations

import datetime as dt
import pathlib
import subprocess
import sys
import time

from benchmarks.bars import RESULTS
from benchmarks.environments import ROOT
from benchmarks.peers import table, worlds
from benchmarks.peers.table import Verdict

PERMUTATIONS = 20
PAGE = ROOT / "docs" / "peers.md"
BEGIN, END = "<!-- Made by `make bench-drift`; edits in here are lost. -->", "<!-- The end of what is made. -->"


def written(lines: list[str], page: pathlib.Path) -> None:
    """Between the two marks of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(before + "\n".join([BEGIN, "", *lines, "", END]) + after, encoding="utf-8")


def main() -> int:
    """Measures, prints, writes."""
    began = time.monotonic()
    found = table.measure(worlds.ROWS_A_DAY, PERMUTATIONS)
    claims: list[Verdict] = [table.within_budget(found), *table.verdicts(found)]
    checked = [f"- {name}: {'; '.join(f.checks)}" for name, f in found.items() if f.checks]
    day, commit = (
        dt.datetime.now(dt.UTC).date(),
        subprocess.run(
            ("git", "rev-parse", "--short", "HEAD"), cwd=ROOT, capture_output=True, text=True
        ).stdout.strip(),
    )
    lines = [
        f"Measured {day} at {commit or 'unknown'}, seed {worlds.SEED}: {table.versions()}.",
        "",
        *table.markdown(found),
        "",
        "Real data in no order, where every alarm is false (20,000 rows of reference, 20,000 rows after it):",
        "",
        *table.real_markdown(found, PERMUTATIONS),
        "",
        "What ours promises:",
        "",
        *(f"- {c.claim}: {c.measured}{'' if c.holds else ' **SHORT**'}" for c in claims),
        "",
        "Who finds a shift sooner than Pilotfish, and with how many alarms a day on stable data:",
        "",
        *(table.winners(found) or ["- nobody."]),
        "",
        "Replicas against their packages, in this run:",
        "",
        *checked,
    ]
    written(lines, PAGE)
    (RESULTS / f"{day}-peers.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    print(f"\n{time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0 if all(c.holds for c in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
