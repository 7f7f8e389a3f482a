"""`GET /v2/models/NAME/ready` of Open Inference: 200 is ready, 4xx is not."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pilotfish_agent.probe._states import Told

METHOD, BODY, ORDER = "GET", None, 10
_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/ready/?\Z")


def matches(path: str) -> bool:
    """Whether it is a model's readiness."""
    return _PATH.search(path) is not None


def told(path: str, status: int, body: bytes) -> Sequence[Told]:  # noqa: ARG001 - all ways are asked alike
    """The model of the path."""
    found = _PATH.search(path)
    name, version = (found[1], found[2]) if found is not None else (None, None)
    return [Told(name, version, "ready" if status == 200 else "unavailable")]
