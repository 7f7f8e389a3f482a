"""What an alert is: its expression, its words, and the series that prove it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

LABEL: Final = re.compile(r"\{\{ \$labels\.(\w+) \}\}")
_RANGE: Final = r"\{\{ range (?:(?!\{\{ range).)*?Labels\.%s \}\}.*?\{\{ end \}\}"
STREAMS: Final = re.compile(_RANGE % "feature")
EXPLANATIONS: Final = re.compile(_RANGE % "explanation")
"""Template actions in a rule's words: a label of the alert, the list of streams that drift, what is said of them."""
RuleSeverity = Literal["none", "info", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class Setting:
    """A number or name of a rule that an operator may want to change: ``pilotfish rules --set NAME=VALUE``.

    Attributes:
        name: snake case; ``$name`` in the expression and the words stands for it.
        default: as written into PromQL.
        help: what it is, and why that default.
    """

    name: str
    default: str
    help: str


@dataclass(frozen=True, slots=True)
class Firing:
    """One alert expected to fire.

    Attributes:
        labels: all labels but ``alertname`` and the rule's ``severity``.
        texts: what the template actions other than ``{{ $labels.x }}`` must have become: ``value``, ``streams``,
            ``explanations``.
    """

    labels: Mapping[str, str]
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Check:
    """What must fire at one moment.

    Attributes:
        at: time since the start, as Prometheus writes durations.
        firing: all that fires then; empty: nothing does.
    """

    at: str
    firing: tuple[Firing, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story that `promtool test rules` plays.

    Attributes:
        series: series -> values in promtool's notation, one each ``every``.
        checks: in time order.
        every: how often series are scraped and rules evaluated; longer where the story takes days.
    """

    series: Mapping[str, str]
    checks: tuple[Check, ...]
    every: str = "1m"


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert. A file of ``pilotfish_alerts.rules`` holds one, as ``RULE``.

    Attributes:
        alert: CamelCase, begins with Pilotfish; in lower case it is the anchor in docs/alerts.md.
        expr: PromQL; ``$setting`` is replaced.
        severity: none for the watchdog; warning and critical are for people, info for dashboards.
        summary: one line; may hold Go templates.
        description: what it means and the first thing to do.
        hold: how long the expression must hold before it fires (`for`).
        keep: how long it goes on firing after it stopped to hold (`keep_firing_for`): against flapping; may be
            ``$setting``.
        settings: what can be changed.
        scenarios: at least one in which it fires and resolves, and one moment in which it does not fire.
        always: True for an alert whose only job is to fire.
    """

    alert: str
    expr: str
    severity: RuleSeverity
    summary: str
    description: str
    scenarios: tuple[Scenario, ...]
    hold: str = ""
    keep: str = ""
    settings: tuple[Setting, ...] = ()
    always: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One recording rule.

    Attributes:
        name: ``level:what:operation`` as Prometheus' guide names them.
        expr: PromQL; ``$setting`` is replaced.
        of: labels of the result, as in ``by (...)``.
        labels: added to the result.
    """

    name: str
    expr: str
    of: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def own(self) -> frozenset[str]:
        """Labels of the result."""
        return frozenset({*self.of.split(", "), *self.labels})


JOB = Setting("job", "pilotfish", "job name of the agents in Prometheus' scrape configuration")
MINIMUM_CALLS = Setting("minimum_calls", "20", "calls in 5 minutes below which a ratio or a quantile is noise")


def firing(labels: str, **texts: str) -> Firing:
    """Labels as ``a=b c=d``, and what the other template actions became (`Firing.texts`)."""
    return Firing(dict(pair.split("=", 1) for pair in labels.split()), texts)
