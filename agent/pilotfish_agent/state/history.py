"""A day of what matters, decimated, in at most 8 MiB: fed by Snapshots, read by the page, kept over restarts.

A gauge is kept as it is, a counter as its rate, a histogram as quantiles or the mean of each interval. Above `MOST`
series those that say the least are left out: streams with the lowest evidence, then classes.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from pilotfish_agent.state.past import Past, Rise, Series
from pilotfish_agent.state.rings import BLOCK, MINUTES, PER_MINUTE, SLOT, WIDTH, Rings
from pilotfish_core.metrics import Distribution, Metric, Sample
from pilotfish_core.nouns import Snapshot

MOST: Final = 440
"""Series: 440 x 18,720 bytes, and their names, are 8 MiB."""
NAMED: Final = 200
"""Of what is left out, how many are named."""
QUANTILES: Final = ("0.5", "0.99")
_TIMED = frozenset(f"pilotfish_{n}_seconds" for n in ("request_duration", "time_to_first_token"))
_MEANS = frozenset({"pilotfish_prediction_score", "pilotfish_prediction_value"})
_STREAMS = frozenset({"pilotfish_drift_evidence_ratio", "pilotfish_drift_effect"})
_NOT = frozenset(
    f"pilotfish_{n}"
    for n in (
        "capture_mode",
        "cgroup_cpu_limit_cores",
        "cgroup_memory_limit_bytes",
        "collector_duration_seconds",
        "collector_success",
        "config_last_reload_successful",
        "drift_evidence_threshold_nats",
        "drift_reference_rows",
        "drift_state",
        "events_total",
        "gpu_clock_hertz",
        "gpu_ecc_errors_total",
        "gpu_energy_joules_total",  # its power is kept
        "gpu_memory_total_bytes",
        "gpu_nvlink_bytes_total",
        "gpu_power_limit_watts",
        "gpu_up",
        "host_memory_total_bytes",
        "server_model_state",
        "signal_unavailable",
        "state_disk_size_bytes",
    )
)
"""States, limits, settings and the agent's own inside: no numbers whose past is looked at; eight GPUs have many."""
_NOT_ENDS = ("_info", "_timestamp_seconds", "_start_time_seconds")
_Evidence = dict[tuple[str | None, str | None], float]  # by model and feature, over its threshold
_VERSION: Final = 1
_LENGTH: Final = struct.Struct("<I")
_ABOVE = 2.0  # evidence that a candidate must have over that of a series it drives out: they do not take turns
_CLASSES = 0.3  # interest of a class's rate, as evidence


class _Entry:
    """One sample's place: its first row, and what it last was."""

    __slots__ = ("before", "rank", "row", "seen")

    def __init__(self, row: int) -> None:
        self.row = row
        self.rank = math.inf
        self.seen = -1  # point
        self.before: float | Distribution | None = None


