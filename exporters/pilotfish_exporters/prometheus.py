"""Snapshot -> Prometheus text 0.0.4 or OpenMetrics 1.0, by prometheus_client over a custom collector.

No input can fail the page as a whole: labels and numbers are made safe at the door (`_safe`), a series that stays
bad and a second one with the same labels are left out, a family that still cannot be written is left out, and each
is counted in ``pilotfish_series_dropped_total{metric}``.
"""

from __future__ import annotations

import gzip
import platform
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import exposition
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector

from pilotfish_core.metrics import Metric, Sample
from pilotfish_core.nouns import Snapshot
from pilotfish_exporters import _accept, _page, _safe
from pilotfish_exporters._budget import families_to_drop

BUILD_INFO = Metric(
    "pilotfish_build_info",
    "gauge",
    "Always 1; the labels say which Pilotfish and Python run: compare them across hosts after an upgrade.",
    ("version", "python"),
)
SERIES_DROPPED = Metric(
    "pilotfish_series_dropped_total",
    "counter",
    "Series left out of a page, by family, once a rendered snapshot: raise limits.series or drop features.",
    ("metric",),
)
SIGNAL_UNAVAILABLE = Metric(
    "pilotfish_signal_unavailable",
    "gauge",
    "Always 1; a signal that cannot be read here and why; docs/hardware.md says what each collector needs.",
    ("collector", "signal", "reason"),
)
METRICS = (BUILD_INFO, SERIES_DROPPED, SIGNAL_UNAVAILABLE)

