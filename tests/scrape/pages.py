"""Pages of model servers (tests/captures_metrics) and readings as text."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping
from typing import cast

from pilotfish_agent.scrape._family import Server
from pilotfish_agent.scrape._settings import PACKAGE
from pilotfish_core import registry
from pilotfish_core.metrics import Distribution, Reading, Sample, Unavailable

FOLDER = pathlib.Path(__file__).parent.parent / "captures_metrics"
PAGES = sorted(p.stem for p in FOLDER.glob("*.txt"))
SERVERS = cast(Mapping[str, Server], dict(registry.parts(PACKAGE)))


def page(name: str) -> str:
    """A captured page."""
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def kind(name: str) -> str:
    """The server of a page: `vllm-0.8` is of vllm."""
    return name.partition("-")[0]


def text(readings: Iterable[Reading]) -> str:
    """Readings as lines, sorted; of a histogram the buckets that hold something."""
    lines = []
    for reading in readings:
        if isinstance(reading, Unavailable):
            lines.append(f"# {reading.signal} absent: {reading.reason} ({reading.collector})")
            continue
        labels = ",".join(f'{k}="{v}"' for k, v in _labels(reading) if v is not None)
        lines.append(f"{reading.metric.name}{{{labels}}} {_value(reading)}")
    return "\n".join(sorted(lines)) + "\n"


def _labels(reading: Sample) -> Iterable[tuple[str, str | None]]:
    return zip(reading.metric.labels, reading.labels, strict=True)


def _value(reading: Sample) -> str:
    if not isinstance(reading.value, Distribution):
        return f"{reading.value:.9g}"
    edges = [*(f"{e:g}" for e in reading.metric.buckets), "+Inf"]
    full = [f"{e}:{n}" for e, n in zip(edges, reading.value.counts, strict=True) if n]
    return f"[{' '.join(full)}] sum {reading.value.total:.9g}"
