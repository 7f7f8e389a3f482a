"""Changes injected into known rows, and what the explanation must say of each, and of none else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from pilotfish_agent.drift.builder import ReferenceBuilder
from pilotfish_agent.drift.reference import Reference
from pilotfish_core.nouns import DriftResult, ObservationBatch
from tests.drift_watch.world import FAST, START, TICK, batch, watch

CHANGE_AT, TICKS, ROWS = 20, 50, 100
HINTS = {
    "unit": "unit change",
    "frozen": "looks frozen",
    "nulls": "null spike",
    "category": "new categor",
    "sender": "only from ",
    "deploy": "model_version",
    "start": "started",
    "traffic": "traffic changed",
}
"""Words by which each hint is known."""
Rows = dict[str, Any]
Change = Callable[[Any, np.random.Generator], Any]


def rows(n: int, rng: np.random.Generator) -> Rows:
    """Numbers of several kinds, a category, and a tenant whose two kinds of customers are of different age."""
    young = rng.random(n) < 0.2
    return {
        "amount": rng.lognormal(3.0, 1.0, n),
        "age": rng.normal(40.0, 10.0, n) - 12.0 * young,
        "seconds": rng.gamma(8.0, 4.0, n),
        "items": rng.poisson(30.0, n).astype(float),
        "colour": rng.choice(["red", "blue", "green", "grey"], n, p=[0.5, 0.25, 0.2, 0.05]).tolist(),
        "young": young,
    }


@cache
def reference() -> Reference:
    """10,000 rows."""
    made, rng = ReferenceBuilder(), np.random.default_rng(77)
    found = rows(10_000, rng)
    found.pop("young")
    made.add(batch(found))
    return made.reference(created=START, model="m", independent=True)


@dataclass(frozen=True, slots=True)
class Story:
    """One injected change.

    Attributes:
        name: for people.
        stream: that must be explained.
        says: words that its explanation must hold.
        hints: keys of `HINTS` that must be there; all others must not.
        change: of the rows from tick `CHANGE_AT` on.
        together: names that must, and those that must not be named as moved together.
        versions: version by tick from which it serves.
        starts: tick at which the process started.
        only_sender: the change is in the rows of one of three senders.
        mix: shares of young customers before and after.
    """

    name: str
    stream: str
    says: Sequence[str] = ()
    hints: Sequence[str] = ()
    change: Mapping[str, Change] = field(default_factory=dict)
    together: tuple[Sequence[str], Sequence[str]] = ((), ())
    versions: Mapping[int, str] = field(default_factory=dict)
    starts: int | None = None
    senders: bool = False
    only_sender: bool = False
    mix: float | None = None
    late: Mapping[str, Change] = field(default_factory=dict)


def times(factor: float) -> Change:
    """A unit."""
    return lambda r, _: r * factor


def plus(step: float) -> Change:
    """A shift."""
    return lambda r, _: r + step


def some(share: float, value: Any) -> Change:
    """A share of the rows has one value."""

    def change(column: Any, rng: np.random.Generator) -> Any:
        chosen = rng.random(len(column)) < share
        if isinstance(column, list):
            return [value if c else v for c, v in zip(chosen.tolist(), column, strict=True)]
        return np.where(chosen, value, column)

    return change


def spread(factor: float) -> Change:
    """Around the mean."""
    return lambda r, _: r.mean() + factor * (r - r.mean())


STORIES = (
    *(
        Story(f"amount x{f:g}", "amount", (f"unit change {words}",), ("unit",), {"amount": times(f)})
        for f, words in ((1000, "x1000"), (0.001, "x1/1000"), (100, "x100"), (0.01, "x1/100"))
    ),
    Story("seconds in minutes", "seconds", ("unit change x1/60",), ("unit",), {"seconds": times(1 / 60)}),
    Story("hours in seconds", "seconds", ("unit change x3600",), ("unit",), {"seconds": times(3600.0)}),
    Story("inches in cm", "age", ("mean up", "unit change x2.54"), ("unit",), {"age": times(2.54)}),
    Story("miles in km", "seconds", ("unit change x1.609",), ("unit",), {"seconds": times(1.609)}),
    Story("pounds in kg", "seconds", ("mean down", "unit change x0.4536"), ("unit",), {"seconds": times(0.4536)}),
    Story("a mean", "age", ("mean up by about",), (), {"age": plus(6.0)}),
    Story("a mean of amounts", "amount", ("mean up",), (), {"amount": times(1.8)}),
    Story("twice the amounts", "amount", ("mean up",), (), {"amount": times(2.0)}),
    Story("a spread", "age", ("spread x",), (), {"age": spread(1.8)}),
    Story("a tail", "seconds", ("tail",), (), {"seconds": some(0.03, 300.0)}),
    Story("an outlier value", "items", (), (), {"items": some(0.2, 50.0)}),
    Story("frozen", "age", ("100 % of the rows",), ("frozen",), {"age": some(1.0, 43.21)}),
    Story("half frozen", "seconds", (), ("frozen",), {"seconds": some(0.8, 31.0)}),
    Story("a frozen category", "colour", ("'grey'",), ("frozen",), {"colour": some(0.97, "grey")}),
    Story("a frequent category freezes", "colour", ("'green'",), ("frozen",), {"colour": some(1.0, "green")}),
    Story("a category grows", "colour", ("'green' 2",), (), {"colour": some(0.3, "green")}),
    Story("nulls", "age", ("missing 0 % -> ",), ("nulls",), {"age": some(0.3, np.nan)}),
    Story("missing categories", "colour", ("missing 0 % -> ",), ("nulls",), {"colour": some(0.4, None)}),
    Story("a few nulls", "age", ("missing 0 % -> ",), (), {"age": some(0.03, np.nan)}),
    Story("a new category", "colour", ("unseen categories 0 % -> ", "one new"), ("category",),
          {"colour": some(0.08, "violet")}),
    Story("a version", "age", ("model_version 7 -> 8",), ("deploy",), {"age": plus(6.0)},
          versions={0: "7", CHANGE_AT: "8"}),
    Story("an earlier version", "age", (), (), {"age": plus(6.0)}, versions={0: "7", CHANGE_AT - 10: "8"}),
    Story("a start", "age", ("digits started",), ("start",), {"age": plus(6.0)}, starts=CHANGE_AT),
    Story("a start long before", "age", (), (), {"age": plus(6.0)}, starts=CHANGE_AT - 12),
    Story("other customers", "age", ("mean down", "tenant 'young' "), ("traffic",), mix=0.7),
    Story("one sender", "age", ("only from worker 1: the rows of the other 2 senders",), ("sender",),
          {"age": plus(12.0)}, senders=True, only_sender=True),
    Story("all senders", "age", (), (), {"age": plus(6.0)}, senders=True),
    Story("two together", "age", ("moved together with seconds",), (), {"age": plus(7.0), "seconds": times(1.3)},
          together=(("seconds",), ())),
    Story("one after the other", "age", (), (), {"age": plus(7.0)}, late={"seconds": times(1.3)},
          together=((), ("seconds",))),
)  # fmt: skip
LATE = 20
"""Ticks by which the second change is later, where there is one."""


def tell(story: Story, seed: int) -> DriftResult | None:
    """Runs a story; what is said of its stream at the end, None where it neither alarmed nor gave a notice."""
    rng, made = np.random.default_rng(seed), watch(FAST, reference())
    for tick in range(TICKS):
        now = START + TICK * tick
        if tick == story.starts:
            made.happened(now, "start", "digits started")
        for one in _batches(story, tick, rng):
            made.add(one, now + 1)
        made.advance(now + TICK)
    found = next(r for r in made.results() if r.feature == story.stream)
    return found if found.explanation else None


def _batches(story: Story, tick: int, rng: np.random.Generator) -> Iterator[ObservationBatch]:
    names = ["worker 1", "worker 2", "worker 3"] if story.senders else [""]
    version = next((v for at, v in reversed(list(story.versions.items())) if tick >= at), None)
    for sender in names:
        found = rows(ROWS // len(names), rng)
        young = found.pop("young")
        if tick >= CHANGE_AT and story.mix is not None:
            more = ~young & (rng.random(len(young)) < (story.mix - 0.2) / 0.8)
            found["age"] = found["age"] - 12.0 * more
            young |= more
        if tick >= CHANGE_AT and not (story.only_sender and sender != names[0]):
            found |= {name: change(found[name], rng) for name, change in story.change.items()}
        if tick >= CHANGE_AT + LATE:
            found |= {name: change(found[name], rng) for name, change in story.late.items()}
        slices = {"tenant": ["young" if y else "old" for y in young.tolist()]} if story.mix is not None else {}
        yield batch(found, sender=sender, version=version, slices=slices)


def wrong(story: Story, found: DriftResult | None) -> list[str]:
    """What is missing in the explanation, and what should not be there."""
    if found is None:
        return ["nothing was said"]
    text = found.explanation
    problems = [f"lacks {words!r}" for words in story.says if words not in text]
    for key, words in HINTS.items():
        if (words in text) != (key in story.hints):
            problems.append(f"{'no' if key in story.hints else 'wrongly'} {key}")
    wanted, unwanted = story.together
    problems += [f"not together with {name}" for name in wanted if name not in found.moved_together]
    problems += [f"wrongly together with {name}" for name in unwanted if name in found.moved_together]
    return problems
