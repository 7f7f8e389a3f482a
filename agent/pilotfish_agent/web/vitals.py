"""A few numbers of the model's process and calls, read from a Snapshot's samples by metric name."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pilotfish_core.metrics import Distribution, Sample
from pilotfish_core.nouns import Snapshot


def vitals(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """(name, value in words). What is not in the Snapshot is left out: absent is not zero."""
    by_name: dict[str, list[Sample]] = {}
    for sample in snapshot.samples:
        by_name.setdefault(sample.metric.name, []).append(sample)
    trees = snapshot.status.targets or (snapshot.status.target,)
    for tree in trees:
        if tree.get("pid") is not None:
            yield "Process" if len(trees) == 1 else f"Process {tree['name']}", f"pid {tree['pid']}"
    start = _largest(by_name.get("pilotfish_process_start_time_seconds", []))
    if start is not None and snapshot.at > start:
        yield "Running for", duration(snapshot.at - start)
    memory = _sum(by_name.get("pilotfish_process_resident_memory_bytes", []))
    if memory is not None:
        yield "Memory", size(memory)
    cpu = _sum(by_name.get("pilotfish_process_cpu_seconds_total", []))
    if cpu is not None:
        yield "CPU used", duration(cpu)
    threads = _sum(by_name.get("pilotfish_process_threads", []))
    if threads is not None:
        yield "Threads", f"{threads:,.0f}"
    predictions = _sum(by_name.get("pilotfish_predictions_total", []))
    if predictions is not None:
        yield "Predictions", f"{predictions:,.0f}"
    yield from _calls(by_name.get("pilotfish_request_duration_seconds", []))
    waiting = _sum(by_name.get("pilotfish_requests_in_flight", []))
    if waiting is not None:
        yield "In flight", f"{waiting:,.0f}"
    yield from _generated(by_name)
    yield from _capture(snapshot)


def _generated(by_name: dict[str, list[Sample]]) -> Iterator[tuple[str, str]]:
    """Tokens, and when the first one came."""
    tokens = [(_sum(by_name.get(f"pilotfish_{side}_tokens_total", [])), side) for side in ("input", "output")]
    told = [f"{number:,.0f} {side}" for number, side in tokens if number is not None]
    if told:
        yield "Tokens", ", ".join(told)
    samples = by_name.get("pilotfish_time_to_first_token_seconds", [])
    found = [s.value for s in samples if isinstance(s.value, Distribution)]
    if found:
        counts = [sum(c) for c in zip(*(d.counts for d in found), strict=False)]
        yield "Median first token", _within(counts, samples[0].metric.buckets, 0.5)


def _capture(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """How traffic is seen."""
    capture = snapshot.status.capture
    ports = capture.get("ports")
    if capture.get("mode") in {"tap", "relay"}:
        where = f", port {', '.join(map(str, ports))}" if isinstance(ports, list | tuple) and ports else ""
        yield "Traffic seen by", f"{capture['mode']}{where}"


def _calls(samples: list[Sample]) -> Iterator[tuple[str, str]]:
    """Requests, failures and latency since the start."""
    found = [(s, s.value) for s in samples if isinstance(s.value, Distribution)]
    total = sum(sum(d.counts) for _, d in found)
    if not total:
        return
    outcome = {id(s): dict(zip(s.metric.labels, s.labels, strict=False)).get("outcome") for s, _ in found}
    failed = sum(sum(d.counts) for s, d in found if outcome[id(s)] == "server_error")
    yield "Calls", f"{total:,}"
    yield "Failed", f"{failed / total:.2%}"
    bounds = found[0][0].metric.buckets
    counts = [sum(c) for c in zip(*(d.counts for _, d in found), strict=False)]
    for name, q in (("Median latency", 0.5), ("99 % within", 0.99)):
        yield name, _within(counts, bounds, q)


def _within(counts: list[int], bounds: tuple[float, ...], q: float) -> str:
    bound = _bucket(counts, bounds, q)
    return f"≤ {duration(bound)}" if math.isfinite(bound) else f"> {duration(bounds[-1])}"


def _bucket(counts: list[int], bounds: tuple[float, ...], q: float) -> float:
    """Upper bound of the bucket that holds the quantile ``q``."""
    wanted, seen = q * sum(counts), 0
    for count, bound in zip(counts, bounds, strict=False):
        seen += count
        if seen >= wanted:
            return bound
    return math.inf


def _numbers(samples: list[Sample]) -> list[float]:
    return [float(s.value) for s in samples if isinstance(s.value, int | float) and math.isfinite(s.value)]


def _sum(samples: list[Sample]) -> float | None:
    numbers = _numbers(samples)
    return sum(numbers) if numbers else None


def _largest(samples: list[Sample]) -> float | None:
    return max(_numbers(samples), default=None)


def size(value: float) -> str:
    """``53.2 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration(seconds: float) -> str:
    """``3.2 ms``, ``12 s``, ``4 min``, ``3.5 h``, ``2.1 d``."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
