"""Section `drift` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pilotfish_core.config import Budget, budget, choice, integer, number, option, positive_duration

SECTION: Final = "drift"
DEFAULT_BUDGET: Final = Budget(1, 30 * 86400.0, "1 per 30d")


def _dependence(value: Any) -> str | float:
    if value == "auto":
        return "auto"
    try:
        return number(1.0, 1e6)(value)
    except ValueError:
        raise ValueError("auto, or a number of at least 1: rows that count as one") from None


def _distances(value: Any) -> tuple[str, ...]:
    from pilotfish_agent.drift.distances import names  # the parts are read where somebody names one

    return names(value)


@dataclass(frozen=True, slots=True)
class Config:
    """Drift detection: the false-alarm budget and what counts as a change."""

    false_alarms: Budget = option(  # noqa: RUF009 - a Budget is frozen
        DEFAULT_BUDGET, budget, "False alarms allowed, over all streams of a model.", "1 per 30d"
    )
    min_effect: float = option(
        0.1, number(0.0, 10.0), "Changes within this chi distance are notices, never alarms.", "0.1"
    )
    critical_effect: float = option(
        0.5, number(above=0.0), "An alarm whose effect is surely above this is critical.", "0.5"
    )
    latency_min_effect: float = option(0.5, number(0.0, 10.0), "As min_effect, for latency.", "0.5")
    tick: float = option(10.0, positive_duration, "Rows are compared with the reference once a tick.", "10s")
    replicas: int = option(1, integer(1, 100_000), "Highest expected number of replicas; they share the budget.", "1")
    budget_scope: str = option(
        "model",
        choice("model", "agent"),
        "Whether each model has the budget, or all models of an agent share it.",
        "model",
    )
    dependence: str | float = option(
        "auto", _dependence, "How many rows count as one; 1 when rows are independent, auto learns it.", "auto"
    )
    bins: str = option(
        "off",
        choice("off", "topk", "all"),
        "Bin counters for drift over all replicas: off, of 50 streams (topk), or of all.",
        "off",
    )
    versions: str = option(
        "on",
        choice("on", "off"),
        "Whether a new model version is compared with the one before; of equal ones 5 % at most are called changed.",
        "on",
    )
    distances: tuple[str, ...] = option(
        ("js",),
        _distances,
        "Distances of the last rows that are gauges, of `pilotfish list`; they never alarm.",
        "[js]",
    )
