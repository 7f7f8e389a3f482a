"""OpenAI's API as vLLM, llama.cpp, TGI, Ollama and others serve it: chat, completions, embeddings, responses.

Source: platform.openai.com/docs/api-reference; llama.cpp's and vLLM's answers as they are. Events of a stream are not
tokens: tokens come from `usage`, which a stream has when its client asked for it; else the events with content are
counted, and marked estimated.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pilotfish_agent import language
from pilotfish_agent.decode import _columns, _generation, _json, _stream, _table
from pilotfish_agent.decode._generation import Choice
from pilotfish_agent.decode._part import Route, Unreadable
from pilotfish_core.nouns import Exchange, Observation, Tokens

NAME: Final = "openai"
_PATH = re.compile(
    r"(?:/[^/]{1,200}){0,6}?(?:/(chat)/completions|/v[0-9]{1,2}/(completions|embeddings|responses)"
    r"|/openai/deployments/[^/]{1,200}/(completions|embeddings))\Z"
)


def route(method: str, path: str) -> Route | None:
    """``.../chat/completions``, ``/v1/completions``, ``/v1/embeddings``, ``/v1/responses``, and Azure's paths."""
    match = _PATH.match(path) if method == "POST" else None
    return match and Route(NAME, match[1] or match[2] or match[3])


def decode(exchange: Exchange, route: Route) -> Observation:
    """A success, streamed or whole; a stream that its client left is read as far as it went."""
    streamed = "text/event-stream" in exchange.response_headers.get("content-type", "").lower()
    answer = _Answer()
    problem, times = None, None
    if streamed:
        data, aligned = _stream.body(exchange)
        times = _stream.Times(exchange, aligned=aligned)
        problem = answer.read_stream(data, times, left=exchange.outcome == "aborted")
        if exchange.response_cut:
            problem = "body_cut"
    else:
        body = _json.answer(exchange)
        if route.operation == "embeddings":
            return _embeddings(exchange, body)
        answer.read(body)
    return answer.observation(exchange, route.operation, times, problem)