MAX_SERIES = 10_000
_EOF = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One page.

    Attributes:
        body: bytes to send, compressed when ``encoding`` is "gzip".
        content_type: of the uncompressed page.
        encoding: "" or "gzip".
        series: lines with a value on the page, the agent's own ``process_*`` not counted.
        dropped: series left out of this page, by family name.
    """

    body: bytes
    content_type: str
    encoding: str
    series: int
    dropped: Mapping[str, int]


def render(
    snapshot: Snapshot,
    *,
    accept: str = "",
    accept_encoding: str = "",
    static_labels: Mapping[str, object] | None = None,
    max_series: int = MAX_SERIES,
    proc: str = "/proc",
) -> Rendered:
    """The page of one Snapshot.

    Args:
        snapshot: what to show.
        accept: the request's Accept header; text 0.0.4 unless OpenMetrics is asked for.
        accept_encoding: the request's Accept-Encoding header.
        static_labels: `labels` of the configuration, put on every series; a series' own label of that name wins.
        max_series: `limits.series`.
        proc: where the agent's own ``process_*`` are read.
    """
    exporter = Exporter(static_labels=static_labels, max_series=max_series, proc=proc)
    return exporter.render(snapshot, accept=accept, accept_encoding=accept_encoding)


class Exporter:
    """Renders each Snapshot at most once a format, and keeps count of what was dropped. Safe from any thread.

    Args:
        static_labels: as for `render`.
        max_series: as for `render`.
        proc: as for `render`.
    """

    def __init__(
        self,
        *,
        static_labels: Mapping[str, object] | None = None,
        max_series: int = MAX_SERIES,
        proc: str = "/proc",
    ) -> None:
        self.configure(static_labels, max_series)
        self._own = ProcessCollector(registry=None, proc=proc)
        self._totals: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._page: _Work | None = None

    def configure(self, static_labels: Mapping[str, object] | None, max_series: int) -> None:
        """Other labels, another limit, from the next Snapshot on."""
        self._static = tuple(_safe.static_labels(static_labels or {}).items())
        self._max_series = max_series

    def cached(self, snapshot: Snapshot, *, accept: str = "", accept_encoding: str = "") -> Rendered | None:
        """The page when it has been rendered already, else None; takes no lock and does not block."""
        page = self._page
        if page is None or page.snapshot is not snapshot:
            return None
        return page.done.get((_accept.openmetrics(accept), _accept.gzip(accept_encoding)))

    def render(self, snapshot: Snapshot, *, accept: str = "", accept_encoding: str = "") -> Rendered:
        """The page of ``snapshot`` in the format asked for; takes milliseconds, so not on an event loop."""
        wanted, zipped = _accept.openmetrics(accept), _accept.gzip(accept_encoding)
        with self._lock:
            page = self._page
            if page is None or page.snapshot is not snapshot:
                page = self._prepare(snapshot)
                self._page = page
            if (wanted, False) not in page.done:
                page.done[wanted, False] = self._write(page, wanted)
            if zipped and (wanted, True) not in page.done:
                plain = page.done[wanted, False]
                body = gzip.compress(plain.body, compresslevel=5, mtime=0)
                page.done[wanted, True] = Rendered(body, plain.content_type, "gzip", plain.series, plain.dropped)
            return page.done[wanted, zipped]

    def _prepare(self, snapshot: Snapshot) -> _Work:
        """Cleans, groups and limits. What is dropped is counted here, once a Snapshot whatever the formats."""
        dropped: Counter[str] = Counter()
        families = _page.collect(_samples(snapshot), self._static, dropped)
        sizes = {group.name: group.series() for group in families}
        over = frozenset(families_to_drop(sizes, self._max_series))
        dropped.update({name: sizes[name] for name in over})
        process = tuple(_page.own_process(self._own, self._static, dropped))
        self._totals.update(dropped)
        kept = [group for group in families if group.name not in over]
        counts = (Sample(SERIES_DROPPED, (name,), float(n)) for name, n in sorted(self._totals.items()))
        kept += _page.collect(counts, self._static, Counter())
        return _Work(snapshot, kept, process, dropped)

    def _write(self, page: _Work, wanted: bool) -> Rendered:
        """One format. A family that cannot be written is left out, and counted on the next page."""
        generate = openmetrics.generate_latest if wanted else exposition.generate_latest
        parts: list[bytes] = []
        for name, one in _named(page, wanted):
            try:
                parts.append(generate(_One(one())).removesuffix(_EOF))
            except Exception:  # noqa: BLE001 - the library raises what it likes; one bad family must not blank the page
                if name not in page.broken:
                    page.broken.add(name)
                    self._totals[name] += 1
        lines = sum(group.series() for group in page.families)
        content_type = openmetrics.CONTENT_TYPE_LATEST if wanted else exposition.CONTENT_TYPE_PLAIN_0_0_4
        return Rendered(b"".join(parts) + (_EOF if wanted else b""), content_type, "", lines, page.dropped)


@dataclass(slots=True)
class _Work:
    """A cleaned Snapshot and its renderings so far, by (OpenMetrics, gzip)."""

    snapshot: Snapshot
    families: list[_page.Group]
    process: tuple[Family, ...]
    dropped: Counter[str]
    broken: set[str] = field(default_factory=set)
    done: dict[tuple[bool, bool], Rendered] = field(default_factory=dict)


class _One:
    """A collector of one family."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> tuple[Family]:
        return (self._family,)


def _named(page: _Work, wanted: bool) -> Iterator[tuple[str, Callable[[], Family]]]:
    """(name, maker) of every family: making one may fail as well as writing it."""
    for group in page.families:
        yield group.name, partial(_page.family, group, openmetrics=wanted)
    for family in page.process:
        yield family.name, partial(_same, family)


def _same(family: Family) -> Family:
    return family


def _samples(snapshot: Snapshot) -> Iterator[Sample]:
    """The Snapshot's samples and those this exporter makes from the rest of it."""
    yield Sample(BUILD_INFO, (snapshot.status.version, platform.python_version()), 1.0)
    for gap in snapshot.unavailable:
        yield Sample(SIGNAL_UNAVAILABLE, (gap.collector, gap.signal, gap.reason), 1.0)
    yield from snapshot.samples
