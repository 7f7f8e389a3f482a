"""Calls, predictions and tokens, and how traffic is seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from pilotfish_agent.web.numbers import Numbers, duration
from pilotfish_agent.web.vitals._vital import Vital
from pilotfish_core.metrics import Distribution


def vitals(numbers: Numbers) -> Iterator[Vital]:
    """Since the agent started."""
    predictions = numbers.total("predictions_total")
    if predictions is not None:
        yield Vital("Predictions", f"{predictions:,.0f}")
    yield from _calls(numbers)
    waiting = numbers.total("requests_in_flight")
    if waiting is not None:
        yield Vital("In flight", f"{waiting:,.0f}")
    yield from _generated(numbers)
    yield from _capture(numbers)


def _calls(numbers: Numbers) -> Iterator[Vital]:
    found = numbers.distributions("request_duration_seconds")
    total = sum(sum(counted.counts) for _, counted, _ in found)
    if not total:
        return
    failed = sum(sum(counted.counts) for labels, counted, _ in found if labels.get("outcome") == "server_error")
    yield Vital("Calls", f"{total:,}")
    yield Vital("Failed", f"{failed / total:.2%}")
    counts = _together(counted for _, counted, _ in found)
    for name, q in (("Median latency", 0.5), ("99 % within", 0.99)):
        yield Vital(name, _within(counts, found[0][2], q))


def _generated(numbers: Numbers) -> Iterator[Vital]:
    """Tokens, and when the first one came."""
    tokens = [(numbers.total(f"{side}_tokens_total"), side) for side in ("input", "output")]
    told = [f"{number:,.0f} {side}" for number, side in tokens if number is not None]
    if told:
        yield Vital("Tokens", ", ".join(told))
    found = numbers.distributions("time_to_first_token_seconds")
    if found:
        yield Vital("Median first token", _within(_together(c for _, c, _ in found), found[0][2], 0.5))


def _capture(numbers: Numbers) -> Iterator[Vital]:
    capture = numbers.snapshot.status.capture
    ports = capture.get("ports")
    if capture.get("mode") in {"tap", "relay"}:
        where = f", port {', '.join(map(str, ports))}" if isinstance(ports, list | tuple) and ports else ""
        yield Vital("Traffic seen by", f"{capture['mode']}{where}")


def _together(found: Iterable[Distribution]) -> list[int]:
    return [sum(counts) for counts in zip(*(one.counts for one in found), strict=False)]


def _within(counts: Sequence[int], bounds: tuple[float, ...], q: float) -> str:
    bound = _bucket(counts, bounds, q)
    return f"≤ {duration(bound)}" if math.isfinite(bound) else f"> {duration(bounds[-1])}"


def _bucket(counts: Sequence[int], bounds: tuple[float, ...], q: float) -> float:
    """Upper bound of the bucket that holds the quantile ``q``."""
    wanted, seen = q * sum(counts), 0
    for count, bound in zip(counts, bounds, strict=False):
        seen += count
        if seen >= wanted:
            return bound
    return math.inf
