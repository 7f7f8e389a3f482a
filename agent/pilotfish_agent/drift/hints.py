"""What a change looks like, each hint only when its test holds (docs/statistics.md, section 13). Pure.

A hint is a guess of the cause and never a condition of an alarm. None tells a value of the traffic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from pilotfish_agent.drift.changes import times
from pilotfish_agent.drift.effect import effect
from pilotfish_agent.drift.explain import percent, shown, step
from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.raw import Block, numbers, texts
from pilotfish_agent.drift.reference import Binner, FeatureReference
from pilotfish_agent.drift.tables import StreamTables
from pilotfish_agent.drift.tested import missing_bin
from pilotfish_agent.windows.binning import rounded

LARGE_UNITS: Final = (1000.0, 100.0, 60.0, 3600.0, 1024.0)
"""Thousand, percent and cents, minutes, hours, KiB: where errors leave two of them, 1000 rather than 1024."""
SMALL_UNITS: Final = (2.54, 1.609, 0.4536)
"""Inches, miles, pounds: factors that a plain shift may have as well, so these must be met more exactly."""
NEAR: Final = math.log(1.03)
UNSURE: Final = 0.15
"""Standard error of the logarithm of a large factor above which nothing is said."""
VALUES: Final = 50
"""Values below which nothing is said."""
FROZEN, BEFORE = 0.5, 0.1
ALL_VALUES, ALL = 100, (0.99, 0.5)
NULLS, NULL_TIMES = 0.05, 3.0
NULL_ROWS, NEW_ROWS, ONE_ROWS = 20, 5, 10
NEW_SHARE: Final = 0.001
SENDER_ROWS: Final = 100
SAME: Final = 0.1
"""Effect below which two groups of rows count as alike: the default minimum effect."""


@dataclass(frozen=True, slots=True)
class Case:
    """One stream that has changed.

    Attributes:
        stream, table: its reference.
        binner: of a stratum.
        what: the change in words (`changes.what_changed`).
        since: counts (K,) since something has been going on.
        blocks: raw values from the first shifted tick on.
    """

    stream: FeatureReference
    table: StreamTables
    binner: Callable[[int], Binner]
    what: str
    since: Floats
    blocks: Sequence[Block]


def hints(case: Case) -> Iterator[str]:
    """All that hold, in words."""
    for test in (unit_change, frozen_value, null_spike, new_category, one_sender):
        words = test(case)
        if words:
            yield words


def unit_change(case: Case) -> str:
    """Values are the old ones times a unit's factor: their geometric mean moved by it, and divided by it they fit."""
    stream = case.stream
    if stream.kind != "numeric" or stream.log_abs_mean is None or stream.part_of is not None:
        return ""
    x = numbers(case.blocks)
    x = x[x != 0]
    if len(x) < VALUES:
        return ""
    logs = np.log(np.abs(x))
    factor = float(logs.mean()) - stream.log_abs_mean
    error = float(logs.std()) * math.sqrt(case.table.phi / len(x))
    for units, limit, slack in ((LARGE_UNITS, UNSURE, 2 * error), (SMALL_UNITS, NEAR, 0.0)):
        for unit in units if error <= limit else ():
            for sign, words in ((1, f"x{unit:g}"), (-1, f"x1/{unit:g}")):
                if abs(factor - sign * math.log(unit)) <= NEAR + slack and _fits(case, unit**sign):
                    return f"looks like a unit change {words}"
    return ""


def _fits(case: Case, factor: float) -> bool:
    """Whether the values divided by ``factor`` are like the reference, and as they are not."""
    table, found = case.table, []
    for divisor in (1.0, factor):
        counts = np.zeros(len(case.stream.counts))
        for block in case.blocks:
            counts += case.binner(block.stratum).counts(numbers([block]) / divisor)
        size = effect(np.asarray(table.counts), counts, np.asarray(table.pi), table.phi)
        if size is None:
            return False
        found.append(size)
    return found[1].value <= max(found[0].value / 3, SAME) and found[0].lower > SAME


