"""Doctor in each tier of rights: every signal has its line, and the table of docs/doctor.md is kept."""

from __future__ import annotations

import shutil
import sys
from collections import Counter

from benchmarks.bars import Result, bar
from tests.attach.nobody import possible
from tests.doctor.tiers import TIERS, broken, looked, promised


@bar(
    "doctor: a line for every hardware signal in each tier of rights",
    "each metric of each collector works, or has a reason and a remedy; tiers as in docs/doctor.md",
)
def tiers() -> Result:
    if not possible():
        return Result("not root: cannot give rights away", None)
    if shutil.which("setpriv") is None:
        return Result("setpriv is not installed", None)
    faults: list[str] = []
    words = []
    for tier in TIERS:
        found = looked(tier)
        faults += broken(tier, found)
        reasons = Counter(found[name]["reason"] or "works" for name in promised() if name in found)
        words.append(f"tier {tier}: " + ", ".join(f"{count} {word}" for word, count in reasons.most_common()))
    for fault in faults:
        print(fault, file=sys.stderr)
    return Result("; ".join(faults or [f"{len(promised())} signals", *words]), not faults)
