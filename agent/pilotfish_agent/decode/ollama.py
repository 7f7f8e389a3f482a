"""Ollama's own API: `/api/generate`, `/api/chat`, `/api/embed`; streams are lines of JSON.

Source: ollama/ollama, docs/api.md. The last line has the exact tokens.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pilotfish_agent import language
from pilotfish_agent.decode import _columns, _generation, _json, _stream, _table
from pilotfish_agent.decode._generation import Choice
from pilotfish_agent.decode._part import Route, Unreadable
from pilotfish_core.nouns import Exchange, Observation, Tokens

NAME: Final = "ollama"
_PATH = re.compile(r"/api/(?:(generate)|(chat)|(embed|embeddings))\Z")


def route(method: str, path: str) -> Route | None:
    """``/api/generate``, `/api/chat`, `/api/embed`."""
    match = _PATH.match(path) if method == "POST" else None
    return match and Route(NAME, match[1] or match[2] or "embeddings")


def decode(exchange: Exchange, route: Route) -> Observation:
    """A success, streamed or whole; both are lines of JSON, the whole one is a single line."""
    data, aligned = _stream.body(exchange)
    times = _stream.Times(exchange, aligned=aligned)
    choice, chunks, failed, problem = Choice(), 0, False, None
    last: dict[str, Any] = {}
    lines = _stream.Events(data, lines=True)
    for offset, _, line in lines:
        try:
            body = _json.parse(line)
        except Unreadable as error:
            problem = problem or (None if exchange.outcome == "aborted" else error.reason)
            continue
        if not isinstance(body, dict):
            raise Unreadable("shape")
        if body.get("error") is not None:
            failed = True
            continue
        last = body
        said = body.get("message")
        said = said if isinstance(said, dict) else {}
        text = _generation.texts(said.get("content", body.get("response")))
        tools = said.get("tool_calls")
        choice.add(text)
        choice.tools += len(tools) if isinstance(tools, list) else 0
        choice.finish(body.get("done_reason"))
        if text or tools or said.get("thinking") or body.get("thinking"):
            chunks += 1
            times.content(offset)
    if not last and problem is None:
        problem = "shape"
    if exchange.response_cut or lines.partial:
        problem = "body_cut" if exchange.response_cut else "body_large"
    problem = "stream_error" if failed else problem
    whole = problem is None and exchange.outcome == "success"
    vectors = last.get("embeddings")
    rows: list[dict[str, float | str]] = []  # a failure is no answer
    if route.operation == "embeddings" and last:
        vectors = vectors if isinstance(vectors, list) else [last.get("embedding")]
        rows = [_columns.vector(v) for v in vectors]
    elif last and not failed:
        rows = [dict(choice.features()) if whole else {}]
    try:
        asked = _prompt(_json.request(exchange))
    except Unreadable as error:
        asked, problem = {}, problem or error.reason
    streamed = chunks > 1
    return Observation(
        route.operation,
        _table.named(last.get("model")),
        rows=len(rows),
        features=_generation.columns([{**asked, **row} for row in rows]),
        ids=_table.row_ids(_table.header_id(exchange), len(rows)),
        tokens=_tokens(last, chunks if streamed and not (exchange.response_cut or lines.partial) else None),
        finish_reasons=_generation.reasons([choice]),
        first_content=times.first if streamed else None,
        chunk_gaps=times.gaps if streamed else (),
        failed=failed,
        problem=problem,
    )


def _tokens(last: dict[str, Any], chunks: int | None) -> Tokens | None:
    found = Tokens(_generation.count(last.get("prompt_eval_count")), _generation.count(last.get("eval_count")))
    if found != Tokens():
        return found
    return Tokens(output=chunks, estimated=True) if chunks else None


def _prompt(body: Any) -> dict[str, float | str]:
    if not isinstance(body, dict):
        raise Unreadable("shape")
    messages = body.get("messages")
    if isinstance(messages, list):
        said = [_generation.texts(m.get("content")) for m in messages if isinstance(m, dict)]
        script = language.script(said[-1]) if said else "none"
        return {
            "prompt.length": float(sum(map(len, said))),
            "prompt.messages": float(len(said)),
            "prompt.script": script,
        }
    prompt = body.get("prompt", body.get("input"))
    return dict(language.described("prompt", prompt)) if isinstance(prompt, str) else {}
