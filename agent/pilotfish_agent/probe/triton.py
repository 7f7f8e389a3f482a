"""`POST /v2/repository/index`: the model repository extension of Open Inference (Triton, MLServer)."""

from __future__ import annotations

from collections.abc import Sequence

from pilotfish_agent.probe._states import MAX_MODELS, State, Told, named, parsed, word

METHOD, BODY, ORDER = "POST", b"{}", 10
_WORDS: dict[str, State] = {  # ModelReadyStateString of triton-inference-server/core
    "READY": "ready",
    "LOADING": "loading",
    "UNLOADING": "unloading",
    "UNAVAILABLE": "unavailable",
    "UNKNOWN": "unknown",
}


def matches(path: str) -> bool:
    """Whether it is the index."""
    return path.rstrip("/").endswith("/v2/repository/index")


def told(path: str, status: int, body: bytes) -> Sequence[Told]:  # noqa: ARG001 - all ways are asked alike
    """One state an entry; a model that was never loaded has no state and is unavailable."""
    answer = parsed(body) if status == 200 else None
    if not isinstance(answer, list):
        return [Told(None, None, "unavailable")]
    return [
        Told(
            word(m.get("name")), word(m.get("version")), named(_WORDS, m["state"]) if m.get("state") else "unavailable"
        )
        for m in answer[:MAX_MODELS]
        if isinstance(m, dict)
    ]
