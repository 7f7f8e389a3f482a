"""The nouns are values: frozen, slotted, and JSON where the contract shows them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pilotfish_core import metrics, nouns

KINDS = [
    kind
    for module in (nouns, metrics)
    for kind in vars(module).values()
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and kind.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_frozen_and_slotted(kind: type) -> None:
    """Nobody changes a value that somebody else holds, or hangs something on it."""
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_documented(kind: type) -> None:
    """Each says what it is."""
    assert kind.__doc__
    assert not kind.__doc__.startswith(kind.__name__ + "(")


def test_status_is_json() -> None:
    """`/api/v1/status` is the dataclass itself."""
    status = nouns.Status("0.1", "a", {"name": "a", "pid": 1}, (), {"agent": 2}, None, {"mode": "sdk"}, {})
    assert json.loads(json.dumps(dataclasses.asdict(status)))["processes"] == {"agent": 2}
