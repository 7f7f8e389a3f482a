"""Data and a reference of a small model, and a way to run commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotfish_agent.dispatch import dispatch

START = 1_700_006_400.0
Call = Callable[..., tuple[int, str, str]]
Record = dict[str, Any]


def records(rows: int, seed: int, *, shift: float = 0.0, missing: float = 0.01, rare: float = 0.2) -> Iterable[Record]:
    """a ~ N(shift, 1), n mostly whole numbers with missing ones, c of three classes, y of two; 10 rows a second."""
    rng = np.random.default_rng(seed)
    for i in range(rows):
        c = str(rng.choice(["x", "y", "z"], p=[0.7 - rare, 0.3, rare]))
        n = None if rng.random() < missing else int(rng.integers(0, 500))
        features = {"a": round(float(rng.normal()) + shift, 6), "c": c, "n": n}
        yield {"ts": START + i / 10, "features": features, "prediction": "yes" if c == "x" else "no"}


def as_csv(path: Path, items: Iterable[Record], *, times: bool = False) -> str:
    lines = ["ts,a,c,n" if times else "a,c,n"]
    for r in items:
        f = r["features"]
        cells = [f["a"], f["c"], "" if f["n"] is None else f["n"]]
        lines.append(",".join(map(str, [r["ts"], *cells] if times else cells)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def as_jsonl(path: Path, items: Iterable[Record]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in items), encoding="utf-8")
    return str(path)


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PILOTFISH_CONFIG", raising=False)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Built of 5,000 rows in CSV."""
    folder = tmp_path_factory.mktemp("reference")
    path = str(folder / "ref.json")
    assert dispatch(["reference", "build", as_csv(folder / "r.csv", records(5_000, 1)), "-o", path]) == 0
    return path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command: (exit code, stdout, stderr)."""

    def run(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = dispatch(list(argv))
        out, err = capsys.readouterr()
        return code, out, err

    return run
