"""`GET /v1/models/NAME`: TensorFlow Serving's GetModelStatus and KServe v1's readiness."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pilotfish_agent.probe._states import MAX_MODELS, State, Told, named, parsed, word

METHOD, BODY, ORDER = "GET", None, 10
_PATH = re.compile(r"/v1/models/([^/:]+)(?:/(?:versions|labels)/[^/:]+)?/?\Z")
_WORDS: dict[str, State] = {  # ModelVersionStatus.State of tensorflow_serving/apis/get_model_status.proto
    "START": "loading",
    "LOADING": "loading",
    "AVAILABLE": "ready",
    "UNLOADING": "unloading",
    "END": "unavailable",
}


def matches(path: str) -> bool:
    """Whether it is a model's own address."""
    return _PATH.search(path) is not None


def told(path: str, status: int, body: bytes) -> Sequence[Told]:
    """One state a version; KServe has none and says `ready`."""
    found = _PATH.search(path)
    name = found[1] if found is not None else None
    answer = parsed(body) if status == 200 else None
    versions = answer.get("model_version_status") if isinstance(answer, dict) else None
    if isinstance(versions, list) and versions:
        return [
            Told(name, word(v.get("version")), named(_WORDS, v.get("state")))
            for v in versions[:MAX_MODELS]
            if isinstance(v, dict)
        ]
    ready = isinstance(answer, dict) and _true(answer.get("ready"))
    return [Told(name, None, "ready" if ready else "unavailable")]


def _true(value: Any) -> bool:
    """KServe's SDK writes true, some of its servers "True"."""
    return value is True or (isinstance(value, str) and value.lower() == "true")
