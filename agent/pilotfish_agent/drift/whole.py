"""Composite streams as people are told of them: one stream, whose parts are tested (section 9). Pure.

Each part keeps its evidence and its latches; a composite is as bad as its worst part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pilotfish_agent.drift.entry import Entry
from pilotfish_agent.drift.latch import ALARM, NOTICE, Latch, worse
from pilotfish_agent.drift.reference import FeatureReference
from pilotfish_core.nouns import Severity

Latches = Mapping[tuple[int, int], Latch]
Open = dict[tuple[str, int], Severity]
"""Composites that are latched, by name and level, and their severity."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What is told as one stream: a plain stream, or a composite.

    Attributes:
        name: of it.
        members: positions of its streams; one for a plain stream.
    """

    name: str
    members: tuple[int, ...]


def units(streams: Iterable[FeatureReference]) -> tuple[Unit, ...]:
    """All that is told, in the order of the streams."""
    found: dict[str, list[int]] = {}
    for f, stream in enumerate(streams):
        found.setdefault(stream.told_as, []).append(f)
    return tuple(Unit(name, tuple(members)) for name, members in found.items())


def opened(latches: Latches) -> Open:
    """The composites that are latched."""
    found: Open = {}
    for (_, level), latch in latches.items():
        if latch.entry.part:
            place = (latch.feature, level)
            found[place] = worse(found.get(place, "none"), latch.severity)
    return found


def told(entries: Sequence[Entry], before: Open, after: Open) -> list[Entry]:
    """Of one tick's transitions of parts those that are transitions of the composite.

    Args:
        entries: all of the tick.
        before: composites that were latched before it.
        after: composites that are now.
    """
    out = [e for e in entries if not e.part]
    levels = {"notice": NOTICE, "alarm": ALARM}
    for name in dict.fromkeys(e.feature for e in entries if e.part):
        mine = [e for e in entries if e.feature == name and e.part]
        crossed = [e for e in mine if e.kind in ("alarm", "notice")]
        for level in ("alarm", "notice"):
            place = (name, levels[level])
            first = sorted((e for e in crossed if e.level == level), key=lambda e: -e.evidence)
            if place in after and place not in before:
                if first and (level == "alarm" or (name, ALARM) not in {*before, *after}):
                    out.append(first[0])
            elif place in before and place not in after:
                out += [e for e in mine if e.kind == "resolved" and e.level == level][-1:]
            elif place in after and worse(before[place], after[place]) != before[place]:
                out += _risen(mine, after[place])
    return out


def _risen(entries: Sequence[Entry], severity: Severity) -> list[Entry]:
    """One part has become worse than all were."""
    found = [e for e in entries if e.kind in ("rise", "alarm") and e.severity == severity]
    return [replace(e, kind="rise") for e in found[:1]]
