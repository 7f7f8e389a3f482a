"""One table of data in every form, and what a source gives of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from pilotfish_agent.drift.builder import ReferenceBuilder, build
from pilotfish_agent.drift.frames import Frame
from pilotfish_agent.drift.readers import DataFile
from pilotfish_agent.drift.reference import Reference
from pilotfish_agent.drift.rows import Layout

ROWS = 3_000
START = 1_700_000_000
ROLES = Layout(time="when", prediction="answer", id="request")


def columns(rows: int = ROWS, seed: int = 1, shift: float = 0.0) -> dict[str, Any]:
    """A number with gaps, a whole number, a category with gaps, a flag, a time, an answer, an id."""
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1, rows).round(6)
    x[rng.random(rows) < 0.02] = np.nan
    colour = rng.choice(["red", "green", "blue"], rows).tolist()
    return {
        "x": x,
        "n": rng.integers(0, 1000, rows),
        "colour": [None if i % 50 == 0 else c for i, c in enumerate(colour)],
        "flag": rng.random(rows) < 0.3,
        "when": [float(START + i) for i in range(rows)],
        "answer": rng.choice(["yes", "no"], rows).tolist(),
        "request": [f"r{i}" for i in range(rows)],
    }


def plain(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The same as rows of Python values."""
    lists = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in data.items()}
    rows = [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
    return [{k: None if v != v else v for k, v in row.items()} for row in rows]


def as_csv(path: Path, data: dict[str, Any]) -> str:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(data)
        for row in plain(data):
            table.writerow(["" if v is None else str(v).lower() if isinstance(v, bool) else v for v in row.values()])
    return str(path)


def as_jsonl(path: Path, data: dict[str, Any]) -> str:
    with path.open("w") as file:
        for row in plain(data):
            record = {"ts": row.pop("when"), "prediction": row.pop("answer"), "id": row.pop("request")}
            file.write(json.dumps(record | {"features": row}) + "\n")
    return str(path)


def as_parquet(path: Path, data: Any, **how: Any) -> str:
    write: Any = parquet.write_table
    write(data if isinstance(data, pa.Table) else pa.table(data), path, **how)
    return str(path)


def made(source: DataFile | Frame) -> Reference:
    return build(source, ReferenceBuilder(), created=0.0)


def times(source: DataFile | Frame) -> list[float]:
    return [t for rows in source if rows.times is not None for t in rows.times.tolist()]


def values(source: DataFile | Frame, name: str) -> Any:
    """A column of all rows."""
    parts: list[Any] = [rows.batch.features[name] for rows in source]
    return [v for part in parts for v in part] if isinstance(parts[0], list) else np.concatenate(parts)
