"""The budget of false alarms over several models: each has its own, or all share one (`drift.budget_scope`)."""

from __future__ import annotations

import os
from dataclasses import replace

from pilotfish_agent.drift.options import Config
from pilotfish_agent.pipeline.model import Terms

REMEMBERED_SECONDS = 7 * 86400.0


def part(terms: Terms, models: int) -> Terms:
    """The terms of one of so many models: a part of a shared budget is what a replica would have."""
    if terms.drift.budget_scope == "model":
        return terms
    return replace(terms, drift=replace(terms.drift, replicas=terms.drift.replicas * max(models, 1)))


def words(drift: Config, models: int) -> dict[str, str]:
    """For `status`: what was asked for, and what it comes to over all models. Replicas share it already."""
    budget = drift.false_alarms
    total = budget.count * (1 if drift.budget_scope == "agent" else max(models, 1))
    over = f" over {drift.replicas} replicas" if drift.replicas > 1 else ""
    implied = f"{total} per {budget.text.split()[-1]}{over}"
    return {"false_alarms": budget.text, "implied_total": implied, "scope": drift.budget_scope}


def remembered(folder: str | None, now: float) -> int:
    """How many models a state folder holds the evidence of that were there within a week: likely they come again.

    Counted from the start on, so that a restart of an agent with several models changes nobody's part.
    """
    if folder is None or not os.path.isdir(folder):
        return 0
    found = (e for e in os.scandir(folder) if e.name.startswith("model-") and e.name.endswith(".ckpt"))
    return sum(now - e.stat().st_mtime < REMEMBERED_SECONDS for e in found)
