"""TensorFlow Serving's REST API: predict in row and column format, classify, regress.

Source: tensorflow/serving, g3doc/api_rest.md. Bodies carry no version: it is known when the path names one.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pilotfish_agent.decode import _columns, _json, _table
from pilotfish_agent.decode._part import Route, Unreadable
from pilotfish_core.nouns import Exchange, Observation

NAME: Final = "tensorflow_serving"
_PATH = re.compile(
    r"/v1/models/([^/:]{1,500})(?:/versions/([0-9]{1,18})|/labels/[^/:]{1,500})?:(predict|classify|regress)\Z"
)


def route(method: str, path: str) -> Route | None:
    """``/v1/models/NAME[/versions/V|/labels/L]:predict``, `:classify`, `:regress`."""
    match = _PATH.match(path) if method == "POST" else None
    return match and Route(NAME, match[3], _table.unquoted(match[1]), match[2])


def decode(exchange: Exchange, route: Route) -> Observation:
    """A success; the path's model and version answered it."""
    return _table.observation(
        exchange,
        route.operation,
        features=lambda: _features(_json.request(exchange)),
        predictions=lambda: _predictions(_json.answer(exchange)),
        model=route.model,
        version=route.version,
    )


def _features(body: Any) -> _table.Features:
    if not isinstance(body, dict):
        raise Unreadable("shape")
    rows = body.get("instances", body.get("examples"))
    if isinstance(rows, list):
        return _columns.features(rows), len(rows)
    if "inputs" in body:
        rows = transposed(body["inputs"])
        return _columns.features(rows), len(rows)
    raise Unreadable("shape")


def _predictions(body: Any) -> _columns.Predictions:
    if not isinstance(body, dict):
        raise Unreadable("shape")
    if isinstance(body.get("predictions"), list):
        return _columns.predictions(body["predictions"])
    if "outputs" in body:
        return _columns.predictions(transposed(body["outputs"]))
    results = body.get("results", body.get("result"))  # the page says result, the server's code results
    if not isinstance(results, list):
        raise Unreadable("shape")
    return _classified(results) or _columns.predictions(results)


def transposed(columns: Any) -> list[Any]:
    """Rows of the column format: a mapping of named tensors, or the one tensor; the first dimension is the batch.

    Raises:
        Unreadable: tensors of different batches, or none.
    """
    if isinstance(columns, dict):
        if set(columns) == {"b64"}:
            return [columns]
        lists = {name: c if isinstance(c, list) else [c] for name, c in columns.items()}
        lengths = set(map(len, lists.values()))
        if len(lengths) != 1 or max(lengths) > _columns.MAX_ROWS:
            raise Unreadable("shape")
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return columns if isinstance(columns, list) else [columns]


def _classified(results: list[Any]) -> _columns.Predictions | None:
    """`[[label, score], ...]` a row; None of anything else. Labels may come sorted by their scores: they are sorted."""
    rows: list[dict[str, Any]] = []
    for result in results:
        if not isinstance(result, list) or not result:
            return None
        row: dict[str, Any] = {}
        for i, pair in enumerate(result):
            if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
                return None
            row[pair[0] or str(i)] = pair[1]
        rows.append(row)
    if not rows:
        return None
    labels = sorted(rows[0])
    if all(sorted(row) == labels for row in rows):
        scores = _columns.probabilities([[row[label] for label in labels] for row in rows])
        if scores is not None:
            return _columns.Predictions(
                len(rows), probabilities=scores, n_classes=len(labels), classes=tuple(n[:200] for n in labels)
            )
    best = [max(row, key=lambda label: _columns.finite(row[label]) or 0.0) for row in rows]
    return _columns.Predictions(len(rows), prediction=_columns.single_column(best))
