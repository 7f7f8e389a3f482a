"""What a scraper accepts (RFC 9110 section 12.5): OpenMetrics 1.0 or text 0.0.4, plain or gzip."""

from __future__ import annotations

from collections.abc import Iterator

_OPENMETRICS_VERSIONS = frozenset({"", "0.0.1", "1.0.0"})
_TEXT = frozenset({"text/plain", "text/*", "*/*"})
_LONGEST = 2048  # a real Accept is under 500 characters


def openmetrics(accept: str) -> bool:
    """Whether OpenMetrics is named and liked at least as much as text; unparsable parts are passed over."""
    best = {"openmetrics": 0.0, "text": 0.0}
    for kind, parameters in _ranges(accept):
        version = parameters.get("version", "").strip('"')
        if kind == "application/openmetrics-text" and version in _OPENMETRICS_VERSIONS:
            best["openmetrics"] = max(best["openmetrics"], _quality(parameters))
        elif kind in _TEXT:
            best["text"] = max(best["text"], _quality(parameters))
    return 0 < best["openmetrics"] >= best["text"]


def gzip(accept_encoding: str) -> bool:
    """Whether gzip is named and not refused by ``q=0``."""
    return any(kind in {"gzip", "x-gzip"} and _quality(p) > 0 for kind, p in _ranges(accept_encoding))


def _ranges(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    for part in header[:_LONGEST].split(","):
        kind, *rest = part.split(";")
        pairs = (p.partition("=") for p in rest)
        yield kind.strip().lower(), {k.strip().lower(): v.strip() for k, _, v in pairs}


def _quality(parameters: dict[str, str]) -> float:
    try:
        q = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return q if 0 <= q <= 1 else 0.0
