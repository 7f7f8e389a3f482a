"""The Open Inference protocol (KServe V2) over REST: Triton, MLServer, KServe, OpenVINO; and Triton's generate.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md; triton-inference-server/server,
docs/protocol/extension_{binary_data,classification,generate}.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilotfish_agent import language
from pilotfish_agent.decode import _columns, _generation, _json, _lists, _stream, _table, _tensors
from pilotfish_agent.decode._columns import Predictions
from pilotfish_agent.decode._generation import Choice
from pilotfish_agent.decode._part import Route, Unreadable
from pilotfish_agent.decode._tensors import Tensor
from pilotfish_core.nouns import Exchange, Observation

NAME: Final = "open_inference"
_PATH = re.compile(
    r"(?:/[^/]{1,200}){0,4}?/v2/models/([^/]{1,500})(?:/versions/([^/]{1,200}))?/(infer|generate|generate_stream)\Z"
)
_CLASSIFIED = re.compile(r"-?[0-9.]+(?:e[+-]?[0-9]+)?:([0-9]+)(?::(.*))?\Z", re.IGNORECASE | re.DOTALL)


def route(method: str, path: str) -> Route | None:
    """``/v2/models/NAME[/versions/V]/infer``, `generate` and `generate_stream`."""
    match = _PATH.match(path) if method == "POST" else None
    if match is None:
        return None
    operation = "infer" if match[3] == "infer" else "generate"
    return Route(NAME, operation, _table.unquoted(match[1]), _table.unquoted(match[2]))


def decode(exchange: Exchange, route: Route) -> Observation:
    """A success; the answer names model and version."""
    if route.operation == "generate":
        return _generated(exchange, route)
    problem, said, asked = None, _Side(), _Side()
    try:
        said = _Side.of(exchange.response_body, exchange.response_headers, "outputs", cut=exchange.response_cut)
    except Unreadable as error:
        problem = error.reason
    try:
        asked = _Side.of(exchange.request_body, exchange.request_headers, "inputs", cut=exchange.request_cut)
    except Unreadable as error:
        problem = problem or error.reason
    rows = _batch(asked.tensors, said.tensors)
    found = _table.observation(
        exchange,
        route.operation,
        features=lambda: _features(asked.tensors, rows),
        predictions=lambda: _predictions(said.tensors, rows),
        model=_table.named(said.body.get("model_name")) or route.model,
        version=_table.named(said.body.get("model_version")) or route.version,
        ids=said.body.get("id"),
    )
    return found if problem is None else _table.with_problem(found, problem)


class _Side:
    """A request or an answer: its JSON and its tensors."""

    def __init__(self, body: dict[str, Any] | None = None, tensors: Sequence[Tensor] = ()) -> None:
        self.body = body or {}
        self.tensors = tensors

    @classmethod
    def of(cls, data: bytes, headers: Any, key: str, *, cut: bool) -> _Side:
        body, binary = _tensors.read(data, headers, cut=cut)
        return cls(body, _tensors.tensors(body.get(key), binary))


def _batch(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
    """Rows of an exchange: the first dimension, where both sides agree; one where either side says so.

    Models without batching have shapes without the first dimension.
    """
    asked, said = {t.batch for t in inputs}, {t.batch for t in outputs}
    if len(said) == 1 and (asked == said or not asked):
        return said.pop()
    if len(asked) == 1 and not said:
        return asked.pop()
    return 1 if asked == {1} or said == {1} or len(said) != 1 else said.pop()


def _features(inputs: Sequence[Tensor], rows: int) -> _table.Features:
    if not inputs:
        return _table.NO_FEATURES
    found: dict[str, Any] = {}
    for tensor in inputs:
        found.update(_tensors.features(tensor, rows, only=len(inputs) == 1))
        if len(found) > _columns.MAX_FEATURES:
            raise Unreadable("json_wide")
    return found, rows


def _predictions(outputs: Sequence[Tensor], rows: int) -> Predictions | None:
    """Probabilities where an output has them, else the output that is named as an answer, else the first one."""
    if not outputs or rows < 1:
        return None
    ranks = {name: i for i, name in enumerate((*_columns.SCORES, *_columns.ANSWERS))}
    single = None
    vectors: Mapping[str, Any] = {}
    for tensor in sorted(outputs, key=lambda t: ranks.get(t.name.lower(), len(ranks))):  # stable: else as they came
        if len(tensor.cells) > _tensors.MAX_OBJECTS or len(tensor.cells) % rows:
            continue
        width = len(tensor.cells) // rows
        if 2 <= width <= _columns.MAX_CLASSES:
            table = tensor.rows(rows)
            scores = _columns.probabilities(table)
            if scores is not None:
                return Predictions(rows, probabilities=scores, n_classes=width)
            vectors = vectors or _lists.outputs("output", table)
            if width and single is None and (best := _classified([row[0] for row in table])):
                single = best
        elif width == 1 and single is None:
            values = [row[0] for row in tensor.rows(rows)]
            single = _classified(values) or values
    if single is None and vectors:
        return Predictions(rows, outputs=vectors)
    return Predictions(rows, prediction=None if single is None else _columns.single_column(single))


def _classified(values: Sequence[Any]) -> list[str] | None:
    """Classes of Triton's ``score:index[:label]``, the best first; None of other values."""
    matches = [_CLASSIFIED.match(v) if isinstance(v, str) else None for v in values]
    return [m[2] or m[1] for m in matches if m] if matches and all(matches) else None


def _generated(exchange: Exchange, route: Route) -> Observation:
    """Triton's generate: `text_output` in one answer, or in each event of a stream. It names no tokens."""
    choice, times, problem, failed = Choice(), None, None, False
    body: dict[str, Any] = {}
    if "text/event-stream" in exchange.response_headers.get("content-type", "").lower():
        data, aligned = _stream.body(exchange)
        times = _stream.Times(exchange, aligned=aligned)
        events = _stream.Events(data)
        for offset, _, event in events:
            try:
                said = _object(_json.parse(event))
            except Unreadable as error:
                problem = problem or (None if exchange.outcome == "aborted" else error.reason)
                continue
            if said.get("error") is not None:
                failed = True
                continue
            body = said
            text = _generation.texts(body.get("text_output"))
            choice.add(text)
            if text:
                times.content(offset)
        problem = "body_large" if events.partial else problem or ("body_cut" if exchange.response_cut else None)
    else:
        body = _object(_json.answer(exchange))
        failed = body.get("error") is not None  # what it names is no model that answered
        body = {} if failed else body
        choice.add(_generation.texts(body.get("text_output")))
    row: dict[str, float | str] = {}
    try:
        asked = _json.request(exchange)
        prompt = asked.get("text_input") if isinstance(asked, dict) else None
        row.update(language.described("prompt", prompt) if isinstance(prompt, str) else ())
    except Unreadable as error:
        problem = problem or error.reason
    if problem is None and exchange.outcome == "success":
        row.update(choice.features())
    rows = 0 if failed else 1
    return Observation(
        route.operation,
        _table.named(body.get("model_name") or (None if failed else route.model)),
        _table.named(body.get("model_version") or (None if failed else route.version)),
        rows,
        _generation.columns([row] * rows),
        ids=_table.row_ids(_table.header_id(exchange), rows),
        first_content=times.first if times is not None else None,
        chunk_gaps=times.gaps if times is not None else (),
        failed=failed,
        problem="stream_error" if failed else problem,
    )


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Unreadable("shape")
    return body
