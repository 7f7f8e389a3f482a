"""What `replay` found, a line a stream, and as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pilotfish_agent.drift.explain import shown
from pilotfish_agent.drift.trace import Trace
from pilotfish_core.nouns import DriftResult

LINES: Final = 30
"""Streams listed for people: those that alarmed or were noticed, then those with the most evidence."""
_HEADINGS: Final = ("STREAM", "EVIDENCE", "OF", "EFFECT", "ALARMS", "NOTICES", "BEGAN", "AT THE END")
_Items = Sequence[Mapping[str, Any]]


def streams(alarms: _Items, notices: _Items, results: Sequence[DriftResult], trace: Trace) -> list[dict[str, Any]]:
    """One item a tested stream: alarmed ones first, by time; then the noticed ones; then by evidence.

    ``evidence`` is the largest there was at level alarm; ``effect`` and ``began`` are those of the first alarm, else of
    the first notice; without any the effect is that of the last rows.
    """
    found = []
    for result in results:
        if result.feature not in trace.names:
            continue
        own = {
            word: [item for item in items if item["feature"] == result.feature]
            for word, items in (("alarms", alarms), ("notices", notices))
        }
        first = next(iter((*own["alarms"], *own["notices"])), None)
        largest = trace.largest(result.feature)
        item = {
            "feature": result.feature,
            "verdict": result.verdict,
            "evidence": largest * result.threshold,
            "threshold": result.threshold,
            "effect": result.effect if first is None else first["effect"],
            "alarms": len(own["alarms"]),
            "notices": len(own["notices"]),
            "began": None if first is None else first["began"],
        }
        rank = (not own["alarms"], first["row"] if own["alarms"] and first else 0, not own["notices"])
        found.append((*rank, -largest, result.feature, item))
    return [entry[-1] for entry in sorted(found, key=lambda entry: entry[:-1])]


def table(found: Mapping[str, Any]) -> Iterator[str]:
    """The report for people."""
    yield (
        f"{found['rows']:,} rows, {found['ticks']:,} ticks of {found['tick_seconds']:g} s "
        f"against reference {found['reference_id']}, budget {found['false_alarms']}"
    )
    yield ""
    yield from _streams(found["streams"])
    for word in ("alarms", "notices"):
        items = found[word]
        yield ""
        yield f"{len(items)} {word[:-1] if len(items) == 1 else word}" + (":" if items else "")
        for item in items:
            when = f"row {item['row']:,}" if item["ts"] is None else _moment(item["ts"])
            yield f"  {when}  {item['severity']:8}  {item['explanation']}"
    drifting = [shown(f["feature"]) for f in found["final"] if f["verdict"] == "drifting"]
    yield ""
    yield "at the end: " + (f"drifting: {', '.join(drifting)}" if drifting else "nothing drifts")


def _streams(listed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    lines = [_HEADINGS, *(_cells(stream) for stream in listed[:LINES])]
    wide = [max(len(line[i]) for line in lines) for i in range(len(_HEADINGS))]
    numbers = {1, 2, 3, 4, 5}
    for line in lines:
        cells = (c.rjust(w) if i in numbers else c.ljust(w) for i, (c, w) in enumerate(zip(line, wide, strict=True)))
        yield "  ".join(cells).rstrip()
    if len(listed) > LINES:
        yield f"and {len(listed) - LINES:,} more with less evidence: see --json"


def _cells(stream: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        shown(stream["feature"]),
        f"{stream['evidence']:.1f}",
        f"{stream['threshold']:.1f}",
        "-" if stream["effect"] is None else f"{stream['effect']:.2f}",
        str(stream["alarms"]),
        str(stream["notices"]),
        "-" if stream["began"] is None else _moment(stream["began"]),
        stream["verdict"].replace("_", " "),
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
