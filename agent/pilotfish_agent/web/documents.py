"""The JSON of `/api/v1/*`, which is also what `pilotfish status --json` prints (docs: the contract's JSON out)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pilotfish_agent.web.numbers import Numbers, Rises
from pilotfish_agent.web.vitals.gpus import gpus
from pilotfish_agent.web.vitals.groups import groups
from pilotfish_core.nouns import Snapshot


def drift(snapshot: Snapshot) -> list[dict[str, Any]]:
    """One object a stream, the strongest evidence first."""
    ranked = sorted(snapshot.drift, key=lambda r: (-_ratio(r.evidence, r.threshold), r.model, r.feature))
    return [asdict(result) for result in ranked]


def status(snapshot: Snapshot, rises: Rises | None = None) -> dict[str, Any]:
    """One screen of a running agent; ``at`` is the moment it speaks of, in epoch seconds.

    ``vitals`` and ``gpus`` are the page's, in words for people; numbers are at `/metrics`.
    """
    whole = {"at": snapshot.at, **asdict(snapshot.status)}
    numbers = Numbers(snapshot, rises)
    whole["vitals"] = [{"group": g.title, **vital._asdict()} for g in groups(numbers) for vital in g.vitals]
    whole["gpus"] = [row._asdict() for row in gpus(numbers)]
    return {**whole, "drift": drift(snapshot), "alerts": [dict(a) for a in snapshot.alerts]}


def encode(document: object) -> bytes:
    """Strict JSON: a number that is none (NaN, infinite) is null, whatever was in a text is escaped."""
    return json.dumps(_plain(document), allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _plain(value: object) -> object:
    """The value in JSON's own types; what has none becomes its text."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    if isinstance(value, bool | str | int) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value)


def _ratio(evidence: float, threshold: float) -> float:
    ratio = evidence / threshold if threshold > 0 else 0.0
    return ratio if math.isfinite(ratio) else 0.0
