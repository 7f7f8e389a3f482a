"""Every capture, whole and in pieces: what was said is read exactly, and nothing that is broken is an error of ours."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import pytest

from pilotfish_agent.decode._part import PROBLEMS
from pilotfish_agent.decode._runner import PACKAGE
from pilotfish_core import registry
from tests.decode import captures, fuzzing

PATHS = captures.paths()


def load(path: pathlib.Path) -> dict[str, Any]:
    capture: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return capture


@pytest.mark.parametrize("path", PATHS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_golden(path: pathlib.Path) -> None:
    """A capture is read as its file says, with the problem that it says or none."""
    capture = load(path)
    assert captures.read(capture) == capture["observation"], capture["about"]


def test_every_decoder_has_captures() -> None:
    """Each protocol has a success and is the folder of its captures."""
    found = {(p.parent.name, load(p)["observation"].get("protocol")) for p in PATHS}
    for name in registry.names(PACKAGE):
        assert (name, name) in found


@pytest.mark.parametrize("path", PATHS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_cut_anywhere(path: pathlib.Path) -> None:
    """Bodies that end early, as bytes lost or as told, are no failure of the decoder, whose problem has a word."""
    capture = load(path)
    decoders = captures.decoders(captures.config(capture))
    whole = captures.exchange(capture)
    for quarter in range(5):
        for told in (False, True):
            part = dataclasses.replace(
                whole,
                request_body=whole.request_body[: len(whole.request_body) * quarter // 4],
                response_body=whole.response_body[: len(whole.response_body) * quarter // 4],
                request_cut=told,
                response_cut=told,
            )
            _, observation = decoders.observe(part)
            assert observation.problem is None or observation.problem in PROBLEMS
    assert "failed" not in decoders.problems


@pytest.mark.parametrize("path", PATHS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_columns_have_a_row_each(path: pathlib.Path) -> None:
    """Every column is as long as there are rows."""
    capture = load(path)
    route, seen = captures.decoders(captures.config(capture)).observe(captures.exchange(capture))
    assert route is not None
    fuzzing.check(route, seen)
    assert seen.ids is None or len(set(seen.ids)) == seen.rows


@pytest.mark.parametrize("path", PATHS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_an_error_names_no_model(path: pathlib.Path) -> None:
    """With a status of no success nothing is taken from an exchange but its operation."""
    capture = load(path)
    refused = dataclasses.replace(captures.exchange(capture), status=503, outcome="server_error")
    route, seen = captures.decoders(captures.config(capture)).observe(refused)
    assert route is not None
    assert captures.told(None, seen) == {"protocol": None, "operation": route.operation}


def test_no_text_is_kept() -> None:
    """Of prompts and answers no text is in what leaves the decoder: only lengths, scripts, and so on."""
    for path in PATHS:
        if path.parent.name in ("openai", "ollama"):
            seen = json.dumps(load(path)["observation"], ensure_ascii=False).lower()
            assert not any(word in seen for word in ("oslo", "capital", "fox", "fuchs", "sorry", "hello", "天気"))
