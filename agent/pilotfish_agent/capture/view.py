"""What is known of the capture process, and what is told of it on /metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pilotfish_core.metrics import Metric, Reading, Reason, Sample, Unavailable

MODES: Final = ("tap", "relay", "sdk", "off")
MODE = Metric("pilotfish_capture_mode", "gauge", "How the model's traffic is seen: 1 for the mode in force.", ("mode",))
EXCHANGES = Metric(
    "pilotfish_capture_exchanges_total",
    "counter",
    "Exchanges pf-capture has seen by how they ended; compare with pilotfish_requests_total: the rest was dropped.",
    ("outcome",),
)
FRAMING = Metric(
    "pilotfish_capture_framing_problems_total",
    "counter",
    "Connections whose bytes could be read in two ways, by reason: timings only from there on, nothing is believed.",
    ("reason",),
)
RELAYED = Metric(
    "pilotfish_relay_connections_total",
    "counter",
    "Connections to the relay: passed, refused (the model could not be reached), full (above the bound of its "
    "descriptors and memory), faults (the relay's own, framing's included; the bytes went on). Only passed may rise.",
    ("outcome",),
)
METRICS = (MODE, EXCHANGES, FRAMING, RELAYED)
OPAQUE_ENOUGH: Final = 20
"""Connections that could not be read, and none that could: then `auto` gives the tap up until the ports change."""


@dataclass(frozen=True, slots=True)
class View:
    """What is known, of one moment.

    Attributes:
        mode: in force: one of `MODES`.
        pid: of pf-capture, None while there is none.
        ports: that it watches; by_target: the ports of each target, watched or not.
        reason: why it does not see traffic, None while it does (or has nothing to see yet); words: for people.
        restarts: how often it was started anew.
        counters: absolute over all capture processes of this agent, as `control.Report` names them.
        ended_cpu: CPU seconds of the capture processes that have ended.
    """

    mode: str
    pid: int | None = None
    ports: tuple[int, ...] = ()
    by_target: Mapping[str, frozenset[int]] = field(default_factory=dict)
    reason: Reason | None = None
    words: str = ""
    restarts: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)
    ended_cpu: float = 0.0

    def samples(self) -> Iterator[Reading]:
        """The mode in force, what was seen, and why nothing is where nothing is."""
        yield from (Sample(MODE, (mode,), float(mode == self.mode)) for mode in MODES)
        yield from (Sample(EXCHANGES, (name,), float(n)) for name, n in group(self.counters, "exchanges"))
        yield from (Sample(FRAMING, (name,), float(n)) for name, n in group(self.counters, "framing"))
        yield from (Sample(RELAYED, (name,), float(n)) for name, n in group(self.counters, "relay"))
        if self.reason is not None and not self.counters:
            yield Unavailable("capture", EXCHANGES.name, self.reason)


def sealed(counters: Mapping[str, int]) -> bool:
    """Whether nothing but connections was seen that nobody can read: TLS, or another protocol."""
    seen = dict(group(counters, "exchanges"))
    opaque = seen.pop("opaque", 0)
    return opaque >= OPAQUE_ENOUGH and not any(seen.values())


def group(counters: Mapping[str, int], kind: str) -> Iterator[tuple[str, int]]:
    """(reason, count) of the counters of one group, see `control.Report`."""
    for name, count in counters.items():
        found, _, reason = name.partition(":")
        if found == kind:
            yield reason, count


def total(base: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """The sum of two sets of counters."""
    return {name: base.get(name, 0) + more.get(name, 0) for name in (*base, *(n for n in more if n not in base))}