def frozen_value(case: Case) -> str:
    """One value has more than half of the rows and had less than a tenth, or has nearly all and had less than half."""
    later = [block for block in case.blocks if block.tick > case.blocks[0].tick]  # the first tick may be of both kinds
    for blocks, fewest, share, limit in ((case.blocks, VALUES, FROZEN, _tenth(case.stream)), (later, ALL_VALUES, *ALL)):
        found = _top(case, blocks)
        if found is not None and found.rows >= fewest and found.now > share and found.before < limit:
            return (
                f"looks frozen: one value has {percent(found.now)} of the rows, at most {percent(found.before)} before"
            )
    return ""


def _tenth(stream: FeatureReference) -> float:
    """A tenth, but with few bins a bit more: of a value's share before only that of its bin is known."""
    return max(BEFORE, 1.05 / (len(stream.counts) - len(stream.special))) if stream.kind == "numeric" else BEFORE


class _Top(NamedTuple):
    """The most frequent value: its share now, that of its bin in the reference, and of how many rows."""

    now: float
    before: float
    rows: int


def _top(case: Case, blocks: Sequence[Block]) -> _Top | None:
    stream = case.stream
    shares = stream.counts / max(stream.counts.sum(), 1)
    if not blocks:
        return None
    if stream.kind == "categorical":
        levels = len(stream.levels or ())
        counts = np.sum([case.binner(b.stratum).counts(b.values) for b in blocks], axis=0)
        rows = int(counts.sum())
        if not levels or not rows:
            return None
        place = int(np.argmax(counts[:levels]))
        return _Top(float(counts[place]) / rows, float(shares[place]), rows)
    x = numbers(blocks)
    if not len(x):
        return None
    values, counts = np.unique([rounded(v) for v in x.tolist()], return_counts=True)
    value = float(values[int(np.argmax(counts))])
    place = int(np.argmax(case.binner(blocks[-1].stratum).counts([repr(value)])))
    return _Top(float(counts.max()) / len(x), float(shares[place]), len(x))


def null_spike(case: Case) -> str:
    """Far more values are missing."""
    b = missing_bin(case.stream)
    n, m = float(case.since.sum()), float(case.stream.counts.sum())
    if case.since[b] < NULL_ROWS:
        return ""
    now, before = float(case.since[b]) / n, float(case.stream.counts[b]) / m
    error = math.sqrt(case.table.phi * now * (1 - now) / n)
    if now - before < NULLS + 2 * error or now < NULL_TIMES * before:
        return ""
    numbers_ = "" if case.what.startswith("missing") else f": missing {step(before, now)}{times(before, now)}"
    return f"looks like a null spike{numbers_}"


def new_category(case: Case) -> str:
    """Categories that the reference never saw."""
    stream = case.stream
    if stream.kind != "categorical":
        return ""
    other = len(stream.levels or ())
    n = float(case.since.sum())
    if stream.counts[other] or case.since[other] < NEW_ROWS or case.since[other] < NEW_SHARE * n:
        return ""
    binner = case.binner(0)
    unseen = [t for t in texts(case.blocks) if binner.counts([t])[other]]
    distinct = len(set(unseen))
    if distinct == 1 and len(unseen) >= ONE_ROWS:
        return "looks like one new category"
    return f"looks like new categories, at least {distinct}" if distinct > 1 else "looks like a new category"


def one_sender(case: Case) -> str:
    """One sender's rows moved, and those of all others did not."""
    table = case.table
    by_sender: dict[str, Floats] = {}
    for block in case.blocks:
        counts = by_sender.setdefault(block.sender, np.zeros(len(case.stream.counts)))
        counts += case.binner(block.stratum).counts(block.values)
    if len(by_sender) < 2 or "" in by_sender:
        return ""
    found = []
    for sender, mine in by_sender.items():
        rest = np.sum([c for s, c in by_sender.items() if s != sender], axis=0)
        sizes = [effect(np.asarray(table.counts), c, np.asarray(table.pi), table.phi) for c in (mine, rest)]
        if min(mine.sum(), rest.sum()) < SENDER_ROWS or sizes[0] is None or sizes[1] is None:
            continue
        if sizes[0].lower > SAME and sizes[1].value <= max(SAME, sizes[0].value / 4) and sizes[1].lower <= SAME:
            found.append(sender)
    if len(found) != 1:
        return ""
    others = len(by_sender) - 1
    rest = "the other sender" if others == 1 else f"the other {others} senders"
    return f"only from {shown(found[0])}: the rows of {rest} are as before"
