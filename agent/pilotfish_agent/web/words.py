"""What a Snapshot means, in words and numbers: the headline, what changed, the budget. No HTML here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from pilotfish_core.config import Budget, budget
from pilotfish_core.nouns import DriftResult, Snapshot, Status

_STATES = {
    "learning": "is learning what is normal",
    "provisional": "runs on a provisional reference",
    "not_enough_data": "has too few rows to judge",
}
_SEVERITIES = ("none", "info", "warning", "critical")


class Headline(NamedTuple):
    """The answer to "is my model well?".

    Attributes:
        title: one line.
        tone: good, info, warning, critical, or empty where nothing can be said yet.
        lead: one sentence.
    """

    title: str
    tone: str
    lead: str


@dataclass(frozen=True, slots=True)
class Spent:
    """Alarms since the agent started, against the false ones that the budget allows in that time.

    Attributes:
        budget: as the operator wrote it, of one model.
        models: that have one each.
        alarms: warning and critical ones, each counted as it began.
        allowed: in the time so far, or in the first period where that is not over.
        seconds: since the agent counts; None when it does not say.
    """

    budget: Budget
    models: int
    alarms: int
    allowed: float
    seconds: float | None

    @property
    def share(self) -> float:
        """Of the budget: 1 is all of it, if every alarm was false."""
        return self.alarms / self.allowed

    def lines(self) -> tuple[str, ...]:
        """For people: what is counted, over which time, and what it is measured against."""
        time = "" if self.seconds is None else f" in {span(self.seconds)}"
        counted = f"{self.alarms:,} alarm{'s' * (self.alarms != 1)}{time}"
        rule = f"The budget is {self.budget.text} (false alarms, all streams together)"
        rule += f", for each of {self.models} models" * (self.models > 1)
        part = (self.seconds or 0.0) / self.budget.seconds
        passed = f"{percent(part)} of that time has passed" if part < 1 else f"{self.allowed:.3g} may have come by now"
        true = "An alarm that is true spends nothing." if self.alarms else "Nothing is spent."
        return counted, f"{rule}; {passed} since the agent began to count.", true


def headline(snapshot: Snapshot | None) -> Headline:
    """The first thing that is read."""
    if snapshot is None:
        return Headline("Starting", "", "The first sample has not been taken yet.")
    status = snapshot.status
    trees = status.targets or (status.target,)
    down = [str(t.get("name")) for t in trees if t.get("up") is False]
    if down and len(trees) > 1:
        lead = f"{len(down)} of {len(trees)} watched processes are not there; the last state is below."
        return Headline(f"Not running: {', '.join(down)}", "critical", lead)
    if down:
        lead = "No process of the target is alive; the last state is below."
        return Headline("The model is not running", "critical", lead)
    return _drift(snapshot)


def _drift(snapshot: Snapshot) -> Headline:
    worst = max(snapshot.status.models, key=lambda m: _SEVERITIES.index(m.severity), default=None)
    if worst is None:
        lead = "No prediction has arrived yet: instrument the model with pilotfish.Monitor, or send it traffic."
        if any(s.metric.name == "pilotfish_requests_total" for s in snapshot.samples):
            lead = "Requests are seen and counted; in none of them was a prediction that can be read."
        return Headline("Running, no predictions yet", "", lead)
    drifting = [n for m in snapshot.status.models for n in m.drifting]
    names = ", ".join(drifting[:3]) + (f" and {len(drifting) - 3} more" if len(drifting) > 3 else "")
    if worst.severity in {"warning", "critical"}:
        return Headline(f"{worst.model} is drifting", worst.severity, f"Changed: {names or 'the model as a whole'}.")
    if worst.severity == "info":
        lead = f"{names or 'The model as a whole'}: {worst.words}"
        return Headline(f"{worst.model}: something changed", "info", lead)
    if worst.state == "stable":
        return Headline("The model is well", "good", "It runs, and nothing it sees or says has drifted.")
    title = _STATES.get(worst.state, worst.state.replace("_", " "))
    lead = worst.words.removeprefix(f"{worst.state}: ")
    if worst.state == "provisional":
        lead = f"It learns from the traffic what is normal: {lead}. Until then its alarms are only informative."
    return Headline(f"{worst.model} {title}", "info", lead)


def spent(snapshot: Snapshot) -> Spent | None:
    """How much of the budget is spent; None where there is none."""
    try:
        allowed = budget(snapshot.status.budget.get("false_alarms"))
    except ValueError:
        return None
    alarms = sum(
        float(s.value)
        for s in snapshot.samples
        if s.metric.name == "pilotfish_drift_alarms_total"
        and isinstance(s.value, int | float)
        and dict(zip(s.metric.labels, s.labels, strict=False)).get("severity") in {"warning", "critical"}
    )
    started, models = snapshot.status.started, max(len(snapshot.status.models), 1)
    seconds = None if started is None else max(snapshot.at - started, 0.0)
    periods = max((seconds or 0.0) / allowed.seconds, 1.0)
    return Spent(allowed, models, round(alarms), allowed.count * models * periods, seconds)


def name_of(status: Status) -> str:
    """Of the watched process; of the agent where it watches several."""
    return status.instance if len(status.targets) > 1 else str(status.target.get("name") or status.instance)


def ranked(results: Iterable[DriftResult]) -> list[DriftResult]:
    """Worst severity first, then the strongest evidence."""
    return sorted(results, key=lambda r: (-_SEVERITIES.index(r.severity), -ratio(r), r.model, r.feature))


def ratio(result: DriftResult) -> float:
    """Evidence over threshold: 1 and more alarms."""
    value = result.evidence / result.threshold if result.threshold > 0 else 0.0
    return max(value, 0.0) if math.isfinite(value) else 0.0


def effect(result: DriftResult) -> str:
    """``0.31 (0.27 to 0.35)``, or ``not measured``."""
    if result.effect is None:
        return "not measured"
    if result.effect_lower is None or result.effect_upper is None:
        return f"{result.effect:.2f}"
    return f"{result.effect:.2f} ({result.effect_lower:.2f} to {result.effect_upper:.2f})"


def moment(at: float, now: float) -> tuple[str, str] | None:
    """(ISO 8601, a time of day, with the date when it is not today's); None for no time of this calendar."""
    try:
        when, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    shown = when.strftime("%H:%M:%S UTC" if when.date() == today.date() else "%Y-%m-%d %H:%M:%S UTC")
    return when.isoformat(timespec="seconds"), shown


def span(seconds: float) -> str:
    """``42 s``, ``7 min``, ``3.5 h``, ``2.1 d``."""
    for unit, size, digits in (("d", 86400.0, 1), ("h", 3600.0, 1), ("min", 60.0, 0)):
        if seconds >= size:
            return f"{seconds / size:.{digits}f}".removesuffix(".0") + f" {unit}"
    return f"{max(seconds, 0):.0f} s"


def percent(share: float) -> str:
    """``43 %``, ``0.12 %``."""
    return f"{100 * share:.2g} %"
