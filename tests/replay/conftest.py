"""A reference and logs of one small model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotfish_agent.dispatch import dispatch

START = 1_700_000_000.0
Call = Callable[..., tuple[int, str, str]]


def records(rows: int, seed: int, shift: float = 0.0, after: int = 0) -> Iterator[dict[str, Any]]:
    """a ~ N(0, 1), moved by ``shift`` from row ``after`` on; c of three classes, y of two; 10 rows a second."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rows)
    a[after:] += shift
    c = rng.choice(["x", "y", "z"], rows, p=[0.5, 0.3, 0.2])
    for i in range(rows):
        features = {"a": round(float(a[i]), 6), "c": str(c[i])}
        yield {"ts": START + i / 10, "features": features, "prediction": "yes" if c[i] == "x" else "no"}


def as_jsonl(path: Path, items: Iterator[dict[str, Any]]) -> str:
    """Writes JSON lines; the path."""
    path.write_text("".join(json.dumps(r) + "\n" for r in items), encoding="utf-8")
    return str(path)


def as_csv(path: Path, items: Iterator[dict[str, Any]]) -> str:
    """Writes the same as CSV; the path."""
    lines = [f"{r['ts']},{r['features']['a']},{r['features']['c']},{r['prediction']}" for r in items]
    path.write_text("\n".join(["ts,a,c,y", *lines]) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables are built once for all tests here."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("PILOTFISH_CONFIG", raising=False)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reference of 2,000 rows."""
    folder = tmp_path_factory.mktemp("reference")
    data = as_jsonl(folder / "data.jsonl", records(2_000, 1))
    path = str(folder / "ref.json")
    assert dispatch(["reference", "build", data, "-o", path, "--independent", "--model", "demo"]) == 0
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
