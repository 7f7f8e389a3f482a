"""Any other JSON: the user's own protocols by paths, and requests that ask for a prediction by their address.

The user's own are in section `decode`, `custom`. Without one, the numbers of the request are profiled as features,
and the answer's only list or value is the prediction.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pilotfish_agent.decode import _columns, _json, _table
from pilotfish_agent.decode._options import Config, Path, Spec
from pilotfish_agent.decode._part import Route, Unreadable
from pilotfish_core.nouns import Column, Exchange, Observation

NAME: Final = "generic"
MAX_LEAVES: Final = 100
"""Features profiled of a request that nobody described."""
_WORDS: Final = {
    "predict": "predict", "prediction": "predict", "predictions": "predict", "predict_proba": "predict",
    "invocations": "predict", "inference": "infer", "infer": "infer", "score": "score", "scores": "score",
    "classify": "classify", "regress": "regress", "rank": "rank", "rerank": "rank", "recommend": "rank",
    "embed": "embeddings", "embeddings": "embeddings", "explain": "explain", "generate": "generate",
    "detect": "predict", "forecast": "predict", "segment": "predict",
}  # fmt: skip
"""Last (or last but one) parts of paths that ask for a prediction, and their operation."""


def make(config: Config) -> _Generic:
    """The decoder with the user's own protocols."""
    return _Generic(config.custom)


class _Generic:
    RANK = 100  # what the others know is theirs, but for the user's own, which come first

    def __init__(self, specs: tuple[Spec, ...]) -> None:
        self._specs = tuple((_glob(spec.match), spec) for spec in specs)

    def own(self, method: str, path: str) -> Route | None:
        """The user's own protocol of a path."""
        spec = self._spec(path) if method in ("POST", "PUT") else None
        return None if spec is None else Route(NAME, spec.operation)

    def route(self, method: str, path: str) -> Route | None:
        """A path of the user's, or one that ends in a word such as ``predict``, or in such a word and a name."""
        if found := self.own(method, path):
            return found
        if method not in ("POST", "PUT"):
            return None
        *_, before, last = ("", *path.lower().rstrip("/").rsplit("/", 2))
        word = _WORDS.get(last) or _WORDS.get(before)
        return Route(NAME, word) if word else None

    def decode(self, exchange: Exchange, route: Route) -> Observation:
        """By the user's paths, else by what JSON is there."""
        spec = self._spec(exchange.target.partition("?")[0])
        if spec is not None:
            return _described(exchange, spec)
        return _table.observation(
            exchange,
            route.operation,
            features=lambda: _profiled(_json.request(exchange)),
            predictions=lambda: _guessed(_json.answer(exchange)),
        )

    def _spec(self, path: str) -> Spec | None:
        return next((spec for pattern, spec in self._specs if pattern.match(path)), None)


def _glob(match: str) -> re.Pattern[str]:
    """``*`` is a part between slashes, ``**`` any text."""
    words = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(words.get(p) or re.escape(p) for p in re.split(r"(\*\*|\*)", match)) + r"\Z", re.DOTALL)


# -- the user's own


def _described(exchange: Exchange, spec: Spec) -> Observation:
    said: Any = None
    if spec.model or spec.version or spec.id:
        try:
            said = _json.answer(exchange)
        except Unreadable:
            said = None
    ids = at(said, spec.id) if spec.id else None
    return _table.observation(
        exchange,
        spec.operation,
        features=lambda: _features_at(exchange, spec.features),
        predictions=lambda: _predictions_at(exchange, spec.prediction),
        model=_table.named(at(said, spec.model)) if spec.model else None,
        version=_table.named(at(said, spec.version)) if spec.version else None,
        ids=ids if isinstance(ids, str) else None,
    )


def _features_at(exchange: Exchange, path: Path | None) -> _table.Features:
    if path is None:
        return _table.NO_FEATURES
    found = at(_json.request(exchange), path)
    if found is None:
        raise Unreadable("shape")
    return _rows(found)


def _predictions_at(exchange: Exchange, path: Path | None) -> _columns.Predictions | None:
    if path is None:
        return None
    found = at(_json.answer(exchange), path)
    if found is None:
        raise Unreadable("shape")
    return _answered(found)


def at(value: Any, path: Path) -> Any:
    """What a path leads to in JSON, None when it leads nowhere; a ``*`` gives a list."""
    for i, step in enumerate(path):
        if step == "*":
            if not isinstance(value, list):
                return None
            return [at(item, path[i + 1 :]) for item in value]
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
        if value is None:
            return None
    return value


# -- nobody's


def _profiled(body: Any) -> _table.Features:
    """A list of rows, in the body or as its only list of rows; else its leaves are one row."""
    if isinstance(body, dict):
        lists = [v for v in body.values() if isinstance(v, list) and v and isinstance(v[0], list | dict)]
        if len(lists) == 1:
            return _capped(_rows(lists[0]))
        return _capped(_rows(_leaves(body)))
    if isinstance(body, list):
        return _capped(_rows(body))
    raise Unreadable("shape")


def _leaves(body: dict[str, Any]) -> dict[str, Any]:
    """Numbers and lists of nested mappings, by dotted names; texts of a body that nobody described may be anything."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", body)]
    while waiting and len(found) < MAX_LEAVES:
        name, value = waiting.pop(0)
        if isinstance(value, dict):
            inner = list(value.items())[:MAX_LEAVES]
            waiting += [(f"{name}.{key}" if name else str(key), v) for key, v in inner][: 4 * MAX_LEAVES - len(waiting)]
        elif isinstance(value, int | float | list):
            found[name] = value
    return found


def _capped(found: _table.Features) -> _table.Features:
    columns, rows = found
    numbers: dict[str, Column] = {name: c for name, c in columns.items() if not isinstance(c, list)}
    return dict(list(numbers.items())[:MAX_LEAVES]), rows


def _rows(found: Any) -> _table.Features:
    """Rows of a list of lists or mappings; else one row."""
    many = isinstance(found, list) and bool(found) and isinstance(found[0], list | dict)
    rows = found if many else [found]
    return _columns.features(rows), len(rows)


def _guessed(body: Any) -> _columns.Predictions:
    """The answer's list, or its only value, or the one under a name such as ``prediction``."""
    if isinstance(body, dict):
        names = (*_columns.SCORES, *_columns.ANSWERS)
        name = next((n for n in names if n in body), next(iter(body)) if len(body) == 1 else None)
        if name is None:
            return _columns.Predictions(1)
        body = body[name]
    return _answered(body)


def _answered(found: Any) -> _columns.Predictions:
    """A list is a row an item, but for probabilities, which are one row's."""
    if not isinstance(found, list):
        return _columns.predictions([found])
    single = found and not isinstance(found[0], list | dict)
    if single and _columns.probabilities([found]) is not None:
        return _columns.predictions([found])
    return _columns.predictions(found)
