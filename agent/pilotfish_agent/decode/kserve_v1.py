"""KServe's V1 protocol: `:predict` as TensorFlow Serving's row format, and `:explain`.

Source: kserve/kserve, python/kserve/kserve/protocol/rest/v1_endpoints.py. The path of `:predict` is TensorFlow
Serving's too; KServe's own answers by uvicorn, which that never does.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pilotfish_agent.decode import _columns, _json, _table
from pilotfish_agent.decode._part import Route, Unreadable
from pilotfish_core.nouns import Exchange, Observation

NAME: Final = "kserve_v1"
_PATH = re.compile(r"/v1/models/([^/:]{1,500}):(predict|explain)\Z")


def route(method: str, path: str) -> Route | None:
    """``/v1/models/NAME:predict`` and `:explain`."""
    match = _PATH.match(path) if method == "POST" else None
    return match and Route(NAME, match[2], _table.unquoted(match[1]))


def recognises(exchange: Exchange) -> bool:
    """Whether an answer is KServe's rather than TensorFlow Serving's: of a Python server, or a CloudEvent."""
    headers = exchange.response_headers
    return "uvicorn" in headers.get("server", "").lower() or "ce-id" in headers or exchange.target.endswith(":explain")


def decode(exchange: Exchange, route: Route) -> Observation:
    """A success; the path's model answered it. An explanation is no prediction and gives no rows."""
    if route.operation == "explain":
        return Observation(route.operation, _table.named(route.model))
    return _table.observation(
        exchange,
        route.operation,
        features=lambda: _features(_json.request(exchange)),
        predictions=lambda: _predictions(_json.answer(exchange)),
        model=route.model,
    )


def _features(body: Any) -> _table.Features:
    rows = body.get("instances", body.get("inputs")) if isinstance(body, dict) else None
    if not isinstance(rows, list):
        raise Unreadable("shape")
    return _columns.features(rows), len(rows)


def _predictions(body: Any) -> _columns.Predictions:
    rows = body.get("predictions") if isinstance(body, dict) else None
    if isinstance(rows, dict):  # models that answer with named lists
        from pilotfish_agent.decode.tensorflow_serving import transposed

        rows = transposed(rows)
    if not isinstance(rows, list):
        raise Unreadable("shape")
    return _columns.predictions(rows)
