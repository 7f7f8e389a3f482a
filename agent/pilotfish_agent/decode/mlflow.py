"""MLflow's scoring server, and SageMaker containers that speak as it does: `/invocations`.

Source: mlflow.org, "MLflow Models: local REST server": one of dataframe_split, dataframe_records, instances, inputs;
or CSV. The answer is `{"predictions": ...}`; it names no model.
"""

from __future__ import annotations

import csv
import io
from typing import Any, Final

from pilotfish_agent.decode import _columns, _json, _table
from pilotfish_agent.decode._part import Route, Unreadable
from pilotfish_agent.decode.tensorflow_serving import transposed
from pilotfish_core.nouns import Exchange, Observation

NAME: Final = "mlflow"
MAX_CELLS: Final = 20_000
"""Cells of a CSV body that are read, a line counts as two: each is an object of some 100 bytes until in its column."""
MISSING: Final = frozenset({"", "NA", "NaN", "nan", "null", "None", "N/A"})
_ROUTE = Route(NAME, "predict")


def route(method: str, path: str) -> Route | None:
    """``/invocations``."""
    return _ROUTE if method == "POST" and path == "/invocations" else None


def decode(exchange: Exchange, route: Route) -> Observation:
    """A success; the name of the model is not in the traffic."""
    return _table.observation(
        exchange,
        route.operation,
        features=lambda: _features(exchange),
        predictions=lambda: _predictions(exchange),
    )


def _kind(headers: Any) -> str:
    return str(headers.get("content-type", "")).partition(";")[0].strip().lower()


def _features(exchange: Exchange) -> _table.Features:
    if _kind(exchange.request_headers) == "text/csv":
        headers = exchange.request_headers
        body = _json.body(exchange.request_body, headers.get("content-encoding", ""), cut=exchange.request_cut)
        return _csv(body)
    body = _json.request(exchange)
    if not isinstance(body, dict):
        raise Unreadable("shape")
    split = body.get("dataframe_split")
    if isinstance(split, dict):
        return _split(split)
    rows = body.get("dataframe_records", body.get("instances"))
    if rows is None and "inputs" in body:
        rows = body["inputs"]
        # Named tensors of one batch; else one row of named values.
        rows = transposed(rows) if isinstance(rows, dict) else rows if isinstance(rows, list) else [rows]
    if not isinstance(rows, list):
        raise Unreadable("shape")
    return _columns.features(rows), len(rows)


def _split(split: dict[str, Any]) -> _table.Features:
    names, data = split.get("columns"), split.get("data")
    if not isinstance(data, list) or not all(isinstance(row, list) for row in data):
        raise Unreadable("shape")
    if names is None:
        return _columns.features(data), len(data)
    if not isinstance(names, list) or any(len(row) != len(names) for row in data):
        raise Unreadable("shape")
    keys = [str(name) for name in names]
    return _columns.features([dict(zip(keys, row, strict=True)) for row in data]), len(data)


def _csv(data: bytes) -> _table.Features:
    text = _text(data)
    try:
        header, *rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except (csv.Error, ValueError):
        raise Unreadable("shape") from None
    if any(len(row) != len(header) for row in rows) or len(header) > _columns.MAX_FEATURES:
        raise Unreadable("shape")
    cells = {name[: _columns.MAX_NAME]: [_cell(v) for v in column] for name, *column in zip(header, *rows, strict=True)}
    return _columns.columns({name: _one_kind(column) for name, column in cells.items()}), len(rows)


def _text(data: bytes) -> str:
    if data.count(b",") + 2 * (data.count(b"\n") + data.count(b"\r")) > MAX_CELLS:
        raise Unreadable("json_wide")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Unreadable("content_type") from None


def _cell(text: str) -> Any:
    text = text.strip()
    if text in MISSING:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _one_kind(column: list[Any]) -> list[Any]:
    """A column with a text in it is one of texts."""
    if not any(isinstance(v, str) for v in column):
        return column
    return [f"{v:g}" if isinstance(v, float) else v for v in column]


def _predictions(exchange: Exchange) -> _columns.Predictions:
    if _kind(exchange.response_headers) == "text/csv":
        headers = exchange.response_headers
        body = _json.body(exchange.response_body, headers.get("content-encoding", ""), cut=exchange.response_cut)
        rows = [[_cell(v) for v in line.split(",")] for line in _text(body).split("\n") if line.strip()]
        return _columns.predictions(rows)
    body = _json.answer(exchange)
    found = body.get("predictions") if isinstance(body, dict) else body
    if isinstance(found, dict):  # a frame of columns, or named tensors
        found = transposed(found)
    if not isinstance(found, list):
        raise Unreadable("shape")
    return _columns.predictions(found)
