"""What the comparison of two versions tells: words, the document of `status`, samples. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from pilotfish_agent.drift import gauges, masses
from pilotfish_agent.drift.changes import what_changed
from pilotfish_agent.drift.explain import shown
from pilotfish_agent.drift.reference import FeatureReference
from pilotfish_agent.drift.version_looks import LOOKS, ORDER, Answer, Found, due_at
from pilotfish_agent.drift.versions import AFTER_DAYS, Pair, Versions
from pilotfish_core.metrics import Metric, Sample

NAMED: Final = 3
"""Streams in the words of a comparison."""
LISTED: Final = 20
"""Streams in the document."""
EFFECT: Final = Metric(
    "pilotfish_version_effect",
    "gauge",
    "How far a stream of the new version is from the version before (baseline), in chi distance, at the last look.",
    ("baseline", "feature", "model", "model_version"),
)
STATE: Final = Metric(
    "pilotfish_version_state",
    "gauge",
    "What the comparison of the new version with the one before (baseline) has come to; one state is 1.",
    ("baseline", "state", "model", "model_version"),
)
METRICS: Final = (EFFECT, STATE)


@dataclass(frozen=True, slots=True)
class Told:
    """One stream, composites as one.

    Attributes:
        name, state: of it.
        stream: the one that says the most.
        answer: of the last look; None where there were too few rows.
    """

    name: str
    state: Found
    stream: FeatureReference
    answer: Answer | None


def told(versions: Versions) -> list[Told]:
    """All streams, the gravest and largest first."""
    pair, streams = versions.pair, versions.streams
    if pair is None or streams is None:
        return []
    found = []
    for unit in streams.units:
        members = [streams.streams[f] for f in unit.members]
        worst = max(members, key=lambda s: _weight(pair, s))
        state = pair.found.get(worst.name, "not_enough_data")
        found.append(Told(unit.name, state, worst, pair.answers.get(worst.name)))
    return sorted(found, key=lambda one: _weight(pair, one.stream), reverse=True)


def _weight(pair: Pair, stream: FeatureReference) -> tuple[int, float]:
    answer = pair.answers.get(stream.name)
    return ORDER.index(pair.found.get(stream.name, "not_enough_data")), 0.0 if answer is None else answer.effect


def words(versions: Versions) -> str:
    """The comparison in one line; empty while there is none."""
    pair = versions.pair
    if pair is None:
        return ""
    rows, baseline_rows = versions.rows(pair)
    new, old = shown(pair.candidate), shown(pair.baseline)
    how = f"version {new} {'beside' if versions.shared else 'in place of'} {old}"
    if not pair.look:
        return f"{how}: {_waits(versions, rows, baseline_rows)}"
    against = "of the same time" if pair.shared else "before the switch"
    after = f"after {pair.rows[0]:,} rows, against {pair.rows[1]:,} {against}"
    found = told(versions)
    loud = [one for one in found if one.state == pair.state]
    if pair.state == "not_enough_data":
        return f"{how}: too few rows in each stream, {after}"
    if pair.state == "same":
        most = max(one.answer.upper for one in loud if one.answer is not None)
        return f"{how}: no difference found {after}; no effect is likely above {most:.2f}"
    lead = "different" if pair.state == "different" else "changed, within the minimum effect"
    more = f", and {len(loud) - NAMED} more" if len(loud) > NAMED else ""
    return f"{how}: {lead} {after}: {'; '.join(_explained(pair, one) for one in loud[:NAMED])}{more}"


def _waits(versions: Versions, rows: int, baseline_rows: int) -> str:
    if rows < due_at(0):
        return f"{rows:,} of {due_at(0):,} rows, against {baseline_rows:,}"
    return f"{rows:,} rows; it waits for {versions.waits or 'pf-worker'}"


def _explained(pair: Pair, one: Told) -> str:
    """In words, once a look: `status` is asked for every second."""
    name = one.stream.name
    if name not in pair.texts:
        pair.texts[name] = _in_words(pair, one)
    return pair.texts[name]


def _in_words(pair: Pair, one: Told) -> str:
    winner, side = pair.winners[one.stream.name]
    stream = replace(one.stream, counts=np.rint(side.baseline).astype(np.int64))
    text = what_changed(stream, masses.of(stream, side.phi), winner, side.candidate)
    part = f"{one.stream.part}: " if one.stream.part_of else ""
    a = one.answer
    size = "" if a is None else f", effect {a.effect:.2f} [{a.lower:.2f}, {a.upper:.2f}]"
    return f"{shown(one.name)}: {part}{text}{size}"


def document(versions: Versions) -> Mapping[str, Any] | None:
    """For `models[].versions` of `status`; None while there is nothing to compare."""
    pair = versions.pair
    if pair is None:
        return None
    rows, baseline_rows = versions.rows(pair)
    found = told(versions)
    return {
        "candidate": pair.candidate,
        "baseline": pair.baseline,
        "how": "same_time" if versions.shared else "before_the_switch",
        "state": pair.state,
        "began": pair.began,
        "rows": rows,
        "baseline_rows": baseline_rows,
        "looks": pair.look,
        "next_look_rows": None if pair.look >= LOOKS else due_at(pair.look),
        "ends": None if versions.shared else pair.began + AFTER_DAYS * 86_400.0,
        "words": words(versions),
        "streams": {state: sum(one.state == state for one in found) for state in ORDER},
        "largest": [_plain(pair, one) for one in found[:LISTED] if one.answer is not None],
    }


def _plain(pair: Pair, one: Told) -> dict[str, Any]:
    assert one.answer is not None
    a = one.answer
    text = _explained(pair, one) if one.state in ("changed", "different") else ""
    return {
        "feature": one.name,
        "state": one.state,
        "effect": a.effect,
        "effect_lower": a.lower,
        "effect_upper": a.upper,
        "explanation": text,
    }


def samples(versions: Versions, model: str) -> Iterator[Sample]:
    """Metrics of the comparison; none while there is none."""
    pair = versions.pair
    if pair is None:
        return
    make = gauges.Labels(model, pair.candidate)
    for state in ORDER:
        yield make(STATE, float(state == pair.state), pair.baseline, state)
    for one in told(versions):
        if one.answer is not None:
            yield from gauges.finite(EFFECT, make, one.answer.effect, pair.baseline, one.name)
