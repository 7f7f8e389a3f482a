"""What the protocols of tables share: a request's rows and an answer's rows become one Observation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from pilotfish_agent.decode._columns import Predictions
from pilotfish_agent.decode._part import Unreadable
from pilotfish_core.nouns import Column, Exchange, Observation

Features = tuple[Mapping[str, Column], int]
"""Columns, and their number of rows."""
NO_FEATURES: Final[Features] = ({}, 0)
MAX_NAME: Final = 200
MIN_ID: Final = 6
"""Characters of an id that can be unique. Examples send `"id": "1"` with every request, and ids that repeat within
a tick count once: taking it would lose the traffic."""
_ID_HEADERS: Final = ("x-request-id", "ce-id", "ce-requestid")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]+\Z")


def observation(
    exchange: Exchange,
    operation: str,
    *,
    features: Callable[[], Features],
    predictions: Callable[[], Predictions | None],
    model: str | None = None,
    version: str | None = None,
    ids: str | None = None,
) -> Observation:
    """An exchange of the table kind; a side that cannot be read is left out, and the first reason is its problem.

    Args:
        exchange: answered with 2xx.
        operation: of the route.
        features: reads the request.
        predictions: reads the answer; None: it says nothing, the request's rows count.
        model: as the server's success confirms it.
        version: likewise.
        ids: the request's id, None: a header's.
    """
    if exchange.outcome != "success":
        return Observation(operation)
    problem: str | None = None
    cells, given = NO_FEATURES
    said = None
    try:
        said = predictions()
    except Unreadable as error:
        problem = error.reason
    try:
        cells, given = features()
    except Unreadable as error:
        problem = problem or error.reason
    said = Predictions(given) if said is None else said
    rows = said.rows
    if given != rows:
        problem = problem or ("rows_differ" if given else None)
        cells = {}
    if said.outputs:
        cells = {**cells, **said.outputs}
    return Observation(
        operation,
        named(model),
        named(version),
        rows,
        cells,
        said.prediction,
        said.probabilities,
        said.n_classes,
        said.classes,
        row_ids(ids or header_id(exchange), rows),
        problem=problem,
    )


def with_problem(found: Observation, problem: str) -> Observation:
    """The observation with an earlier problem."""
    return replace(found, problem=problem)


def named(value: object) -> str | None:
    """A model's name or version that can be a label: a text or whole number, bounded; else None."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        value = str(value)
    return value[:MAX_NAME] if isinstance(value, str) and _PRINTABLE.match(value) else None


def unquoted(part: str | None) -> str | None:
    """A part of a path without its percent-encoding."""
    return None if part is None else unquote(part)


def header_id(exchange: Exchange) -> str | None:
    """The id that the request, else the answer, has in its head."""
    for headers in (exchange.request_headers, exchange.response_headers):
        for name in _ID_HEADERS:
            if name in headers:
                return headers[name]
    return None


def row_ids(request_id: object, rows: int) -> Sequence[str | None] | None:
    """The ids of a request's rows: its own of a single one, ``id/0``, ``id/1``, ... of several."""
    if not isinstance(request_id, str) or not MIN_ID <= len(request_id) <= MAX_NAME or not rows:
        return None
    return [request_id] if rows == 1 else [f"{request_id}/{i}" for i in range(rows)]