class _Answer:
    """An answer, put together from its events or taken from one body."""

    def __init__(self) -> None:
        self.choices: dict[int, Choice] = {}
        self.model: Any = None
        self.id: Any = None
        self.tokens: Tokens | None = None
        self.chunks = 0
        self.failed = False
        self.partial = False

    def read_stream(self, data: bytes, times: _stream.Times, *, left: bool) -> str | None:
        """All events; the reason when some could not be read: not the half one after which the client left."""
        problem: str | None = None
        events = _stream.Events(data)
        for offset, kind, event in events:
            if event == b"[DONE]":
                continue
            if kind == b"error":
                self.failed = True
                continue
            try:
                content = self.read(_json.parse(event))
            except Unreadable as error:
                problem = problem or (None if left else error.reason)
                continue
            if content:
                self.chunks += 1
                times.content(offset)
        self.partial = events.partial
        return "body_large" if events.partial else problem

    def read(self, body: Any) -> bool:
        """One event, or the whole answer; whether it brought content.

        Raises:
            Unreadable: shape.
        """
        if not isinstance(body, dict):
            raise Unreadable("shape")
        if body.get("error") is not None or body.get("type") == "error":
            self.failed = True  # what it names is no model that answered
            return False
        if isinstance(body.get("type"), str) and body["type"].startswith("response."):
            return self._read_response_event(body)
        self.model = body.get("model") or self.model
        self.id = body.get("id") or self.id
        self.tokens = _generation.tokens(body.get("usage")) or self.tokens
        if body.get("object") == "response":
            return self._read_response(body)
        content = False
        choices = body.get("choices")
        for i, item in enumerate(choices[: _generation.MAX_CHOICES] if isinstance(choices, list) else ()):
            if isinstance(item, dict):
                content |= self._read_choice(item, i)
        return content

    def choice(self, index: Any, default: int) -> Choice:
        index = index if type(index) is int and 0 <= index < _generation.MAX_CHOICES else default
        return self.choices.setdefault(index, Choice())

    def _read_choice(self, item: dict[str, Any], place: int) -> bool:
        choice = self.choice(item.get("index"), place)
        choice.finish(item.get("finish_reason"))
        said = item.get("delta", item.get("message"))
        said = said if isinstance(said, dict) else item  # completions have their `text` in the choice itself
        text = _generation.texts(said.get("content") or said.get("text"))
        choice.add(text)
        refusal = _generation.texts(said.get("refusal"))
        choice.refused |= bool(refusal)
        tools = said.get("tool_calls")
        # Of a call's many deltas only the first has its name.
        calls = [t for t in tools if isinstance(t, dict) and _name(t)] if isinstance(tools, list) else []
        choice.tools += len(calls) + bool(said.get("function_call") and _name({"function": said["function_call"]}))
        thought = said.get("reasoning_content") or said.get("reasoning")
        return bool(text or refusal or tools or thought or said.get("function_call"))

    def _read_response_event(self, event: dict[str, Any]) -> bool:
        """An event of the responses API: deltas, and at the end the whole response with its usage."""
        kind = event["type"]
        self.failed |= kind == "response.failed"
        if isinstance(event.get("response"), dict):
            response = event["response"]
            self.model = response.get("model") or self.model
            self.id = response.get("id") or self.id
            if kind in ("response.completed", "response.incomplete", "response.failed"):
                self.tokens = _generation.tokens(response.get("usage")) or self.tokens
                self.choices.clear()  # the deltas said the same
                self._read_response(response)
            return False
        delta = event.get("delta")
        if not kind.endswith(".delta") or not isinstance(delta, str) or not delta:
            return False
        if kind == "response.output_text.delta":
            self.choice(0, 0).add(delta)
        self.choice(0, 0).refused |= kind == "response.refusal.delta"
        return True

    def _read_response(self, response: dict[str, Any]) -> bool:
        choice = self.choice(0, 0)
        output = response.get("output")
        for item in output if isinstance(output, list) else ():
            if not isinstance(item, dict):
                continue
            parts = item.get("content") if item.get("type") == "message" else None
            choice.add(_generation.texts(parts))
            choice.refused |= isinstance(parts, list) and any(
                isinstance(p, dict) and p.get("type") == "refusal" for p in parts
            )
            choice.tools += item.get("type") == "function_call"
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        choice.finish(reason or ("stop" if response.get("status") == "completed" else None))
        self.failed |= response.get("status") == "failed"
        return choice.length > 0

    def observation(
        self, exchange: Exchange, operation: str, times: _stream.Times | None, problem: str | None
    ) -> Observation:
        """What was read; a choice is a row."""
        # A failure is no answer, so no row, though its beginning may have come.
        choices = [] if self.failed else [self.choices[i] for i in sorted(self.choices)]
        if not choices and not self.failed and problem is None:
            problem = "shape"
        tokens = self.tokens
        if tokens is None and times is not None and self.chunks and not (exchange.response_cut or self.partial):
            tokens = Tokens(output=self.chunks, estimated=True)
        try:
            prompts = _prompts(_json.request(exchange), len(choices))
        except Unreadable as error:
            prompts, problem = [{}] * len(choices), problem or error.reason
        # The beginning of an answer describes no answer: its rows would look like short ones.
        whole = problem is None and exchange.outcome == "success"
        rows = [{**p, **(dict(c.features()) if whole else {})} for p, c in zip(prompts, choices, strict=True)]
        return Observation(
            operation,
            _table.named(self.model),
            rows=len(choices),
            features=_generation.columns(rows),
            ids=_table.row_ids(self.id or _table.header_id(exchange), len(choices)),
            tokens=tokens,
            finish_reasons=_generation.reasons(choices),
            first_content=times.first if times is not None else None,
            chunk_gaps=times.gaps if times is not None else (),
            failed=self.failed,
            problem="stream_error" if self.failed and times is not None else problem,
        )


def _name(call: dict[str, Any]) -> bool:
    function = call.get("function")
    return isinstance(function, dict) and bool(function.get("name"))


def _prompts(body: Any, rows: int) -> list[dict[str, float | str]]:
    """What is known of each choice's prompt."""
    if not isinstance(body, dict):
        raise Unreadable("shape")
    messages = body.get("messages", body.get("input"))
    if isinstance(messages, list) and all(isinstance(m, dict) for m in messages):
        said = [_generation.texts(m.get("content")) for m in messages]
        last = next((t for t, m in zip(said[::-1], messages[::-1], strict=True) if m.get("role") == "user"), "")
        found = {"prompt.length": float(sum(map(len, said))), "prompt.messages": float(len(said))}
        return [{**found, "prompt.script": language.script(last)}] * rows
    prompt = body.get("prompt", body.get("input"))
    if isinstance(prompt, str):
        return [dict(language.described("prompt", prompt))] * rows
    if isinstance(prompt, list) and prompt and all(isinstance(p, str) for p in prompt) and rows % len(prompt) == 0:
        each = rows // len(prompt)
        return [dict(language.described("prompt", p)) for p in prompt for _ in range(each)]
    return [{}] * rows


def _embeddings(exchange: Exchange, body: Any) -> Observation:
    items = body.get("data") if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise Unreadable("shape")
    found: list[dict[str, float | str]] = []
    for item in items:
        vector = item.get("embedding") if isinstance(item, dict) else None
        found.append(_columns.vector(vector))
    problem = None
    try:
        prompts = _prompts(_json.request(exchange), len(items))
    except Unreadable as error:
        prompts, problem = [{}] * len(items), error.reason
    return Observation(
        "embeddings",
        _table.named(body.get("model")),
        rows=len(items),
        features=_generation.columns([{**p, **v} for p, v in zip(prompts, found, strict=True)]),
        ids=_table.row_ids(_table.header_id(exchange), len(items)),
        tokens=_generation.tokens(body.get("usage")),
        problem=problem,
    )
