"""Section `decode` of the configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Final

from pilotfish_core.config import option, text

SECTION: Final = "decode"
MAX_SPECS: Final = 32
MAX_STEPS: Final = 16

Path = tuple[str | int, ...]
"""Steps into JSON: keys, places of a list, ``*`` for each of its items."""

_STEP = re.compile(r"\.([^.\[\]\s]+)|\[(\d{1,6})\]|\[(\*)\]")
_MATCH = re.compile(r"/[!-~]{0,499}\Z")


@dataclass(frozen=True, slots=True)
class Spec:
    """The user's own protocol.

    Attributes:
        match: path of the URL; ``*`` stands for a part between slashes, ``**`` for any text.
        operation: value of the label `operation`.
        features: where they are in the request; None: nowhere.
        prediction, model, version, id: where they are in the answer; None: nowhere.
    """

    match: str
    operation: str = "predict"
    features: Path | None = None
    prediction: Path | None = None
    model: Path | None = None
    version: Path | None = None
    id: Path | None = None


OPERATIONS: Final = (
    "predict", "infer", "classify", "regress", "explain", "rank", "score", "embeddings", "chat", "completions",
    "generate", "other",
)  # fmt: skip
"""Words a user's protocol may give its operation: a label's values are a closed list."""


def path(value: Any) -> Path:
    """The steps of ``$.rows[*].age`` or ``rows[*].age``.

    Raises:
        ValueError: the expectation.
    """
    written = str(value).strip()
    written = written.removeprefix("$")
    if written and written[0] not in ".[":
        written = "." + written
    steps: list[str | int] = []
    at = 0
    while at < len(written):
        match = _STEP.match(written, at)
        if match is None:
            break
        at = match.end()
        steps.append(match[1] or match[3] or int(match[2]))
    if at < len(written) or isinstance(value, bool | list | dict) or value is None or len(steps) > MAX_STEPS:
        raise ValueError(f"a path such as $.rows[*].age, of at most {MAX_STEPS} steps")
    return tuple(steps)


def _specs(value: Any) -> tuple[Spec, ...]:
    known = ", ".join(f.name for f in fields(Spec))
    words = f"a list of at most {MAX_SPECS} mappings with `match: /path/*` and any of {known}"
    if not isinstance(value, list) or len(value) > MAX_SPECS:
        raise ValueError(words)
    return tuple(_spec(item, words) for item in value)


def _spec(item: Any, words: str) -> Spec:
    if not isinstance(item, dict) or not set(item) <= {f.name for f in fields(Spec)}:
        raise ValueError(words)
    found = dict(item)
    match, operation = str(found.pop("match", "")), str(found.pop("operation", "predict"))
    if not _MATCH.match(match):
        raise ValueError("a match such as /score/*: a path that begins with a slash")
    if operation not in OPERATIONS:
        raise ValueError("an operation that is one of " + ", ".join(OPERATIONS))
    return Spec(match, operation, **{key: path(steps) for key, steps in found.items()})


def _protocols(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ValueError("a list of protocols such as [openai, mlflow]; `pilotfish list` names them")
    return tuple(dict.fromkeys(text(100)(v) for v in value))


@dataclass(frozen=True, slots=True)
class Config:
    """What is read in captured traffic: the protocols, and your own by paths."""

    protocols: tuple[str, ...] | None = option(
        None, _protocols, "Only these protocols are read, the first that fits; all when not given.", "[openai, mlflow]"
    )
    custom: tuple[Spec, ...] = option(
        (),
        _specs,
        "Your own protocols: a path, and where in the JSON the features, the prediction and so on are.",
        "[{match: /score/*, features: $.rows, prediction: $.scores, version: $.model.version}]",
    )
