"""The alerts that the agent can tell by itself, from what it samples: the rules of the same names, evaluated here.

Prometheus evaluates all of them and sends; these are for the page and `status`, where there may be no Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pilotfish_agent.drift.gauges import SEVERITY
from pilotfish_agent.pipeline.targets import TARGET_UP
from pilotfish_agent.probe._runner import SUCCESS
from pilotfish_alerts.rule import EXPLANATIONS, LABEL, STREAMS, Rule
from pilotfish_alerts.rules import drift_critical, drift_warning, probe_failing, target_down
from pilotfish_core.config import duration
from pilotfish_core.metrics import Sample
from pilotfish_core.nouns import DriftResult

_NAMED = 5
Alert = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Local:
    """A rule whose expression is ``metric{label=...} == value``.

    Attributes:
        label: the metric's label that must have the rule's severity; empty: there is none.
        value: at which it fires.
    """

    rule: Rule
    value: float
    label: str = ""

    @property
    def hold(self) -> float:
        """Seconds for which it must hold before it fires."""
        return duration(self.rule.hold or "0")


_RULES: Final[Mapping[str, tuple[_Local, ...]]] = {
    SEVERITY.name: tuple(_Local(m.RULE, 1.0, "severity") for m in (drift_critical, drift_warning)),
    TARGET_UP.name: (_Local(target_down.RULE, 0.0),),
    SUCCESS.name: (_Local(probe_failing.RULE, 0.0),),
}


class Alerts:
    """Which alerts there are, and since when.

    Args:
        instance: name of this agent, for their labels.
    """

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._since: dict[tuple[tuple[str, str], ...], float] = {}

    def update(
        self, samples: Iterable[Sample], now: float, results: Callable[[], Iterable[DriftResult]]
    ) -> tuple[Alert, ...]:
        """All alerts at ``now``, epoch seconds, those that fire first; ``results`` names streams that drift."""
        found, since = [], {}
        for one, labels in _holding(samples):
            labels |= {"alertname": one.rule.alert, "severity": one.rule.severity, "instance": self._instance}
            key = tuple(sorted(labels.items()))
            since[key] = began = min(self._since.get(key, now), now)
            found.append(_alert(one, labels, began, now, results))
        self._since = since
        return tuple(sorted(found, key=lambda a: (a["state"] != "firing", a["labels"]["severity"] != "critical")))


def _holding(samples: Iterable[Sample]) -> Iterator[tuple[_Local, dict[str, str]]]:
    """Rules whose expression is true, with the labels of the series."""
    for sample in [s for s in samples if s.metric.name in _RULES]:  # few: a pass over all of them each time
        for one in _RULES[sample.metric.name]:
            labels = {n: v for n, v in zip(sample.metric.labels, sample.labels, strict=False) if v is not None}
            if sample.value == one.value and (not one.label or labels.get(one.label) == one.rule.severity):
                yield one, labels


def _alert(
    one: _Local, labels: dict[str, str], began: float, now: float, results: Callable[[], Iterable[DriftResult]]
) -> Alert:
    def filled(text: str) -> str:
        if STREAMS.search(text):
            over = [r for r in results() if r.model == labels.get("model") and r.evidence >= r.threshold]
            named = sorted(over, key=lambda r: -r.evidence / r.threshold)[:_NAMED]
            text = STREAMS.sub(lambda _: ", ".join(r.feature for r in named), text)
            said = "".join(f"{r.explanation}. " for r in named if r.explanation)
            text = EXPLANATIONS.sub(lambda _: said, text)
        return LABEL.sub(lambda m: labels.get(m[1], ""), text)

    return {
        "labels": labels,
        "annotations": {"summary": filled(one.rule.summary), "description": filled(one.rule.description)},
        "startsAt": datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "state": "firing" if now - began >= one.hold else "pending",
    }
