"""Making the current data the new normal: `reference accept` (docs/statistics.md, section 11). Pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from pilotfish_agent.drift.explain import shown
from pilotfish_agent.drift.judge import Judge
from pilotfish_agent.drift.latch import ALARM
from pilotfish_agent.drift.layout import Ints
from pilotfish_agent.drift.reference import FeatureReference, Reference
from pilotfish_agent.drift.tested import Tested
from pilotfish_core.errors import DataError

FEWEST: Final = 500
"""Rows that a new normal needs, as a first reference does."""


def changed(judge: Judge, streams: Tested) -> tuple[dict[str, Ints], dict[str, int]]:
    """Of each latched stream the counts since it crossed its line, by name; of `@model` those of its contributors.

    Returns:
        With them the alarms that are left out, and how many rows each lacks. A notice is left out without a word.

    Raises:
        DataError: no alarm has 500 rows since.
    """
    found: dict[str, Ints] = {}
    missing: dict[str, int] = {}
    for (_, level), latch in sorted(judge.latches.items(), key=lambda item: item[0][1]):  # the alarm's, where both are
        for f, rule in latch.rules.items():
            stream, counts = streams.streams[f], np.maximum(np.rint(rule.after), 0).astype(np.int64)
            rows = int(counts.sum())
            if rows >= FEWEST:
                found[stream.name] = counts
            elif level == ALARM:
                missing[stream.name] = max(FEWEST - rows, missing.get(stream.name, 0))
    for name in missing:
        found.pop(name, None)  # a notice of it is older, or it calmed down and came back while @model was latched
    if missing and not found:
        name, rows = max(missing.items(), key=lambda item: item[1])
        raise DataError(
            f"too few rows since the alarm of {shown(streams.streams[streams.index[name]].told_as)}",
            got=FEWEST - rows,
            expected=f"at least {FEWEST}",
            todo=f"accept again after {rows} more",
        )
    return found, missing


def accepted(reference: Reference, counts: dict[str, Ints], now: float) -> Reference:
    """``reference`` with other counts for some streams; their bins stay."""
    features = tuple(_with(f, counts[f.name]) if f.name in counts else f for f in reference.features)
    rows = min(f.rows for f in features) if len(counts) == len(features) else reference.rows
    return replace(reference, features=features, created=now, ends=now, rows=rows)


def _with(stream: FeatureReference, counts: Ints) -> FeatureReference:
    """Moments of values are not known of what is only counted."""
    own = stream.stratum_counts
    if own is not None:
        own = _tilted(own, counts)
        counts = own.sum(0)
    return replace(
        stream, counts=counts, stratum_counts=own, rows=int(counts.sum()), log_abs_mean=None, zero_share=None
    )


def _tilted(own: Ints, counts: Ints) -> Ints:
    """Tables of strata as they were, each bin moved as in all of them together: the season stays what it was."""
    whole = own.sum(0) + 0.5
    moved = own * (counts / counts.sum()) / (whole / whole.sum())
    share = own.sum(1) / own.sum()
    moved *= (share * counts.sum() / np.maximum(moved.sum(1), 1e-300))[:, None]
    tilted: Ints = np.rint(moved).astype(np.int64)
    return tilted


def words(
    names: Collection[str], missing: Mapping[str, int], before: Reference, after: Reference, *, learnt: bool
) -> str:
    """What was done, and what was left out; ``learnt``: it ended learning, too."""
    ended = f"learning has ended: reference {after.id} of {after.rows:,} rows is final"
    if not names:
        return ended
    told = list(dict.fromkeys(f.told_as for f in before.features if f.name in names))  # parts are of one feature
    look = "looks" if len(told) == 1 else "look"
    done = f"reference {before.id} -> {after.id}: what {_listed(map(shown, told))} {look} like now is the new normal"
    if missing:
        done += f"; left out, too few rows since the alarm: {_listed(_lacking(told, missing, before))}"
    return f"{done}; {ended}" if learnt else done


def _listed(words: Iterable[str]) -> str:
    first = list(itertools.islice(words, 6))
    return ", ".join(first[:5]) + (", ..." if len(first) > 5 else "")


def _lacking(told: Collection[str], missing: Mapping[str, int], before: Reference) -> Iterator[str]:
    """Streams with the rows they lack: a feature once, by its parts where others of them were accepted."""
    most: dict[str, int] = {}
    for f in before.features:
        if f.name in missing:
            name = shown(f.told_as) + (f": {f.part}" if f.told_as in told else "")
            most[name] = max(missing[f.name], most.get(name, 0))
    return (f"{name} ({rows} more)" for name, rows in most.items())


def too_few(model: str, rows: int) -> DataError:
    """There is no reference yet that could become final."""
    todo = f"accept again after {max(FEWEST - rows, 1)} more"
    return DataError(f"{model}: too few rows", got=rows, expected=f"at least {FEWEST}", todo=todo)
