"""From one server's pages to samples: aliases, units, models, and counters that never go down."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pilotfish_agent.scrape._family import KV_CACHE, Rule, Server, wanted
from pilotfish_agent.scrape._text import Page, Series, names, read
from pilotfish_core.metrics import Distribution, Reading, Sample, Unavailable

MAX_MODELS = 16
"""Models of one server with series of their own, as in the pipeline; the rest are told together."""
OTHER = "__other__"
START = "process_start_time_seconds"
"""Another value means another process, even when its counters have passed the old ones meanwhile."""
MAX_LABEL = 200
UNSET = frozenset({"", "None", "not available"})
"""What servers write where there is no version: MLServer's None, BentoML's words."""

Model = tuple[str | None, str | None]
Values = tuple[float, ...]


def detect(text: str, servers: Mapping[str, Server]) -> str | None:
    """Whose page this is: the server with most names of its own on it; None when there is none."""
    seen = names(text)
    counts = {name: sum(n.startswith(server.SIGNS) for n in seen) for name, server in servers.items()}
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and counts[best] else None


@dataclass(slots=True)
class _Running:
    """A sum of a server that may start anew: what was counted before its restart stays."""

    last: Values = ()
    total: Values = ()

    def take(self, values: Values, *, restarted: bool) -> Values:
        """The increase since the last page, which the total has now."""
        if not self.total:
            self.total = (0.0,) * len(values)
        anew = restarted or len(values) != len(self.last) or sum(values) < sum(self.last) or not self.last
        # Clamped: a page is not of one instant, so one bucket may seem to fall while the sum rises.
        step = values if anew else tuple(max(a - b, 0.0) for a, b in zip(values, self.last, strict=True))
        self.last = values
        self.total = tuple(a + b for a, b in zip(self.total, step, strict=True))
        return step


@dataclass(slots=True)
class Normaliser:
    """One server's state between pages. One thread at a time uses it.

    Attributes:
        target: value of the label `target`; label: of the label `server`.
        server: its file; collector: what its absent signals are told under.
    """

    target: str
    label: str
    server: Server
    collector: str
    _wanted: frozenset[str] = field(init=False)
    _models: dict[Model, Model] = field(default_factory=dict)
    _running: dict[tuple[int, Model], _Running] = field(default_factory=dict)
    _held: dict[tuple[int, Model], list[float]] = field(default_factory=dict)  # histograms of sums
    _started: float | None = None

    def __post_init__(self) -> None:
        """Knows what to look for."""
        self._wanted = wanted(self.server.RULES) | {START}

    def take(self, text: str) -> tuple[list[Reading], int]:
        """(the samples of a page, lines that were not understood)."""
        page = read(text, self._wanted)
        start = page.series.get(START, [({}, math.nan)])[0][1]
        restarted = self._started is not None and not math.isnan(start) and start != self._started
        self._started = self._started if math.isnan(start) else start
        found: list[Reading] = []
        for index, rule in enumerate(self.server.RULES):
            found += self._apply(index, rule, page, restarted=restarted)
        told = {reading.metric.name for reading in found if isinstance(reading, Sample)}
        missing = dict.fromkeys(r.metric.name for r in self.server.RULES if r.metric.name not in told)
        return [*found, *(Unavailable(self.collector, name, "no_data") for name in missing)], page.unread

    def missed(self) -> list[Reading]:
        """No page this time: counters stand where they are, what was measured then is not told now."""
        found = [
            s for i, rule in enumerate(self.server.RULES) if rule.metric.kind != "gauge" for s in self._kept(i, rule)
        ]
        gauges = dict.fromkeys(r.metric.name for r in self.server.RULES if r.metric.kind == "gauge")
        return [*found, *(Unavailable(self.collector, name, "failed") for name in gauges)]

    # -- rules

    def _apply(self, index: int, rule: Rule, page: Page, *, restarted: bool) -> list[Sample]:
        if rule.metric.kind == "histogram":
            values = self._means(rule, page) if rule.count else self._buckets(rule, page)
            return self._histogram(index, rule, values, restarted=restarted)
        if rule.metric.kind == "counter":
            more = self._sums(rule, rule.plus, page)
            for model, amount in self._sums(rule, rule.names, page).items():
                amounts = ((amount + more.get(model, 0.0)) * rule.scale,)
                self._of(index, model).take(amounts, restarted=restarted)
            return self._kept(index, rule)
        if rule.count:
            return self._average(index, rule, page, restarted=restarted)
        gather = max if rule.metric is KV_CACHE else sum
        sums = self._sums(rule, rule.names, page, gather)
        return [self._sample(rule, model, value * rule.scale) for model, value in sums.items()]

    def _average(self, index: int, rule: Rule, page: Page, *, restarted: bool) -> list[Sample]:
        found = []
        for model, pair in self._means(rule, page).items():
            total, count = self._of(index, model).take(pair, restarted=restarted)
            if count > 0:
                found.append(self._sample(rule, model, total / count))
        return found

    def _histogram(self, index: int, rule: Rule, values: Mapping[Model, Values], *, restarted: bool) -> list[Sample]:
        edges = rule.metric.buckets
        for model, new in values.items():
            step = self._of(index, model).take(new, restarted=restarted)
            held = self._held.setdefault((index, model), [0.0] * (len(edges) + 2))
            if rule.count:  # a sum and how many: each page's requests count at their mean
                held[-1] += step[0]
                if step[1] > 0:
                    held[bisect.bisect_left(edges, step[0] / step[1])] += step[1]
            else:
                held[:] = [a + b for a, b in zip(held, step, strict=True)]
        return self._kept(index, rule)

    def _kept(self, index: int, rule: Rule) -> list[Sample]:
        """What a counter or histogram stands at, of every model it was ever seen with."""
        if rule.metric.kind == "histogram":
            return [
                self._sample(rule, model, Distribution(tuple(round(n) for n in held[:-1]), held[-1]))
                for (i, model), held in self._held.items()
                if i == index
            ]
        return [self._sample(rule, m, kept.total[0]) for (i, m), kept in self._running.items() if i == index]

    def _of(self, index: int, model: Model) -> _Running:
        return self._running.setdefault((index, model), _Running())

    def _sample(self, rule: Rule, model: Model, value: float | Distribution) -> Sample:
        more = () if rule.outcome is None else (rule.outcome,)
        return Sample(rule.metric, (self.target, self.label, *model, *more), value)

    # -- series

    def _sums(
        self, rule: Rule, aliases: Sequence[str], page: Page, gather: Callable[[list[float]], float] = sum
    ) -> dict[Model, float]:
        """The series of the first alias on the page, gathered by model."""
        found: dict[Model, list[float]] = {}
        for alias in aliases:
            series = page.series.get(f"{alias}_total") or page.series.get(alias)
            if series is None:
                continue
            for labels, value in series:
                if _passes(rule, labels) and math.isfinite(value):
                    found.setdefault(self._model(labels), []).append(value)
            break
        return {model: gather(values) for model, values in found.items()}

    def _means(self, rule: Rule, page: Page) -> dict[Model, Values]:
        """(sum in our unit, how many) by model."""
        sums, counts = self._sums(rule, rule.names, page), self._sums(rule, rule.count, page)
        more = self._sums(rule, rule.plus, page)
        return {m: (sums[m] * rule.scale, counts[m] + more.get(m, 0.0)) for m in sums if m in counts}

    def _buckets(self, rule: Rule, page: Page) -> dict[Model, Values]:
        """Counts on our edges, and the sum, by model; a bucket goes where its upper end is, never lower."""
        found: dict[Model, list[float]] = {}
        width = len(rule.metric.buckets)
        for alias in rule.names:
            series = page.series.get(f"{alias}_bucket")
            if series is None:
                continue
            for model, ladder in self._ladders(rule, series).items():
                values = found.setdefault(model, [0.0] * (width + 2))
                for upper, amount in ladder:
                    # 1e-9: TF Serving prints its edges with six digits, and 1e-6 of 250000 is not quite 0.25
                    values[bisect.bisect_left(rule.metric.buckets, upper * rule.scale * (1 - 1e-9))] += amount
            for labels, value in page.series.get(f"{alias}_sum", ()):
                model = self._model(labels)
                if model in found and _passes(rule, labels) and math.isfinite(value):
                    found[model][-1] += value * rule.scale
            break
        return {model: tuple(values) for model, values in found.items()}

    def _ladders(self, rule: Rule, series: Iterable[Series]) -> dict[Model, list[tuple[float, float]]]:
        """(upper end, own count) of every bucket, by model; cumulative counts are undone within one series."""
        cumulative: dict[tuple[Model, tuple[tuple[str, str], ...]], list[tuple[float, float]]] = {}
        for labels, value in series:
            try:
                upper = float(labels.pop("le", "x"))
            except ValueError:
                continue
            if _passes(rule, labels) and math.isfinite(value):
                key = (self._model(labels), tuple(sorted(labels.items())))
                cumulative.setdefault(key, []).append((upper, value))
        found: dict[Model, list[tuple[float, float]]] = {}
        for (model, _), steps in cumulative.items():
            below = 0.0
            for upper, value in sorted(steps):
                found.setdefault(model, []).append((upper, max(value - below, 0.0)))
                below = max(below, value)
        return found

    def _model(self, labels: Mapping[str, str]) -> Model:
        model = (_first(labels, self.server.MODEL), _first(labels, self.server.VERSION))
        if model not in self._models and len(self._models) < MAX_MODELS:
            self._models[model] = model
        return self._models.get(model, (OTHER, None))


def _first(labels: Mapping[str, str], keys: Iterable[str]) -> str | None:
    """The first of ``keys`` that is set."""
    return next((labels[k][:MAX_LABEL] for k in keys if labels.get(k, "") not in UNSET), None)


def _passes(rule: Rule, labels: Mapping[str, str]) -> bool:
    if rule.only is not None and not labels.get(rule.only[0], "").startswith(rule.only[1]):
        return False
    return not any(labels.get(label, "").startswith(beginning) for label, beginning in rule.but)
