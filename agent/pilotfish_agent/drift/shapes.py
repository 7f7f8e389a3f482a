"""Reference and present spread of every stream over its bins: what a reader sees beside an explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pilotfish_agent.drift.latch import ALARM, NOTICE
from pilotfish_agent.drift.window import MIN_ROWS
from pilotfish_core.nouns import Shape

if TYPE_CHECKING:
    from pilotfish_agent.drift.watch import DriftWatch


def shapes(watch: DriftWatch) -> tuple[Shape, ...]:
    """One a tested stream: over the rows since its change began while it is latched, else over the window.

    Of a composite stream the worst part. Shares are made for all at once; words are for the one that somebody looks at.
    """
    comparison = watch.comparison
    if comparison is None or not comparison.streams.streams:
        return ()
    streams, judge = comparison.streams, comparison.judge
    starts, sizes = streams.offsets[:-1], np.diff(streams.offsets)
    reference = streams.flat / np.repeat(np.add.reduceat(streams.flat, starts), sizes)
    rows = comparison.window.rows()
    current = comparison.window.counts / np.repeat(np.maximum(rows, 1e-9), sizes)
    found = []
    for unit in streams.units:
        f = unit.members[0] if judge is None else judge.lead(unit.members)
        stream = streams.streams[f]
        now, of = streams.part(current, f), float(rows[f])
        latch = None if judge is None else judge.latches.get((f, ALARM)) or judge.latches.get((f, NOTICE))
        if judge is not None and latch is not None:
            since = np.asarray(judge.engine.since(f), np.float64)
            if since.sum() > 0:
                now, of = since / since.sum(), float(since.sum())
        found.append(
            Shape(
                watch.model,
                unit.name,
                stream.edges,
                None if stream.edges is not None else stream.levels or (),
                streams.part(reference, f),
                now if of >= MIN_ROWS or latch is not None else None,
                round(of),
                None if latch is None else latch.entry.began,
                stream.part,
            )
        )
    return tuple(found)
