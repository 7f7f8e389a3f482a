"""The picture of `replay` in docs/reference-and-replay.md: a log of 21 days in which two columns move, seed fixed."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

PICTURES: Final = pathlib.Path(__file__).parent / "pictures"
START: Final = 1_767_225_600  # 1 January 2026
SEED: Final = 4
ROWS: Final = 20_000
"""Of the reference, one a minute; the log is half as long again."""


def records(rng: np.random.Generator, begin: int, end: int) -> Iterator[dict[str, Any]]:
    """`age` is higher for five days and comes back; from the seventeenth day on there are more FI in `country`."""
    for minute in range(begin, end):
        age = 44 if 25_000 < minute < 32_000 else 40
        finns = 0.3 if minute > 44_000 else 0.2
        country = "FI" if rng.random() < finns else str(rng.choice(["NO", "SE", "DK"]))
        features = {"age": round(rng.normal(age, 10), 2), "country": country, "income": round(rng.lognormal(10, 1), 2)}
        yield {"ts": START + 60 * minute, "features": features, "prediction": round(rng.random(), 4)}


def main() -> int:
    """Writes docs/pictures/evidence.svg."""
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        for name, rows in (("train", records(rng, 0, ROWS)), ("last-month", records(rng, ROWS, ROWS * 5 // 2))):
            (place / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
        pilotfish = (sys.executable, "-m", "pilotfish_agent")
        subprocess.run((*pilotfish, "reference", "build", "train.jsonl", "-o", "ref.json"), cwd=place, check=True)
        picture = ("--reference", "ref.json", "--svg", PICTURES / "evidence.svg")
        subprocess.run((*pilotfish, "replay", "last-month.jsonl", *picture), cwd=place, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
