"""Requests and answers of every protocol, in tests/captures/<protocol>/: what was said and what is to be read in it.

``python -m tests.decode.captures`` prints the captures whose observation is another one, ``--write`` keeps it.
A body is ``json``, ``text``, ``lines`` (joined) or ``base64``; ``coding`` puts a content coding on it.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
import math
import pathlib
import sys
from dataclasses import asdict, fields
from typing import Any

from pilotfish_agent.decode import _options
from pilotfish_agent.decode._options import Config
from pilotfish_agent.decode._part import Route
from pilotfish_agent.decode._runner import Decoders
from pilotfish_core.nouns import Exchange, Observation

ROOT = pathlib.Path(__file__).parent.parent / "captures"


def paths() -> list[pathlib.Path]:
    """All captures."""
    return sorted(ROOT.glob("*/*.json"))


def config(capture: dict[str, Any]) -> Config:
    """Section `decode` of a capture."""
    return Config(custom=_options._specs(capture["config"])) if "config" in capture else Config()


@functools.cache
def decoders(config: Config) -> Decoders:
    """The decoders of a configuration: making them reads folders."""
    return Decoders(config)


def exchange(capture: dict[str, Any]) -> Exchange:
    """The exchange of a capture."""
    request, response, cut = capture["request"], capture["response"], capture.get("cut", ())
    marks = tuple((int(offset), float(seconds)) for offset, seconds in response.get("marks", ()))
    return Exchange(
        port=8501,
        started=1_732_320_000.0,
        duration=0.1,
        first=0.001,
        method=request["method"],
        target=request["target"],
        status=response["status"],
        outcome=capture["outcome"],
        request_headers=request["headers"],
        request_body=body(request),
        response_headers=response["headers"],
        response_body=body(response),
        request_cut="request" in cut,
        response_cut="response" in cut,
        marks=marks,
    )


def body(side: dict[str, Any]) -> bytes:
    """A side's bytes."""
    if "json" in side:
        data = json.dumps(side["json"], separators=(",", ":"), ensure_ascii=False).encode()
    elif "base64" in side:
        data = base64.b64decode(side["base64"])
    else:
        data = "".join(side.get("lines", [side.get("text", "")])).encode()
    return gzip.compress(data, mtime=0) if side.get("coding") == "gzip" else data


def read(capture: dict[str, Any]) -> dict[str, Any]:
    """What the decoders read in a capture."""
    return told(*decoders(config(capture)).observe(exchange(capture)))


def told(route: Route | None, observation: Observation) -> dict[str, Any]:
    """A route and an observation as JSON: what is as by default is left out, NaN is null."""
    usual = Observation("")
    said: dict[str, Any] = {"protocol": None if route is None else route.protocol}
    for field in fields(Observation):
        value = getattr(observation, field.name)
        if field.name == "operation" or value != getattr(usual, field.name):
            said[field.name] = asdict(value) if field.name == "tokens" else _plain(value)
    return said


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [_plain(v) for v in value]


def main() -> None:
    for path in paths():
        capture = json.loads(path.read_text(encoding="utf-8"))
        found = read(capture)
        if capture.get("observation") == found:
            continue
        print(f"{path.parent.name}/{path.stem}: {capture['about']}\n    {json.dumps(found, ensure_ascii=False)}")
        if "--write" in sys.argv:
            capture["observation"] = found
            path.write_text(json.dumps(capture, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