class _Kept:
    """All places of one metric.

    Attributes:
        kind: of its series; names: of its labels; bounds: of its buckets.
    """

    __slots__ = ("bounds", "entries", "kind", "names")

    def __init__(self, kind: str, names: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        self.kind, self.names, self.bounds = kind, names, bounds
        self.entries: dict[tuple[str | None, ...], _Entry] = {}

    @property
    def width(self) -> int:
        """Rows of one sample."""
        return len(QUANTILES) if self.kind == "quantile" else 1


class History:
    """The past of one agent. One thread writes; `series` and `past` may be called from any.

    Args:
        interval: between two Snapshots, seconds; longer ones than a point stand for all points since the last.
        most: series kept.
    """

    def __init__(self, interval: float = 1.0, most: int = MOST) -> None:
        self._hold = max(math.ceil(interval / SLOT), 1)
        self._most = most
        self._lock = threading.Lock()
        self._rings = Rings()
        self._metrics: dict[str, _Kept | None] = {}
        self._free: list[int] = []
        self._averaged = np.zeros(0, bool)
        self._used = 0
        self._at: float | None = None  # of the last point of this run
        self._last = -1
        self.left_out = 0
        self.left_out_names: tuple[str, ...] = ()

    # -- in

    def add(self, snapshot: Snapshot) -> None:
        """Takes a Snapshot in, where it begins a new point."""
        if not math.isfinite(snapshot.at) or int(snapshot.at // SLOT) == self._rings.slot:
            return
        with self._lock:
            self._add(snapshot, int(snapshot.at // SLOT))

    def _add(self, snapshot: Snapshot, slot: int) -> None:
        seconds = math.nan if self._at is None else snapshot.at - self._at
        found: list[tuple[_Kept, _Entry, Sample]] = []
        new: list[tuple[_Kept, Sample]] = []
        for sample in snapshot.samples:
            name = sample.metric.name
            kept = self._metrics[name] if name in self._metrics else self._metric(sample.metric)
            if kept is None:
                continue
            entry = kept.entries.get(sample.labels)
            if entry is None:
                new.append((kept, sample))
            elif entry.seen != slot:  # else a second one of a name: the first stays
                entry.seen, before = slot, entry.seen
                if before != self._last:
                    entry.before = None
                found.append((kept, entry, sample))
        if new and (self._used < self._most or slot % PER_MINUTE == 0 or not self.left_out):
            found += self._admit(new, snapshot, slot)
        elif not new:
            self.left_out, self.left_out_names = 0, ()
        values = np.full(self._rings.rows, np.nan)
        for kept, entry, sample in found:
            if entry.row < 0:  # it has just been driven out
                continue
            for offset, value in enumerate(_values(kept, entry.before, sample.value, seconds)):
                values[entry.row + offset] = value
            entry.before = sample.value if kept.kind != "gauge" else None
        newest = self._rings.slot
        from_slot = slot if newest is None or not 0 < slot - newest <= self._hold else newest + 1
        for one in range(from_slot, slot + 1):
            self._rings.put(one, values, self._averaged)
        self._at, self._last = snapshot.at, slot

    def _metric(self, metric: Metric) -> _Kept | None:
        """What becomes of a metric's samples; None: nothing."""
        name, kind = metric.name, {"gauge": "gauge", "counter": "rate"}.get(metric.kind)
        if name in _NOT or name.endswith(_NOT_ENDS) or ("feature" in metric.labels and name not in _STREAMS):
            kind = None
        elif metric.kind == "histogram":
            kind = "quantile" if name in _TIMED else "mean" if name in _MEANS else None
        kept = None if kind is None else _Kept(kind, metric.labels, metric.buckets)
        self._metrics[name] = kept
        return kept

    # -- which

    def _admit(
        self, new: list[tuple[_Kept, Sample]], snapshot: Snapshot, slot: int
    ) -> Iterator[tuple[_Kept, _Entry, Sample]]:
        """Gives places to new samples, the most interesting first, those of lesser ones where there is none left."""
        evidence: _Evidence = {
            (r.model, r.feature): _finite(r.evidence / r.threshold) for r in snapshot.drift if r.threshold > 0
        }
        ranked = sorted(((_rank(k, s.labels, evidence), k, s) for k, s in new), key=lambda c: -c[0])
        lesser = self._lesser(evidence, slot)
        left: list[str] = []
        taken: list[tuple[_Kept, _Entry, Sample]] = []
        for rank, kept, sample in ranked:
            if sample.labels in kept.entries:
                continue
            while lesser and self._used + kept.width > self._most:
                weakest, owner, labels = lesser[-1]
                if weakest >= 0 and rank <= _ABOVE * weakest + 0.1:
                    break
                lesser.pop()
                self._drop(owner, labels)
                if weakest >= 0:
                    left.append(_words(owner, labels))
            if self._used + kept.width > self._most:
                left.append(_words(kept, sample.labels))
                continue
            entry = kept.entries[sample.labels] = _Entry(self._place(kept))
            entry.seen, entry.rank = slot, rank
            taken.append((kept, entry, sample))
        self.left_out, self.left_out_names = len(left), tuple(dict.fromkeys(left[: 2 * NAMED]))[:NAMED]
        return iter(taken)

    def _lesser(self, evidence: _Evidence, slot: int) -> list[tuple[float, _Kept, tuple[str | None, ...]]]:
        """What may have to go, the least interesting last; what is there no more is less than all else."""
        found = [
            (_rank(kept, labels, evidence) if entry.seen == slot else -1.0, kept, labels)
            for kept in self._metrics.values()
            if kept is not None
            for labels, entry in kept.entries.items()
        ]
        return sorted((f for f in found if f[0] < math.inf), key=lambda f: -f[0])

    def _place(self, kept: _Kept) -> int:
        """Neighbouring rows for one more sample."""
        row = next((r for r in self._free if all(r + i in self._free for i in range(kept.width))), None)
        if row is None or (row + kept.width - 1) // BLOCK != row // BLOCK:
            self._free += self._rings.grow()
            self._averaged = np.append(self._averaged, np.zeros(BLOCK, bool))
            row = self._rings.rows - BLOCK
        for one in range(row, row + kept.width):
            self._free.remove(one)
            self._averaged[one] = kept.kind == "rate"
        self._used += kept.width
        return row

    def _drop(self, kept: _Kept, labels: tuple[str | None, ...]) -> None:
        entry = kept.entries.pop(labels)
        row, entry.row = entry.row, -1
        for one in range(row, row + kept.width):
            self._rings.clear(one)
            self._free.append(one)
        self._used -= kept.width

    # -- out

    def series(self) -> list[Series]:
        """Every series, by metric and labels."""
        with self._lock:
            return [series for series, _ in self._listed()]

    def past(self, ids: Iterable[str] | None, seconds: float) -> Past:
        """The newest ``seconds`` of the named series (None: of all); unknown ids are left out."""
        with self._lock:
            wanted = None if ids is None else set(ids)
            chosen = {series.id: row for series, row in self._listed() if wanted is None or series.id in wanted}
            rows = list(chosen.values())
            return Past(list(chosen), *self._rings.points(rows, seconds), self._rings.minutes(rows, seconds))

    def rises(self, names: Iterable[str], seconds: float) -> dict[str, list[Rise]]:
        """Of each named counter or gauge that is kept: what its series added up to in the newest ``seconds``."""
        with self._lock:
            return {name: list(self._added(self._metrics.get(name), seconds)) for name in names}

    def _added(self, kept: _Kept | None, seconds: float) -> Iterator[Rise]:
        if kept is None or kept.kind not in {"rate", "gauge"}:
            return
        _, points = self._rings.points([entry.row for entry in kept.entries.values()], seconds)
        known = ~np.isnan(points)
        sums = np.where(known, points, 0.0).sum(1, np.float64) * SLOT
        for labels, amount, count in zip(kept.entries, sums.tolist(), known.sum(1).tolist(), strict=True):
            named = {n: v for n, v in zip(kept.names, labels, strict=False) if v is not None}
            yield Rise(named, amount, float(count * SLOT))

    def _listed(self) -> Iterator[tuple[Series, int]]:
        for name in sorted(self._metrics):
            kept = self._metrics[name]
            for labels, entry in kept.entries.items() if kept is not None else ():
                named = {n: v for n, v in zip(kept.names, labels, strict=False) if v is not None} if kept else {}
                for offset, more in enumerate(_more(kept.kind) if kept else ()):
                    yield _series(name, named | more, kept.kind if kept else ""), entry.row + offset

    # -- over restarts

    def checkpoint(self) -> tuple[bytes | memoryview, ...]:
        """Everything as bytes, without a copy of the numbers: written at once."""
        kept = {
            name: [k.kind, k.names, k.bounds, [[labels, e.row] for labels, e in k.entries.items()]]
            for name, k in self._metrics.items()
            if k is not None and k.entries
        }
        rings = self._rings
        head = {"version": _VERSION, "slot": rings.slot, "first": rings.first, "metrics": kept}
        text = json.dumps(head, separators=(",", ":")).encode()
        return (_LENGTH.pack(len(text)), text, *(b.data.cast("B") for b in rings.blocks))

    def restore(self, content: bytes) -> None:
        """Takes up what `checkpoint` gave to an earlier run; the time between is a gap.

        Raises:
            ValueError: it is something else, and nothing was taken.
        """
        fresh = History(most=self._most)
        try:
            (length,) = _LENGTH.unpack_from(content)
            head = json.loads(content[_LENGTH.size : _LENGTH.size + length])
            if head["version"] != _VERSION:
                raise ValueError(f"history of version {head['version']}, expected {_VERSION}")
            fresh._take(head, np.frombuffer(content, np.float32, offset=_LENGTH.size + length))
        except (struct.error, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"no history: {type(error).__name__}: {error}") from None
        with self._lock:
            for name in ("_rings", "_metrics", "_free", "_averaged", "_used"):
                setattr(self, name, getattr(fresh, name))

    def _take(self, head: dict[str, Any], numbers: Any) -> None:
        blocks = numbers.reshape(-1, BLOCK, WIDTH)
        for block in blocks:
            self._free += self._rings.grow()
            self._rings.blocks[-1][:] = block
        self._averaged = np.zeros(self._rings.rows, bool)
        for name, (kind, names, bounds, entries) in head["metrics"].items():
            if kind not in {"gauge", "rate", "quantile", "mean"}:
                raise ValueError(f"history of kind {kind!r}")
            kept = self._metrics[name] = _Kept(kind, tuple(names), tuple(map(float, bounds)))
            for labels, row in entries:
                for one in range(row, row + kept.width):
                    self._free.remove(one)  # a ValueError when two have one row
                    self._averaged[one] = kind == "rate"
                kept.entries[tuple(labels)] = _Entry(row)
                self._used += kept.width
        slot = head["slot"]
        if slot is not None and not 0 <= int(head["first"]) <= int(slot):
            raise ValueError(f"points {head['first']} to {slot}")
        self._rings.slot, self._rings.first = slot, head["first"]


def _rank(kept: _Kept, labels: tuple[str | None, ...], evidence: _Evidence) -> float:
    """How interesting: infinite for what is of the model as a whole, else evidence over its threshold."""
    named = dict(zip(kept.names, labels, strict=False))
    feature = named.get("feature")
    if feature is not None and not feature.startswith("@"):
        return evidence.get((named.get("model"), feature), 0.0)
    return _CLASSES if "class" in named else math.inf


def _values(
    kept: _Kept, before: float | Distribution | None, value: float | Distribution, seconds: float
) -> Sequence[float]:
    """A sample's numbers for the point that ends now; NaN where nothing can be said."""
    if isinstance(value, Distribution):
        if not isinstance(before, Distribution):
            return (math.nan,) * kept.width
        counts = [b - a for a, b in zip(before.counts, value.counts, strict=False)]
        total = sum(counts)
        if total <= 0 or min(counts) < 0:
            return (math.nan,) * kept.width
        if kept.kind == "mean":
            return ((value.total - before.total) / total,)
        return [quantile(float(q), counts, kept.bounds) for q in QUANTILES]
    if kept.kind == "gauge":
        return (value,)
    if not isinstance(before, int | float) or value < before or not seconds > 0:
        return (math.nan,)  # a counter that falls has started anew
    return ((value - before) / seconds,)


def quantile(q: float, counts: Sequence[int], bounds: Sequence[float]) -> float:
    """As Prometheus: linear within the bucket; above the last bound, that bound."""
    wanted, seen = q * sum(counts), 0
    for i, count in enumerate(counts[: len(bounds)]):
        if count and seen + count >= wanted:
            lower = bounds[i - 1] if i else min(bounds[0], 0.0)
            return lower + (bounds[i] - lower) * (wanted - seen) / count
        seen += count
    return bounds[-1] if bounds else math.nan


def _more(kind: str) -> tuple[dict[str, str], ...]:
    """Labels that tell the series of one sample apart."""
    if kind == "quantile":
        return tuple({"quantile": q} for q in QUANTILES)
    return ({"statistic": "mean"},) if kind == "mean" else ({},)


def _series(name: str, labels: dict[str, str], kind: str) -> Series:
    digest = hashlib.blake2b(json.dumps([name, labels]).encode(), digest_size=5).hexdigest()
    last = name.removesuffix("_total").rpartition("_")[2]
    unit = last if last in {"seconds", "bytes", "ratio", "nats"} else ""
    return Series(digest, name, labels, f"{unit}/s" if kind == "rate" else unit, kind)


def _words(kept: _Kept, labels: tuple[str | None, ...]) -> str:
    """What is left out, for people."""
    named = dict(zip(kept.names, labels, strict=False))
    return str(named.get("feature") or named.get("class") or " ".join(str(v) for v in labels if v) or "?")


def _finite(value: float) -> float:
    return max(value, 0.0) if math.isfinite(value) else 0.0


assert MINUTES * 60 == 86_400
