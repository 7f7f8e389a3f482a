"""`GET /health` and the like (vLLM, TGI, llama.cpp, BentoML, Ray Serve, MLflow's `/ping`): 200 is ready.

llama.cpp answers 503 with `Loading model` while it loads, TGI and vLLM 503 when they cannot answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilotfish_agent.probe._states import Told

METHOD, BODY, ORDER = "GET", None, 90
"""The last: it matches whatever no other way does."""


def matches(path: str) -> bool:  # noqa: ARG001 - all ways are asked alike
    """Whatever is left."""
    return True


def told(path: str, status: int, body: bytes) -> Sequence[Told]:  # noqa: ARG001 - all ways are asked alike
    """One state, of a model without a name."""
    if 200 <= status < 300:
        return [Told(None, None, "ready")]
    loading = status == 503 and b"loading" in body[:1000].lower()
    return [Told(None, None, "loading" if loading else "unavailable")]
